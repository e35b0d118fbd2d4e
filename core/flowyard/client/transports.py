"""Transports of httpx to an application in this process: the embedded one, or one of the caller's."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Self

import httpx
from typing_extensions import override

from flowyard.client.base import ASGIApp, app_lifespan_context
from flowyard.process.control import control_plane
from flowyard.process.loops import BackgroundLoop
from flowyard.schemas.requests import ApiRequest

# What is packed would be unpacked a moment later, and whoever has the database open needs no key.
_FOR_A_NETWORK = frozenset({"accept-encoding", "authorization"})


class EmbeddedTransport(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """The REST API on the state backend of this process; on a remote worker, on that of the flow's process."""

    @override
    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return _answer(request, request.read())

    @override
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await asyncio.to_thread(_answer, request, await request.aread())

    @override
    def __enter__(self) -> Self:
        return self

    @override
    def __exit__(self, *_: object) -> None:
        pass

    @override
    async def __aenter__(self) -> Self:
        return self

    @override
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        pass


def _answer(request: httpx.Request, content: bytes) -> httpx.Response:
    headers = tuple((name, value) for name, value in request.headers.items() if name not in _FOR_A_NETWORK)
    answer = control_plane().answer_request(ApiRequest(request.method, request.url.raw_path.decode(), headers, content))
    return httpx.Response(answer.status_code, headers=list(answer.headers), content=answer.content, request=request)


class AppTransport(httpx.AsyncBaseTransport):
    """An application of the caller's, started when the client is entered."""

    def __init__(self, app: ASGIApp) -> None:
        self._transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        self._lifespan = app_lifespan_context(app)

    @override
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await self._transport.handle_async_request(request)

    @override
    async def __aenter__(self) -> Self:
        await self._lifespan.__aenter__()
        return self

    @override
    async def __aexit__(self, *outcome: Any) -> None:
        await self._lifespan.__aexit__(*(outcome or (None, None, None)))


class BlockingAppTransport(httpx.BaseTransport):
    """An application of the caller's on an event loop in a thread of its own, for the blocking client."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._loop = BackgroundLoop()
        self._lifespan = app_lifespan_context(app)

    @override
    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return self._loop.run(self._answer(request, request.read()))

    async def _answer(self, request: httpx.Request, content: bytes) -> httpx.Response:
        sent = httpx.Request(request.method, request.url, headers=request.headers, content=content)
        transport = httpx.ASGITransport(app=self._app, raise_app_exceptions=False)
        answer = await transport.handle_async_request(sent)
        return httpx.Response(answer.status_code, headers=answer.headers, content=await answer.aread(), request=request)

    @override
    def __enter__(self) -> Self:
        self._loop.run(self._lifespan.__aenter__())
        return self

    @override
    def __exit__(self, *_: object) -> None:
        try:
            self._loop.run(self._lifespan.__aexit__(None, None, None))
        finally:
            self._loop.close()
