"""The application factory."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, Depends, FastAPI
from starlette.routing import Route

from service import __version__
from service.api import errors, openapi
from service.api.dependencies import collection_in_path
from service.api.hosts import HostCheck
from service.api.middleware import BodyLimit, RequestContext
from service.api.paths import Paths, RouteTable
from service.api.phase import Phase
from service.api.routes import (
    bulk,
    collections,
    documents,
    jobs,
    operations,
    search,
    similarity,
    snapshots,
)
from service.api.schemas.common import ErrorBody
from service.api.state import ServerState
from service.api.strict_route import StrictRoute
from service.pipeline.engine import Engine
from service.settings import Settings

DESCRIPTION = """
Two-stage search. A bi-encoder recalls the passages nearest to the query, a reranker orders
them, and each hit carries a *confidence*: high, medium or low, from a probability that was
calibrated on labelled data.

Three numbers that are never mixed: `retrieval_score` is a cosine, `rerank_score` a logit,
`probability` calibrated. Every error, on every path, is `{"error": {"code", "message",
"request_id", "details"?}}`.
"""

_ERRORS: dict[int | str, dict[str, Any]] = {
    401: {"description": "The API key is missing or wrong."},
    413: {"description": "The body is larger than the server takes."},
    415: {"description": "The body is not declared to be JSON, or has a coding other than gzip."},
    421: {"description": "A server without keys does not know the name in `Host`."},
    422: {"description": "A field is wrong; `details` names each."},
    429: {"description": "The queue is full; see `Retry-After`."},
    500: {"description": "A fault of the server; the log has the `request_id`."},
    503: {"description": "Models and index are loading (see `Retry-After`), or the store failed."},
    504: {"description": "The allowed time ran out before there was an answer."},
}


def create_app(
    settings: Settings,
    load: Callable[[], Engine],
    on_failure: Callable[[], None] | None = None,
    phase: Phase | None = None,
) -> FastAPI:
    """Build the application.

    `load` runs in a thread once the server is up: `/livez` answers at once, `/readyz` when it is
    done. `on_failure` is called when it fails, so that the process can end.
    """
    state = ServerState(settings, load, phase)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async def start() -> None:
            await state.load()
            state.phase.loaded = True
            if state.failed and on_failure:
                on_failure()

        loading = asyncio.create_task(start())
        yield
        await loading
        state.close()

    app = FastAPI(
        title="Secondpass",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    _make_strict(app)
    app.state.server = state
    app.state.routes = RouteTable(app.routes)
    # The last one added is the outermost.
    app.add_middleware(
        BodyLimit,
        max_bytes=settings.max_body_bytes,
        max_documents_bytes=settings.max_documents_body_bytes,
        max_bulk_bytes=settings.max_bulk_bytes,
        max_snapshot_bytes=settings.max_snapshot_bytes,
    )
    app.add_middleware(Paths, table=app.state.routes)
    app.add_middleware(HostCheck, settings=settings)
    app.add_middleware(RequestContext, metrics=state.metrics, key_hashes=settings.api_key_hashes)
    errors.install(app)
    responses = {status: {"model": ErrorBody, **about} for status, about in _ERRORS.items()}
    no_collection = {"model": ErrorBody, "description": "There is no such collection."}
    for router in (search.router, bulk.router, documents.router):
        app.include_router(router, responses=responses)
        app.include_router(
            router,
            prefix="/collections/{name}",
            generate_unique_id_function=lambda route: route.name + openapi.IN_COLLECTION,
            dependencies=[Depends(collection_in_path)],
            responses={404: no_collection, **responses},
        )
    no_model = {"model": ErrorBody, "description": "This server has no pair model."}
    app.include_router(similarity.router, responses={**responses, 409: no_model})
    no_jobs = {"model": ErrorBody, "description": "This server runs no bulk jobs."}
    app.include_router(jobs.router, responses={**responses, 409: no_jobs})
    app.include_router(collections.router, responses=responses)
    app.include_router(snapshots.router, responses=responses)
    app.include_router(operations.router, responses={s: responses[s] for s in (421, 422, 500)})
    openapi.install(app, settings)
    return app


def _make_strict(app: FastAPI) -> None:
    """Let FastAPI's own pages, the only routes so far, refuse unknown query parameters too."""
    router = APIRouter(route_class=StrictRoute)
    for page in app.routes:
        if isinstance(page, Route):
            router.add_api_route(page.path, page.endpoint, include_in_schema=False)
    app.routes.clear()
    app.include_router(router)
