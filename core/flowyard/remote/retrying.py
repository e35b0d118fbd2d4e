"""When a request is sent again, and after how long; which certificates are believed."""

from __future__ import annotations

import random
import ssl
from http import HTTPStatus

import httpx

from flowyard.settings import Settings

PASSING = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)
"""Statuses that say to come again."""
CONNECT_SECONDS = 5.0
# Shorter than servers keep idle connections: what is sent on one that is being closed gets no answer.
KEEP_ALIVE_SECONDS = 3.0
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 10.0


def pause_before(attempt: int, settings: Settings) -> float:
    """Return the seconds to wait before a request is sent again, when the server did not say; 0 is the first time."""
    pause = min(_FIRST_PAUSE_SECONDS * 2**attempt, _LONGEST_PAUSE_SECONDS)
    return pause * (1 + random.random() * settings.FLOWYARD_CLIENT_RETRY_JITTER_FACTOR)


def retry_after_of(answer: httpx.Response) -> float | None:
    """Return the seconds after which a server said to come again, 10 at most; None when it did not say."""
    # The other form, a date, is not used by what answers for us; then the usual pause is right.
    text = answer.headers.get("Retry-After", "")
    try:
        return min(max(float(text), 0.0), _LONGEST_PAUSE_SECONDS) if text else None
    except ValueError:
        return None


def has_surely_not_arrived(error: httpx.HTTPError) -> bool:
    """Say whether a server cannot have seen the request that failed so."""
    return isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout))


def trusted(url: str, settings: Settings) -> ssl.SSLContext | bool:
    """Return whom httpx believes (`verify`)."""
    # Reading the certificates takes longer than everything else of a client.
    if not url.startswith("https:") or settings.FLOWYARD_API_TLS_INSECURE_SKIP_VERIFY:
        return False
    return ssl.create_default_context(cafile=settings.FLOWYARD_API_SSL_CERT_FILE)
