"""The application factory."""

from collections.abc import Callable

from fastapi import Depends, FastAPI
from fastapi.middleware.cors import CORSMiddleware

from service import __version__
from service.api import error_table, openapi
from service.api.connections import Phase
from service.api.middleware import RequestContext
from service.api.routes import (
    agents,
    collections,
    counts,
    documents,
    jobs,
    key,
    label_work,
    labelling,
    operations,
    page,
    search,
    similarity,
    snapshots,
)
from service.api.routes.collections import collection_in_path
from service.api.routes.compatible import cohere, openai, tei, vllm
from service.api.state import ServerState
from service.engine.engine import Engine
from service.settings import Settings

_SENT = [
    "Authorization",
    "Content-Encoding",
    "Content-Type",
    "Idempotency-Key",
    "If-Match",
    "If-None-Match",
    "Traceparent",
    "X-API-Key",
    "X-Request-ID",
]
_READ = ["ETag", "Location", "Retry-After", "Server-Timing", "X-Request-ID", "X-Trace-ID"]
"""Headers that a web page of another origin may send, and read."""


def create_app(
    settings: Settings,
    load: Callable[[], Engine],
    on_failure: Callable[[], None] | None = None,
    phase: Phase | None = None,
) -> FastAPI:
    """Build the application.

    `load` runs in a thread once the server is up: `/livez` answers at once, `/readyz` when it is
    done. `on_failure` is called if it fails, so that the process can end.
    """
    state = ServerState(settings, load, phase)
    app = FastAPI(
        title="Secondpass",
        version=__version__,
        description=openapi.DESCRIPTION,
        lifespan=lambda _app: state.running(on_failure),
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        openapi_url=None,  # `routes.operations` serves it
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.server = state
    app.add_middleware(RequestContext, metrics=state.metrics, settings=settings, keys=state.keys)
    if settings.traces:
        _trace(app)
    if settings.cors_origins:
        _allow_origins(app, settings)
    error_table.install(app)
    for router in (
        search.router,
        jobs.uploads,
        documents.router,
        counts.router,
        labelling.router,
        label_work.router,
        agents.router,
    ):
        app.include_router(router, responses=openapi.ERRORS)
        app.include_router(
            router,
            prefix="/collections/{name}",
            generate_unique_id_function=lambda route: route.name + openapi.IN_COLLECTION,
            dependencies=[Depends(collection_in_path)],
            responses=openapi.ERRORS | openapi.failures({404: "There is no such collection."}),
        )
    for router in (
        similarity.router,
        jobs.router,
        collections.router,
        snapshots.router,
        key.router,
    ):
        app.include_router(router, responses=openapi.ERRORS)
    for router in (
        cohere.router,
        tei.router,
        openai.router,
        vllm.router,
        operations.router,
        page.router,
    ):
        app.include_router(router)
    openapi.install(app, settings)
    return app


def _trace(app: FastAPI) -> None:
    from service.api import tracing  # noqa: PLC0415 - an extra, and slow to import

    app.add_middleware(tracing.Tracing, tracer=tracing.tracer_provider().get_tracer(__name__))


def _allow_origins(app: FastAPI, settings: Settings) -> None:
    """Let web pages of other origins read answers. Credentials stay forbidden, whatever the list.

    A page sends its key in a header, never in a cookie.
    """
    app.add_middleware(
        CORSMiddleware,
        allow_origins=sorted(settings.cors_origins),
        allow_methods=("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT"),
        allow_headers=_SENT,
        expose_headers=_READ,
        allow_credentials=False,
    )
