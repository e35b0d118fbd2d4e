"""Who asks: an API key as a bearer token, or user and password, as an ASGI middleware in front of the routes."""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from anyio import to_thread
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from flowyard.schemas.keys import ApiKey
from flowyard.schemas.keys import Scope as KeyScope
from flowyard.server.security.rates import Rates
from flowyard.server.security.scopes import OPEN, needed_scope
from flowyard.services.api_keys import is_key, prefix_of

_REMEMBERED_SECONDS = 5.0
_MOST_REMEMBERED = 10_000
_GUARDED = ("/api", "/metrics")
# These tell who they are in their first message: `server.api` asks `Authenticator.is_allowed` then.
_SOCKETS_WITH_HANDSHAKE = frozenset(
    {"/api/events/out", "/api/task_runs/subscriptions/scheduled", "/api/stream", "/api/limits/calls"}
)


@dataclass(frozen=True, slots=True)
class _Remembered:
    key: ApiKey | None
    until: float


class Authenticator:
    """Tells whether a request may pass.

    Args:
        find_key: looks a key up by its prefix; blocking, called in a thread.
        auth_string: `user:password` that opens everything; None takes keys only.
        is_required: whether anything is asked for at all.
    """

    def __init__(self, find_key: Callable[[str], ApiKey | None], *, auth_string: str | None, is_required: bool) -> None:
        self._find_key = find_key
        self._auth_string = auth_string
        self._remembered: dict[str, _Remembered] = {}
        self.is_required = is_required

    async def is_allowed(self, token: str, needed: KeyScope) -> bool | None:
        """Say whether a key, or `user:password`, opens what needs a scope: None when it is none that we know."""
        if not self.is_required:
            return True
        given = token.encode(errors="surrogatepass")
        if self._auth_string is not None and hmac.compare_digest(given, self._auth_string.encode()):
            return True
        key = await self._key(token)
        return key and key.scope.allows(needed)

    async def name_of(self, authorization: str | None, needed: KeyScope) -> tuple[str | None, bool]:
        """Return who an `Authorization` header is of (None: nobody we know), and whether that is enough."""
        kind, _, value = (authorization or "").partition(" ")
        if kind.lower() == "basic" and self._auth_string is not None:
            try:
                given = base64.b64decode(value.strip(), validate=True)
            except binascii.Error:
                return None, False
            is_right = hmac.compare_digest(given, self._auth_string.encode())
            return ("basic" if is_right else None), is_right
        key = await self._key(value.strip()) if kind.lower() == "bearer" else None
        return (None, False) if key is None else (key.prefix, key.scope.allows(needed))

    async def _key(self, text: str) -> ApiKey | None:
        prefix = prefix_of(text)
        if prefix is None:
            return None
        # A look at the database for each request would cost more than most requests: a key that is revoked works for
        # up to five seconds more.
        remembered = self._remembered.get(prefix)
        if remembered is None or remembered.until < time.monotonic():
            if len(self._remembered) >= _MOST_REMEMBERED:
                self._remembered.clear()
            found = await to_thread.run_sync(self._find_key, prefix)
            remembered = _Remembered(found, time.monotonic() + _REMEMBERED_SECONDS)
            self._remembered[prefix] = remembered
        key = remembered.key
        return key if key is not None and is_key(key, text, now=datetime.now(UTC)) else None


class Authentication:
    """The middleware: answers 401 to who is not known, 403 to who may not, 429 to who asks too often."""

    def __init__(self, app: ASGIApp, *, authenticator: Authenticator, rates: Rates | None) -> None:
        self._app = app
        self._authenticator = authenticator
        self._rates = rates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request pass, or answer it."""
        path: str = scope.get("path", "")
        if (
            scope["type"] not in ("http", "websocket")
            or not self._authenticator.is_required
            or path in OPEN
            or not path.startswith(_GUARDED)
            # A browser asks before it sends the key.
            or scope.get("method") == "OPTIONS"
            or (scope["type"] == "websocket" and path in _SOCKETS_WITH_HANDSHAKE)
        ):
            await self._app(scope, receive, send)
            return
        method = scope.get("method", "POST")
        needed = needed_scope(method, path, scope.get("query_string", b"").decode("latin-1"))
        name, is_enough = await self._authenticator.name_of(Headers(scope=scope).get("authorization"), needed)
        if name is None:
            detail = "an API key is needed: send it as `Authorization: Bearer KEY` (set FLOWYARD_API_KEY)"
            await _refuse(scope, send, 401, detail, {"WWW-Authenticate": "Bearer"})
        elif not is_enough:
            await _refuse(scope, send, 403, f"this key does not allow it: {method} {path} needs the scope `{needed}`")
        elif self._rates is not None and (seconds := self._rates.seconds_until(name, time.monotonic())) > 0:
            detail = "too many requests with this key"
            await _refuse(scope, send, 429, detail, {"Retry-After": f"{seconds:.3f}"})
        else:
            await self._app(scope, receive, send)


async def _refuse(scope: Scope, send: Send, status: int, detail: str, headers: dict[str, str] | None = None) -> None:
    if scope["type"] == "websocket":
        # Before the handshake is accepted this is an HTTP answer 403.
        await send({"type": "websocket.close", "code": 1008, "reason": detail[:120]})
        return
    body = json.dumps({"detail": detail}).encode()
    all_headers = {"content-type": "application/json", "content-length": str(len(body)), **(headers or {})}
    encoded = [(name.lower().encode(), value.encode()) for name, value in all_headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})
