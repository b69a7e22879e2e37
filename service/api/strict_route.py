"""A route that refuses query parameters which it does not have."""

from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from difflib import get_close_matches
from typing import Any

from fastapi import Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from service.api.dependencies import bearer, require_key, server_state
from service.api.errors import MOST_NAME_CHARS
from service.errors import InvalidInputError

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class StrictRoute(APIRoute):
    """Asks for the key where the route has one, then looks at the names in the query string.

    A misspelt `filters` listed everything, and a misspelt `wait` did not wait.
    """

    def get_route_handler(self) -> Handler:
        """FastAPI's own handler behind the checks."""
        handle = super().get_route_handler()
        names = frozenset(_query_names(self.dependant))
        has_key = any(one.dependency is require_key for one in self.dependencies)

        async def strict(request: Request) -> Response:
            if has_key:
                await require_key(await server_state(request), await bearer(request))
            _check_names(request, names)
            return await self.answer(request, handle)

        return strict

    async def answer(self, request: Request, handle: Handler) -> Response:
        """Answer a request that passed the checks."""
        return await handle(request)


def _query_names(dependant: Dependant) -> Iterator[str]:
    yield from (field.alias for field in dependant.query_params)
    for inner in dependant.dependencies:
        yield from _query_names(inner)


def _check_names(request: Request, known: frozenset[str]) -> None:
    """Raises `InvalidInputError` for a name that is not known, or is there twice."""
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
