"""The REST API on the state backend of this process, without a socket: for the clients of a process without a server.

Loaded by name, by the embedded backend, when the first client asks something.
"""

from __future__ import annotations

import copy
import functools

import httpx
from fastapi import FastAPI
from starlette.datastructures import State

from flowyard.local.backend import LocalBackend
from flowyard.process.loops import BackgroundLoop
from flowyard.schemas.requests import ApiAnswer, ApiRequest
from flowyard.server.app import create_app
from flowyard.server.gateway import Gateway
from flowyard.server.task_desk import TaskDesk
from flowyard.settings import (
    FLOWYARD_API_SERVICES_EVENT_PERSISTER_ENABLED,
    FLOWYARD_SERVER_API_AUTH,
    FLOWYARD_SERVER_API_AUTH_STRING,
    FLOWYARD_SERVER_API_RATE_LIMIT,
    FLOWYARD_SERVER_CSRF_PROTECTION_ENABLED,
    get_current_settings,
)

_HOST = "http://embedded"
# Whoever can ask has the database open already, and the flows of this process pay for no events that nobody reads.
_PLAIN = {
    FLOWYARD_API_SERVICES_EVENT_PERSISTER_ENABLED: False,
    FLOWYARD_SERVER_API_AUTH: False,
    FLOWYARD_SERVER_API_AUTH_STRING: None,
    FLOWYARD_SERVER_API_RATE_LIMIT: None,
    FLOWYARD_SERVER_CSRF_PROTECTION_ENABLED: False,
}


class EmbeddedApi:
    """Answers requests on an event loop of its own. Thread-safe; callers block."""

    def __init__(self, backend: LocalBackend) -> None:
        # Its routes take longer to make than most scripts, and are the same for every backend.
        app = copy.copy(_application())
        app.state = State({"authenticator": app.state.authenticator, "metrics": app.state.metrics})
        # What its lifespan makes, but for what only a server does: services, and time for leases to be renewed.
        app.state.gateway = Gateway(backend, get_current_settings().copy_with_update(_PLAIN))
        app.state.task_desk = TaskDesk()
        self._transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        self._loop = BackgroundLoop()

    def answer(self, request: ApiRequest) -> ApiAnswer:
        """Return what a server would answer."""
        return self._loop.submit(self._answer(request)).result()

    async def _answer(self, request: ApiRequest) -> ApiAnswer:
        sent = httpx.Request(
            request.method, f"{_HOST}/api{request.target}", headers=list(request.headers), content=request.content
        )
        answer = await self._transport.handle_async_request(sent)
        return ApiAnswer(answer.status_code, tuple(answer.headers.multi_items()), await answer.aread())

    def close(self) -> None:
        """End the loop; nothing may be asked any more."""
        self._loop.close()


@functools.cache
def _application() -> FastAPI:
    return create_app(get_current_settings().copy_with_update(_PLAIN))
