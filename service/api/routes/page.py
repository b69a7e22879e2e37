"""The page at `/`, and the documentation at `/docs`, from files on this machine."""

import asyncio
import hashlib
from importlib.metadata import distribution
from pathlib import Path

from fastapi import APIRouter, Request, Response

from service.api.route_rules import OPEN, Route, Rules
from service.errors import NotFoundError

router = APIRouter(route_class=Route, include_in_schema=False)

_FOLDER = Path(__file__).parents[1] / "page"
_FILES = {path.relative_to(_FOLDER).as_posix(): path for path in _FOLDER.rglob("*.*")}
_SWAGGER = Path(str(distribution("fastapi-swagger").locate_file("fastapi_swagger/resources")))
_SWAGGER_FILES = {name: _SWAGGER / name for name in ("swagger-ui.css", "swagger-ui-bundle.js")}
_MEDIA_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; object-src 'none'; "
    "base-uri 'self'; form-action 'self'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_BASE = b'<base href="/">'
_DOCS = Rules(scope=None, narrowest="documents", open_by="open_docs")


@router.get("/")
@OPEN
async def get_page(request: Request) -> Response:
    """The page. Its files hold no data, so they need no key."""
    return await _answer(request, _FILES["index.html"])


@router.get("/page/{file:path}")
@OPEN
async def get_page_file(request: Request, file: str) -> Response:
    """A style, script or picture of the page."""
    return await _answer(request, _found(_FILES, file))


@router.get("/docs")
@_DOCS
async def get_docs(request: Request) -> Response:
    """The OpenAPI document as a web page."""
    return await _answer(request, _FILES["docs.html"])


@router.get("/docs/{asset}")
@_DOCS
async def get_docs_file(request: Request, asset: str) -> Response:
    """A file of Swagger UI."""
    return await _answer(request, _found(_SWAGGER_FILES, asset))


def _found(files: dict[str, Path], name: str) -> Path:
    try:
        return files[name.rstrip("/")]
    except KeyError:
        raise NotFoundError("there is no such file") from None


async def _answer(request: Request, path: Path) -> Response:
    """The file, with the prefix of a proxy in its base address; 304 if the caller has it."""
    content = await asyncio.to_thread(path.read_bytes)
    if path.suffix == ".html":
        base = f'<base href="{request.scope["root_path"]}/">'
        content = content.replace(_BASE, base.encode())
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {**_HEADERS, "ETag": tag}
    if request.headers.get("If-None-Match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type=_MEDIA_TYPES[path.suffix])
