"""Answers in place of the application until it is imported, which takes seconds."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack

from fastapi import FastAPI
from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.error_table import RETRY_AFTER_S, error_response
from service.api.head import request_id_for
from service.api.schemas.common import LiveBody, ReadyBody

log = logging.getLogger(__name__)

LIVENESS = "/livez"
READINESS = ("/readyz", "/healthz")


class Gateway:
    """An ASGI application that makes another one in a thread, and answers for it until then."""

    def __init__(self, make: Callable[[], FastAPI], on_failure: Callable[[], None]) -> None:
        """`on_failure` is called where `make` raises."""
        self._make, self._on_failure = make, on_failure
        self._app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif self._app is not None:
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await _early_answer(scope)(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        async with AsyncExitStack() as until_the_end:
            await receive()
            opening = asyncio.create_task(self._open(until_the_end))
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await opening
        await send({"type": "lifespan.shutdown.complete"})

    async def _open(self, until_the_end: AsyncExitStack) -> None:
        try:
            app = await asyncio.to_thread(self._make)
            await until_the_end.enter_async_context(app.router.lifespan_context(app))
            self._app = app
        except Exception:
            log.exception("cannot start")
            self._on_failure()


def _early_answer(scope: Scope) -> JSONResponse:
    request_id, path = request_id_for(scope), scope["path"].rstrip("/")
    headers = {"X-Request-ID": request_id}
    if path == LIVENESS:
        return JSONResponse(LiveBody().model_dump(), headers=headers)
    if path in READINESS:
        headers["Retry-After"] = str(RETRY_AFTER_S)
        return JSONResponse(not_ready("loading").model_dump(), status_code=503, headers=headers)
    message = "models and index are still loading"
    return error_response(503, message, request_id, headers=headers)


def not_ready(why: str) -> ReadyBody:
    """What `/readyz` says where there is no engine to be asked."""
    return ReadyBody(status="not_ready", checks={"models": why, "index": why})
