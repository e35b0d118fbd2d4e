"""The ASGI application: routes, errors, and the life of the database behind them."""

from __future__ import annotations

import logging
import warnings
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from anyio import create_task_group, to_thread
from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi.middleware.gzip import GZipMiddleware

from flowyard._version import __version__
from flowyard.local import open_backend
from flowyard.local.backend import LocalBackend
from flowyard.schemas.keys import ApiKey
from flowyard.server import errors, metrics, routes
from flowyard.server.api import ROUTERS
from flowyard.server.background import loops_of
from flowyard.server.gateway import Gateway
from flowyard.server.security.authentication import Authentication, Authenticator
from flowyard.server.security.rates import Rates
from flowyard.server.security.sizes import BodyLimit
from flowyard.server.system_blocks import register_system_blocks
from flowyard.server.task_desk import TaskDesk
from flowyard.server.tracing import Traced
from flowyard.services.loops import Loops
from flowyard.settings import Settings
from flowyard.store import api_keys
from flowyard.telemetry import TELEMETRY

_THREADS = 64
_logger = logging.getLogger("flowyard.server")


def create_app(settings: Settings, *, backend: LocalBackend | None = None, with_services: bool = False) -> FastAPI:
    """Return the server's application.

    Args:
        settings: what the server goes by; the database it opens when it starts, too.
        backend: use this database instead, and leave it open at the end.
        with_services: do what a server does by itself too: schedule, mark what is late, reap and so on.
    """

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncGenerator[None]:
        # Each route that waits for a commit holds a thread; a commit takes what many of them want.
        to_thread.current_default_thread_limiter().total_tokens = _THREADS
        opened = backend or await to_thread.run_sync(open_backend, settings)
        app.state.gateway = Gateway(opened, settings)
        app.state.task_desk = TaskDesk()
        # Nobody could renew a lease while there was no server.
        await to_thread.run_sync(app.state.gateway.give_time)
        loops = loops_of(app.state.gateway, settings, app.state.metrics) if with_services else Loops([])
        loops.start()
        try:
            async with create_task_group() as group:
                if with_services and settings.FLOWYARD_API_BLOCKS_REGISTER_ON_START:
                    # Beside the first requests: it takes a third of a second.
                    group.start_soon(to_thread.run_sync, _register_blocks, app.state.gateway)
                yield
        finally:
            await to_thread.run_sync(loops.stop)
            if backend is None:
                await to_thread.run_sync(opened.close)

    # FastAPI makes the models of routes at their first request and mutes what pydantic says about them, but only until
    # another thread leaves a `catch_warnings` of its own: then users saw it.
    warnings.filterwarnings("ignore", message="The 'alias' attribute with value")
    app = FastAPI(title="Flowyard", version=__version__, lifespan=life, openapi_url="/openapi.json", docs_url="/docs")
    routes.install(app, ROUTERS)
    errors.install(app)
    _add_middleware(app, settings)
    return app


def _register_blocks(gateway: Gateway) -> None:
    try:
        number = register_system_blocks(gateway.control.blocks)
    except Exception:
        # The next start, or `POST /api/block_types/install_system_block_types`, does it.
        _logger.exception("the built-in block types could not be registered")
    else:
        _logger.debug("%s built-in block types are registered", number)


def _add_middleware(app: FastAPI, settings: Settings) -> None:
    """Put what every request passes in front of the routes; the last one added is the first one passed."""
    # A list of 200 runs is 200 kB; a higher level takes longer than the query and saves little.
    app.add_middleware(GZipMiddleware, minimum_size=2_000, compresslevel=1)

    def find_key(prefix: str) -> ApiKey | None:
        gateway: Gateway = app.state.gateway
        return gateway.read(lambda connection: api_keys.find(connection, prefix))

    app.state.authenticator = Authenticator(
        find_key,
        auth_string=settings.FLOWYARD_SERVER_API_AUTH_STRING,
        is_required=needs_authentication(settings),
    )
    per_second = settings.FLOWYARD_SERVER_API_RATE_LIMIT
    app.add_middleware(
        Authentication,
        authenticator=app.state.authenticator,
        rates=None if per_second is None else Rates(per_second),
    )
    app.add_middleware(BodyLimit, most=settings.FLOWYARD_SERVER_API_MAX_BODY_BYTES)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=_words(settings.FLOWYARD_SERVER_CORS_ALLOWED_ORIGINS),
        allow_methods=_words(settings.FLOWYARD_SERVER_CORS_ALLOWED_METHODS),
        allow_headers=_words(settings.FLOWYARD_SERVER_CORS_ALLOWED_HEADERS),
    )
    metrics.install(app)
    TELEMETRY.follow(settings)
    if settings.FLOWYARD_TRACING_ENABLED:
        app.add_middleware(Traced)


def needs_authentication(settings: Settings) -> bool:
    """Say whether requests have to show who they are."""
    if settings.FLOWYARD_SERVER_API_AUTH is None:
        return settings.FLOWYARD_SERVER_API_AUTH_STRING is not None
    return settings.FLOWYARD_SERVER_API_AUTH


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]
