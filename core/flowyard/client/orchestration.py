"""The clients: `async with get_client() as client`, or `with get_client(sync_client=True) as client`.

With FLOWYARD_API_URL they speak to that server; without, to the same API on the state backend of this process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Literal, Self, overload

import httpx
from typing_extensions import override

from flowyard.aio import asyncio
from flowyard.client.address import SERVER_API_VERSION, Address, Life, ServerType
from flowyard.client.base import ASGIApp, FlowyardHttpxAsyncClient, FlowyardHttpxSyncClient
from flowyard.client.calling import Blocking
from flowyard.client.nouns.automations import AutomationCalls
from flowyard.client.nouns.blocks import BlockCalls
from flowyard.client.nouns.deployments import DeploymentCalls
from flowyard.client.nouns.flow_runs import FlowRunCalls
from flowyard.client.nouns.limits import LimitCalls
from flowyard.client.nouns.records import RecordCalls
from flowyard.client.nouns.server import ServerCalls
from flowyard.client.nouns.task_runs import TaskRunCalls
from flowyard.client.nouns.work_pools import WorkPoolCalls
from flowyard.client.nouns.work_queues import WorkQueueCalls
from flowyard.client.patience import REPEATABLE
from flowyard.client.transports import AppTransport, BlockingAppTransport, EmbeddedTransport
from flowyard.exceptions import BackendUnavailable
from flowyard.settings import get_current_settings

__all__ = [
    "SERVER_API_VERSION",
    "FlowyardClient",
    "PrefectClient",
    "ServerType",
    "SyncFlowyardClient",
    "SyncPrefectClient",
    "get_client",
]


class _Calls(
    ServerCalls,
    FlowRunCalls,
    TaskRunCalls,
    DeploymentCalls,
    WorkPoolCalls,
    WorkQueueCalls,
    LimitCalls,
    BlockCalls,
    RecordCalls,
    AutomationCalls,
):
    """Every call."""


class _Client(_Calls):
    """What both clients have."""

    _HINT = ""

    def __init__(
        self,
        api: str | ASGIApp | None = None,
        *,
        api_key: str | None = None,
        api_version: str | None = None,
        httpx_settings: dict[str, Any] | None = None,
    ) -> None:
        self._address = Address(api, api_key=api_key, api_version=api_version, httpx_settings=httpx_settings)
        self._life = Life(self._HINT)

    @property
    def api_url(self) -> httpx.URL:
        """The address of the API."""
        return httpx.URL(f"{self._address.url}/")

    @property
    def server_type(self) -> ServerType:
        """Where the API is."""
        return self._address.server_type


class FlowyardClient(_Client):
    """The async client. Its calls are those of `SyncFlowyardClient`, awaited.

    Args:
        api: the address of an API, such as `http://HOST:4200/api`; an ASGI application; or None for the API on the
            state backend of this process.
        api_key: what the server knows the caller by.
        api_version: the version of the API that the server is told; for tests.
        httpx_settings: further arguments of `httpx.AsyncClient`.
    """

    _HINT = "async with get_client() as client:"
    _http: FlowyardHttpxAsyncClient | None = None

    async def __aenter__(self) -> Self:
        self._life.open()
        address = self._address
        await asyncio.to_thread(address.enter)
        transport = None
        if address.server_type is ServerType.EPHEMERAL:
            transport = EmbeddedTransport() if address.app is None else AppTransport(address.app)
        try:
            self._http = FlowyardHttpxAsyncClient(**address.options(transport))
        except (OSError, ImportError, ValueError) as error:  # certificates, the package h2, the address of a proxy
            raise BackendUnavailable(address.url, f"{error}", "mend the FLOWYARD_API_* settings") from error
        await self._http.__aenter__()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._life.close()
        if self._http is not None:
            await self._http.__aexit__(exc_type, exc, traceback)

    def __enter__(self) -> Any:
        raise RuntimeError(
            "this client is awaited: use `async with get_client() as client:`, or, in code that blocks, "
            "`with get_client(sync_client=True) as client:`"
        )

    def __exit__(self, *_: object) -> None:
        raise AssertionError("never entered")

    @override
    async def _send(
        self, method: str, path: str, *, json: object, params: Mapping[str, Any] | None, is_repeatable: bool
    ) -> httpx.Response:
        self._life.check()
        assert self._http is not None
        if self._address.is_of_settings:
            await asyncio.to_thread(self._address.settle)
        request = self._http.build_request(
            method, path, json=json, params=params, extensions={REPEATABLE: is_repeatable}
        )
        return await self._http.send(request)


class _BlockingSession(_Calls):
    """The calls of a blocking client, as coroutines that never suspend."""

    def __init__(self, send: Callable[..., httpx.Response]) -> None:
        self._blocking_send = send

    @override
    async def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        return self._blocking_send(method, path, **options)


class SyncFlowyardClient(Blocking, _Client):
    """The blocking client; see `FlowyardClient` for its arguments."""

    _HINT = "with get_client(sync_client=True) as client:"
    _http: FlowyardHttpxSyncClient | None = None

    @property
    @override
    def session(self) -> _BlockingSession:
        return _BlockingSession(self._send_blocking)

    def __enter__(self) -> Self:
        self._life.open()
        address = self._address
        address.enter()
        transport = None
        if address.server_type is ServerType.EPHEMERAL:
            transport = EmbeddedTransport() if address.app is None else BlockingAppTransport(address.app)
        try:
            self._http = FlowyardHttpxSyncClient(**address.options(transport))
        except (OSError, ImportError, ValueError) as error:  # certificates, the package h2, the address of a proxy
            raise BackendUnavailable(address.url, f"{error}", "mend the FLOWYARD_API_* settings") from error
        self._http.__enter__()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._life.close()
        if self._http is not None:
            self._http.__exit__(exc_type, exc, traceback)

    def _send_blocking(
        self, method: str, path: str, *, json: object, params: Mapping[str, Any] | None, is_repeatable: bool
    ) -> httpx.Response:
        self._life.check()
        assert self._http is not None
        self._address.settle()
        request = self._http.build_request(
            method, path, json=json, params=params, extensions={REPEATABLE: is_repeatable}
        )
        return self._http.send(request)

    @override
    async def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        return self._send_blocking(method, path, **options)


@overload
def get_client(httpx_settings: dict[str, Any] | None = None, sync_client: Literal[False] = False) -> FlowyardClient: ...
@overload
def get_client(httpx_settings: dict[str, Any] | None = None, *, sync_client: Literal[True]) -> SyncFlowyardClient: ...


def get_client(
    httpx_settings: dict[str, Any] | None = None, sync_client: bool = False
) -> FlowyardClient | SyncFlowyardClient:
    """Return a client of the server of the settings, or of the state backend of this process when they name none.

    Inside a run, and in tasks on other machines, it is the state backend of that run.

    Args:
        httpx_settings: further arguments of httpx's client, such as `timeout`.
        sync_client: return the blocking one.
    """
    settings = get_current_settings()
    kind = SyncFlowyardClient if sync_client else FlowyardClient
    return kind(settings.FLOWYARD_API_URL, api_key=settings.FLOWYARD_API_KEY, httpx_settings=httpx_settings)


PrefectClient = FlowyardClient
SyncPrefectClient = SyncFlowyardClient
