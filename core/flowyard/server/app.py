"""The ASGI application: routes, errors, and the life of the database behind them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from anyio import to_thread
from fastapi import APIRouter, Depends, FastAPI

from flowyard import __version__
from flowyard.local import open_backend
from flowyard.local.backend import LocalBackend
from flowyard.server import errors
from flowyard.server.api import ROUTERS
from flowyard.server.dependencies import check_api_version
from flowyard.server.gateway import Gateway
from flowyard.settings import Settings

_THREADS = 64


def create_app(settings: Settings, *, backend: LocalBackend | None = None) -> FastAPI:
    """Return the server's application.

    Args:
        settings: what the server goes by; the database it opens when it starts, too.
        backend: use this database instead, and leave it open at the end.
    """

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncGenerator[None]:
        # Each route that waits for a commit holds a thread; a commit takes what many of them want.
        to_thread.current_default_thread_limiter().total_tokens = _THREADS
        opened = backend or await to_thread.run_sync(open_backend, settings)
        app.state.gateway = Gateway(opened, settings)
        try:
            yield
        finally:
            if backend is None:
                await to_thread.run_sync(opened.close)

    app = FastAPI(title="Flowyard", version=__version__, lifespan=life, openapi_url="/openapi.json", docs_url="/docs")
    api = APIRouter(prefix="/api", dependencies=[Depends(check_api_version)])
    for router in ROUTERS:
        api.include_router(router)
    app.include_router(api)
    errors.install(app)
    return app
