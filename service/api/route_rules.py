"""Routes that declare their rules for requests in one place, and check them."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal, TypeVar

from fastapi import HTTPException, Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.routing import Match
from starlette.types import Message, Receive, Scope, Send

from service.api import body
from service.api.body import Body
from service.api.error_table import MOST_NAME_CHARS
from service.api.metrics import METHODS
from service.api.openapi import security_of
from service.api.state import ServerState, caller_in, engine, server_state
from service.errors import InvalidInputError
from service.scheduling.gate import Gate
from service.store.key_file import Reach
from service.store.key_file import Scope as KeyScope

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])
Handler = Callable[[Request], Coroutine[Any, Any, Response]]


@dataclass(frozen=True, slots=True)
class Rules:
    """A route's rules for requests; decorates the endpoint of a `Route`."""

    scope: KeyScope | None = "admin"
    """What a key must allow; None for any key."""
    narrowest: Reach = "server"
    """The narrowest key that may come here. A collection in the path is checked before the body.
    The route itself checks others, and joins the key's filter or shows nothing of a document."""
    open: bool = False
    """Whether it needs no key."""
    open_by: Literal["open_metrics", "open_docs"] | None = None
    """The setting that lets it need no key."""
    body: Body = Body()  # noqa: RUF009 - it is frozen
    """The body of a `POST`, `PUT` or `PATCH`."""
    gate: Literal["reads", "writes", "changes"] | None = None
    """The gate whose permit the request holds until its answer, or until it closes `PermitDep`."""
    field_depth: int = 1
    """Names in the path of a wrong field in an error: `filters.year` has two."""

    compatible: bool = False
    """Whether it speaks another service's format: unknown names in the query string are ignored,
    and errors also have the field `detail`."""

    def __call__(self, endpoint: Endpoint) -> Endpoint:
        """Give the endpoint these rules."""
        vars(endpoint)["rules"] = self
        return endpoint


OPEN = Rules(scope=None, open=True)
COMPATIBLE = Rules(
    scope="search",
    narrowest="documents",
    body=Body("max_documents_body_bytes"),
    compatible=True,
)


class Route(APIRoute):
    """Checks a request before FastAPI reads and parses the body.

    First the key and its rights, then the names in the query string (FastAPI ignores misspelt
    ones), then the body's type and size. A request takes its permit only once its body is complete,
    so that a slow upload blocks no other request.

    A slash at the end of a path is ignored, except in a document's id: no route redirects. `HEAD`
    is answered as `GET`, without the body.
    """

    methods: set[str]

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        self.rules: Rules = vars(endpoint).get("rules", Rules())
        if not self.rules.open:  # for the OpenAPI document
            security = security_of(self.rules.scope)
            options["openapi_extra"] = {**(options.get("openapi_extra") or {}), **security}
        super().__init__(path, endpoint, **options)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, found = super().matches(scope)
        path: str = scope["path"]
        if match is Match.NONE and path.endswith("/"):
            match, found = super().matches({**scope, "path": path.rstrip("/") or "/"})
        is_head = match is Match.PARTIAL and scope["method"] == "HEAD" and "GET" in self.methods
        return (Match.FULL if is_head else match), found

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_head = scope["method"] == "HEAD" and "GET" in self.methods
        if is_head:
            answer = _Head(receive, send)
            scope, receive, send = {**scope, "method": "GET"}, answer.receive, answer.send
        elif scope["method"] not in self.methods:
            raise HTTPException(405, headers={"Allow": ", ".join(_methods_at(scope))})
        await super().handle(scope, receive, send)

    def get_route_handler(self) -> Handler:
        """FastAPI's own handler after the checks."""
        handle = super().get_route_handler()
        names = frozenset(_query_names(self.dependant))

        async def checked(request: Request) -> Response:
            await self._check_key(request)
            if not self.rules.compatible:
                _check_names(request, names)
            return await self._answer(request, handle)

        return checked

    async def _check_key(self, request: Request) -> None:
        rules, state = self.rules, await server_state(request)
        if rules.open or (rules.open_by and getattr(state.settings, rules.open_by)):
            return
        caller = caller_in(request)
        if caller.needs_key or rules.open_by:
            caller.require_key()
        if caller.key is not None:
            caller.require(rules.scope, rules.narrowest)
            state.keys.admit(caller.key)
            if caller.key.collections and (name := request.path_params.get("name")):
                caller.require_collection(name, (await engine(state)).folder.catalog)

    async def _answer(self, request: Request, handle: Handler) -> Response:
        rules = self.rules
        state: ServerState = request.app.state.server
        most: int = getattr(state.settings, rules.body.limit)
        request = Request(request.scope, body.bounded(request, most))
        gate: Gate | None = getattr(state, rules.gate) if rules.gate else None
        if gate:
            gate.check()  # refuse before reading the body
        with ExitStack() as held:
            if request.method in {"POST", "PUT", "PATCH"}:
                rules.body.require_type(request)
                if not rules.body.streamed:
                    request = await body.whole(request, held, state.bodies)
            if gate:
                permit = held.enter_context(ExitStack())
                permit.enter_context(gate.permit())
                request.state.permit = permit
            return await handle(request)


def _methods_at(scope: Scope) -> list[str]:
    """The methods that any route answers at the path."""
    routes = scope["app"].routes
    asked = [(name, {**scope, "method": name}) for name in sorted(METHODS)]
    return [name for name, one in asked if any(r.matches(one)[0] is Match.FULL for r in routes)]


def _query_names(dependant: Dependant) -> Iterator[str]:
    yield from (field.alias for field in dependant.query_params)
    for inner in dependant.dependencies:
        yield from _query_names(inner)


def _check_names(request: Request, known: frozenset[str]) -> None:
    """Raise `InvalidInputError` for a name that is unknown or appears twice."""
    for name, times in Counter(name for name, _ in request.query_params.multi_items()).items():
        shown = name[:MOST_NAME_CHARS]
        if name not in known:
            raise InvalidInputError(f'unknown query parameter "{shown}"{_hint(name, known)}', shown)
        if times > 1:
            raise InvalidInputError(f'the query parameter "{name}" appears {times} times', name)


def _hint(name: str, known: frozenset[str]) -> str:
    if not known:
        return "; this route has none"
    near = get_close_matches(name[:MOST_NAME_CHARS].lower(), sorted(known), n=1, cutoff=0.6)
    if near:
        return f'; did you mean "{near[0]}"?'
    return f"; this route has {', '.join(sorted(known))}"


class _Head:
    """Sends only the head of an answer; then the endpoint sees a client that has disconnected."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self._over = asyncio.Event()

    async def receive(self) -> Message:
        """The client's messages, until the answer is over."""
        receiving = asyncio.ensure_future(self._receive())
        ending = asyncio.ensure_future(self._over.wait())
        try:
            await asyncio.wait({receiving, ending}, return_when=asyncio.FIRST_COMPLETED)
            return {"type": "http.disconnect"} if self._over.is_set() else receiving.result()
        finally:
            receiving.cancel()
            ending.cancel()

    async def send(self, message: Message) -> None:
        """Pass on status and headers, and an empty body."""
        if message["type"] != "http.response.body":
            await self._send(message)
        elif not self._over.is_set():
            self._over.set()
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
