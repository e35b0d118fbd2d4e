"""How a request gets its answer: sent again while the server is away or busy, with a token if it asks for one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus

import httpx

from flowyard.exceptions import ServerAway
from flowyard.remote.csrf import CsrfToken
from flowyard.remote.retrying import PASSING, has_surely_not_arrived, pause_before, retry_after_of
from flowyard.settings import Settings

REPEATABLE = "flowyard_repeatable"
"""Extension of a request: it may be sent again although the first one may have arrived."""
_CHANGING = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_ADVICE = "start the server there (`flowyard server start`), or unset FLOWYARD_API_URL"

Send = Callable[[httpx.Request], Awaitable[httpx.Response]]
Pause = Callable[[float], Awaitable[None]]


class Patience:
    """Sends the requests of one client. Whether anything is awaited for real is up to what it is given."""

    def __init__(self, settings: Settings, *, with_csrf: bool) -> None:
        self._settings = settings
        self._passing = PASSING | settings.FLOWYARD_CLIENT_RETRY_EXTRA_CODES
        self._csrf = CsrfToken(settings) if with_csrf else None

    async def send(self, request: httpx.Request, send: Send, pause: Pause, base_url: httpx.URL) -> httpx.Response:
        """Return the answer to a request, whatever its status.

        Args:
            request: what to send; its content must be there, not a stream.
            send: sends it once.
            pause: waits for so many seconds.
            base_url: of the API, for the token.

        Raises:
            ServerAway: no answer came.
        """
        is_repeatable = request.method not in ("POST", "PATCH") or bool(request.extensions.get(REPEATABLE))
        most = self._settings.FLOWYARD_CLIENT_MAX_RETRIES
        for attempt in range(most + 1):
            try:
                answer = await self._send_with_token(request, send, base_url)
            except httpx.TransportError as error:
                if attempt == most or not (is_repeatable or has_surely_not_arrived(error)):
                    cause = f"{error}" or type(error).__name__
                    raise ServerAway(f"{request.url.copy_with(path='/', query=None)}", cause, _ADVICE) from error
                await pause(pause_before(attempt, self._settings))
                continue
            if attempt == most or answer.status_code not in self._passing:
                return answer
            seconds = retry_after_of(answer)
            await pause(pause_before(attempt, self._settings) if seconds is None else seconds)
        raise AssertionError("unreachable")

    async def _send_with_token(self, request: httpx.Request, send: Send, base_url: httpx.URL) -> httpx.Response:
        csrf = self._csrf
        if csrf is None or request.method not in _CHANGING:
            return await send(request)
        request.headers.update(csrf.headers)
        answer = await send(request)
        if not csrf.is_asking(answer.status_code, answer.content):
            return answer
        token = await send(httpx.Request("GET", f"{base_url}".rstrip("/") + csrf.path, headers=_identity(request)))
        if token.status_code != HTTPStatus.OK:
            return answer
        csrf.take(token.content)
        request.headers.update(csrf.headers)
        return await send(request)


def _identity(request: httpx.Request) -> dict[str, str]:
    names = ("Authorization", "User-Agent", "X-PREFECT-API-VERSION")
    return {name: request.headers[name] for name in names if name in request.headers}
