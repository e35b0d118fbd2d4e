"""HTTP to a server: one request, or one that is sent again until it is answered."""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Mapping
from http import HTTPStatus

import httpx

from flowyard.exceptions import BackendUnavailable, RequestRefused, ServerAway
from flowyard.remote.csrf import CsrfToken
from flowyard.remote.retrying import (
    CONNECT_SECONDS,
    KEEP_ALIVE_SECONDS,
    PASSING,
    has_surely_not_arrived,
    pause_before,
    retry_after_of,
    trusted,
)
from flowyard.schemas.requests import ApiAnswer, ApiRequest
from flowyard.settings import Settings
from flowyard.settings.credentials import authorization
from flowyard.telemetry import TELEMETRY

JOURNAL = "/journal"
"""Where batches go; everything else is a call of the control plane."""
_GZIP = 16 + zlib.MAX_WBITS
_WORTH_COMPRESSING = 1000
_TOKENS_AT_MOST = 3  # others of this client can be given a new one in between
_KEY = "set it to a key that may, from `flowyard server key create NAME` at the server, or unset FLOWYARD_API_URL"
_TAKEN = frozenset({HTTPStatus.OK, HTTPStatus.CONFLICT})
_UNREADABLE = frozenset(
    {
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        HTTPStatus.UNPROCESSABLE_ENTITY,
    }
)


class Connection:
    """Requests to the server that settings name. Thread-safe; connections are kept alive and reused."""

    def __init__(self, settings: Settings) -> None:
        self.url = f"{settings.FLOWYARD_API_URL}".rstrip("/")
        self._settings = settings
        self._retries = settings.FLOWYARD_CLIENT_MAX_RETRIES
        self._passing = PASSING | settings.FLOWYARD_CLIENT_RETRY_EXTRA_CODES
        self._csrf = CsrfToken(settings)
        self._renewing = threading.Lock()
        who = authorization(settings.FLOWYARD_API_KEY, settings.FLOWYARD_API_AUTH_STRING)
        headers = {"Content-Type": "application/msgpack", **who}
        try:
            self._client = httpx.Client(
                headers=headers,
                timeout=httpx.Timeout(settings.FLOWYARD_API_REQUEST_TIMEOUT, connect=CONNECT_SECONDS),
                limits=httpx.Limits(keepalive_expiry=KEEP_ALIVE_SECONDS),
                http2=settings.FLOWYARD_API_ENABLE_HTTP2,
                verify=trusted(self.url, settings),
            )
        except (OSError, ImportError, ValueError) as error:  # certificates, the package h2, the address of a proxy
            raise BackendUnavailable(self.url, f"{error}", "mend the FLOWYARD_API_* settings") from error
        self.has_answered = False
        """Whether there has been a server at that address. Any thread may look."""

    def ask(self, path: str, body: bytes, *, is_repeatable: bool = True) -> bytes:
        """Send a request, again if need be, and return the content of its answer.

        Args:
            path: after the address of the API.
            body: packed.
            is_repeatable: it may be sent a second time although the first one may have arrived.

        Raises:
            ServerAway: no answer came.
            BackendUnavailable: the answer is not one of a server like this; says what it is.
        """
        packed = compressed(body)
        for attempt in range(self._retries + 1):
            try:
                return self.send(path, packed)
            except ServerAway as error:
                is_over = attempt == self._retries or not error.is_passing
                if is_over or (error.may_have_arrived and not is_repeatable):
                    raise
                time.sleep(self.pause_after(error, attempt))
            except RequestRefused as error:
                raise BackendUnavailable(self.url, f"{error}", "use the same version on both sides") from error
        raise AssertionError("unreachable")

    def send(self, path: str, packed: bytes) -> bytes:
        """Send a body that `compressed` made, once, and return the content of the answer.

        Raises:
            ServerAway: no answer came, or one that says to come again.
            RequestRefused: the server cannot read it.
        """
        headers = {"Content-Encoding": "gzip"} if packed[:2] == b"\x1f\x8b" else {}
        headers.update(TELEMETRY.headers())
        try:
            answer = self._post(path, packed, headers)
        except httpx.HTTPError as error:
            raise self._away(_cause(error), may_have_arrived=not has_surely_not_arrived(error)) from error
        except (httpx.InvalidURL, UnicodeError) as error:
            raise self._away(f"it is no address: {error}") from error
        status, kind = answer.status_code, _media_type(answer)
        if status in _TAKEN and kind == ("application/json" if path == JOURNAL else "application/msgpack"):
            self.has_answered = True
            return answer.content
        said = f"it answers {status} {answer.reason_phrase} to POST {path}"
        if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            way = "FLOWYARD_SERVER_API_MAX_BODY_BYTES, or a proxy on the way, lets no request of that size through"
            raise RequestRefused(self.url, f"{said} of {len(packed):,} bytes: {way}")
        if status in _UNREADABLE and kind == "application/json":
            raise RequestRefused(self.url, f"{said}: {answer.text[:500]}")
        if status in _TAKEN | _UNREADABLE:
            raise self.foreign(f"{said} with {kind or 'no content type'}")
        if answer.has_redirect_location:
            said = (
                f"{said} and points to {answer.headers['location']!r}: give FLOWYARD_API_URL the server's own address"
            )
            raise self._away(said, is_passing=False)
        if status in self._passing:
            raise self._away(said, retry_after_seconds=retry_after_of(answer))
        if status == HTTPStatus.FORBIDDEN and "CSRF" in answer.text:
            said = f"{said}: {answer.text[:200]}; see FLOWYARD_CLIENT_CSRF_SUPPORT_ENABLED"
            raise self._away(said, is_passing=False)
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            why = answer.text[:500] if status == HTTPStatus.FORBIDDEN and kind == "application/json" else ""
            cause = f"{said}: it does not accept FLOWYARD_API_KEY{f': {why}' if why else ''}"
            error = self._away(cause, _KEY, is_passing=False)
            error.is_forbidden = "needs the scope" in why
            raise error
        if status == HTTPStatus.NOT_FOUND:
            raise self._away(f"{said}: there is no Flowyard server at this address", is_passing=False)
        raise self._away(said)

    def foreign(self, said: str) -> ServerAway:
        """Return the error for what no Flowyard server answers: a proxy did, and the server has not taken anything."""
        said = f"{said}, which is no answer of a Flowyard server; a proxy on the way may have given it"
        return self._away(said, is_passing=False)

    def _post(self, path: str, packed: bytes, headers: Mapping[str, str]) -> httpx.Response:
        for tokens in range(_TOKENS_AT_MOST + 1):
            sent = self._csrf.headers
            answer = self._client.post(self.url + path, content=packed, headers={**headers, **sent})
            asks = self._csrf.is_asking(answer.status_code, answer.content)
            if not asks or tokens == _TOKENS_AT_MOST or not self._renew_token(sent):
                return answer
        raise AssertionError("unreachable")

    def _renew_token(self, old: Mapping[str, str]) -> bool:
        """Get a token in the place of one that is not good, unless another thread did; False when there is none."""
        with self._renewing:
            if self._csrf.headers is old:
                answer = self._client.get(self.url + self._csrf.path)
                if answer.status_code != HTTPStatus.OK:
                    return False
                try:
                    self._csrf.take(answer.content)
                except ValueError:
                    return False
        return True

    def forward(self, request: ApiRequest) -> ApiAnswer:
        """Send a request of the REST API as it is, once, and return the answer, whatever it is.

        Raises:
            ServerAway: no answer came.
        """
        try:
            answer = self._client.request(
                request.method, self.url + request.target, headers=list(request.headers), content=request.content
            )
        except httpx.HTTPError as error:
            raise self._away(_cause(error), may_have_arrived=not has_surely_not_arrived(error)) from error
        return ApiAnswer(answer.status_code, tuple(answer.headers.multi_items()), answer.content)

    def pause_after(self, error: ServerAway, attempt: int) -> float:
        """Return the seconds to wait before a request is sent again."""
        if error.retry_after_seconds is not None:
            return error.retry_after_seconds
        return pause_before(attempt, self._settings)

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def _away(
        self,
        cause: str,
        advice: str = "start the server there (`flowyard server start`), or unset FLOWYARD_API_URL",
        *,
        retry_after_seconds: float | None = None,
        may_have_arrived: bool = False,
        is_passing: bool = True,
    ) -> ServerAway:
        error = ServerAway(self.url, cause, advice)
        error.retry_after_seconds = retry_after_seconds
        error.may_have_arrived = may_have_arrived
        error.is_passing = is_passing
        return error


def compressed(body: bytes) -> bytes:
    """Return a body as it travels: gzip, unless it is too small for that to pay."""
    if len(body) < _WORTH_COMPRESSING:
        return body
    return zlib.compress(body, 1, _GZIP)


def decompressed(packed: bytes) -> bytes:
    """Return what `compressed` was given."""
    return zlib.decompress(packed, _GZIP) if packed[:2] == b"\x1f\x8b" else packed


def _media_type(answer: httpx.Response) -> str:
    return answer.headers.get("content-type", "").partition(";")[0].strip().lower()


def _cause(error: httpx.HTTPError) -> str:
    return f"{error}" or type(error).__name__
