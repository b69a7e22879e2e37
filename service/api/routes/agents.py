"""`POST /mcp`: tools for agents, over the Model Context Protocol."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import cache

from fastapi import APIRouter, Request, Response

from service.api.route_rules import Route, Rules
from service.api.state import Asked, AskedDep
from service.errors import NotAvailableError

router = APIRouter(tags=["agents"], route_class=Route, include_in_schema=False)


@router.post("/mcp")
@Rules(scope="search", narrowest="documents")
async def mcp(request: Request, asked: AskedDep) -> Response:
    """Answer one message; it has a format and errors of its own, JSON-RPC."""
    answer = await asyncio.to_thread(_loaded)  # the first time, this takes a second
    return await answer(request, asked)


@cache
def _loaded() -> Callable[[Request, Asked], Awaitable[Response]]:
    """The function that answers. Raises `NotAvailableError` without the package."""
    try:
        from service.api.agents.mcp_server import answer  # noqa: PLC0415
    except ImportError as error:
        raise NotAvailableError(
            '/mcp needs a package that this server does not have: pip install "secondpass[mcp]"'
        ) from error
    return answer
