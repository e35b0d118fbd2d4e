"""Both clients behind one blocking face, on the embedded API and on a server with PostgreSQL."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import pytest

from flowyard.client import FlowyardClient, SyncFlowyardClient, get_client
from flowyard.local.backend import LocalBackend
from flowyard.process.backends import close_backends
from flowyard.server.app import create_app
from flowyard.settings import FLOWYARD_API_URL, FLOWYARD_HOME, Settings, temporary_settings
from flowyard.testing.servers import serving

KINDS = ("async", "sync", "async over HTTP", "sync over HTTP")


class Awaited:
    """The async client, each call run to its end on one event loop."""

    def __init__(self, client: FlowyardClient, runner: asyncio.Runner) -> None:
        self._client = client
        self._runner = runner

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._client, name)
        if not inspect.iscoroutinefunction(value):
            return value
        coroutine_function: Callable[..., Any] = value
        return lambda *args, **kwargs: self._runner.run(coroutine_function(*args, **kwargs))


@pytest.fixture(params=KINDS[:2])
def client(request: pytest.FixtureRequest, home: Path) -> Iterator[SyncFlowyardClient]:
    """An open client of each kind; tests that are also about HTTP parametrise it with all `KINDS`."""
    kind: str = request.param
    with ExitStack() as stack:
        changes: dict[Any, Any] = {FLOWYARD_HOME: home}
        if kind.endswith("HTTP"):
            postgres_url: str = request.getfixturevalue("postgres_url")
            backend = stack.enter_context(LocalBackend.open(postgres_url, home))
            server = stack.enter_context(serving(create_app(Settings.from_env({}), backend=backend)))
            changes[FLOWYARD_API_URL] = f"{server.address}/api"
        stack.enter_context(temporary_settings(changes))
        stack.callback(close_backends)
        if kind.startswith("sync"):
            yield stack.enter_context(get_client(sync_client=True))
            return
        runner = stack.enter_context(asyncio.Runner())
        opened = get_client()
        runner.run(opened.__aenter__())
        stack.callback(lambda: runner.run(opened.__aexit__(None, None, None)))
        yield cast("SyncFlowyardClient", Awaited(opened, runner))
