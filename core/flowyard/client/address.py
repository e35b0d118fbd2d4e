"""Where a client sends its requests, and whether it is open."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import httpx

from flowyard._version import __version__
from flowyard.client.base import ASGIApp
from flowyard.process.backends import PROCESS
from flowyard.process.control import control_plane
from flowyard.remote.backend import RemoteBackend
from flowyard.remote.retrying import CONNECT_SECONDS, KEEP_ALIVE_SECONDS, trusted
from flowyard.settings import get_current_settings
from flowyard.settings.credentials import authorization

SERVER_API_VERSION = "0.8.4"
"""The version of Prefect 2's REST API that the clients speak."""
_EMBEDDED = "http://embedded"


class ServerType(enum.StrEnum):
    """Where the API is that a client speaks to."""

    EPHEMERAL = "ephemeral"
    """In this process."""
    SERVER = "server"
    CLOUD = "cloud"
    """Prefect 2 has it; here nothing is."""


class Address:
    """Where a client sends its requests, and what httpx has to know for that."""

    def __init__(
        self,
        api: str | ASGIApp | None,
        *,
        api_key: str | None,
        api_version: str | None,
        httpx_settings: Mapping[str, Any] | None,
    ) -> None:
        if not (api is None or isinstance(api, str) or callable(api)):
            raise TypeError(
                f"api={api!r} must be the address of an API, an ASGI application, or None for the embedded one"
            )
        if isinstance(api, str) and not api.startswith(("http://", "https://")):
            raise ValueError(f"api={api!r} is no address; write it as http://HOST:PORT/api")
        self.settings = get_current_settings()
        self.app = None if api is None or isinstance(api, str) else api
        self.server_type = ServerType.SERVER if isinstance(api, str) else ServerType.EPHEMERAL
        self.url = api.rstrip("/") if isinstance(api, str) else f"{_EMBEDDED}{'' if api is None else '/api'}"
        given = dict(httpx_settings or {})
        self._headers = {
            "User-Agent": f"flowyard/{__version__}",
            "X-PREFECT-API-VERSION": api_version or SERVER_API_VERSION,
            **authorization(api_key, self.settings.FLOWYARD_API_AUTH_STRING),
            **given.pop("headers", {}),
        }
        self._given = given

    @property
    def is_of_settings(self) -> bool:
        """Whether it is the server that flows of this process report to."""
        return self.url == f"{self.settings.FLOWYARD_API_URL}".rstrip("/")

    def options(self, transport: object) -> dict[str, Any]:
        """Return the arguments of httpx's client."""
        settings = self.settings
        usual: dict[str, Any] = {
            "timeout": httpx.Timeout(settings.FLOWYARD_API_REQUEST_TIMEOUT, connect=CONNECT_SECONDS),
            "follow_redirects": True,
        }
        if transport is None:
            usual["limits"] = httpx.Limits(keepalive_expiry=KEEP_ALIVE_SECONDS)
            usual["http2"] = settings.FLOWYARD_API_ENABLE_HTTP2
            if "verify" not in self._given:
                usual["verify"] = trusted(self.url, settings)
        else:
            usual["transport"] = transport
        return {
            "enable_csrf_support": self.server_type is ServerType.SERVER,
            "base_url": self.url,
            **usual,
            **self._given,
            "headers": self._headers,
        }

    def enter(self) -> None:
        """Do what precedes the first request: without a server, mark as Crashed the runs whose process has died."""
        if self.server_type is ServerType.EPHEMERAL and self.app is None:
            # Who looks at runs finds those whose process died Crashed, not Running for ever.
            control_plane().reap_dead_runs(datetime.now(UTC))

    def settle(self) -> None:
        """Let the server know what flows of this process have recorded before it is asked about that."""
        if not self.is_of_settings:
            return
        backend = PROCESS.opened(self.settings)
        if isinstance(backend, RemoteBackend):
            backend.settle()


class Life:
    """A client is opened once, and closed once."""

    def __init__(self, hint: str) -> None:
        self._hint = hint
        self._phase = "new"

    def open(self) -> None:
        """Open it.

        Raises:
            RuntimeError: it was opened before.
        """
        if self._phase != "new":
            state = "open already" if self._phase == "open" else "closed"
            raise RuntimeError(f"the client is {state}; make another one: {self._hint}")
        self._phase = "open"

    def close(self) -> None:
        """Close it, for good."""
        self._phase = "closed"

    def check(self) -> None:
        """Refuse a call of a client that is not open.

        Raises:
            RuntimeError: it is not.
        """
        if self._phase != "open":
            raise RuntimeError(f"the client is not open; use it inside `{self._hint}`")
