"""The HTTP under the clients: httpx's clients, with patience, and with errors that say what the server said."""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any, Protocol, Self

import httpx
from typing_extensions import override

from flowyard.client.calling import finished
from flowyard.client.patience import Patience
from flowyard.exceptions import FlowyardError
from flowyard.settings import get_current_settings

Message = MutableMapping[str, Any]
_SHOWN = 1_000


class ASGIApp(Protocol):
    """An ASGI application."""

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        """Answer one connection."""
        ...


@asynccontextmanager
async def app_lifespan_context(app: ASGIApp) -> AsyncGenerator[None]:
    """Start an application before the block and stop it after, as a server would.

    Raises:
        RuntimeError: it says that it could not start, or stop.
    """
    received: asyncio.Queue[Message] = asyncio.Queue()
    sent: asyncio.Queue[Message] = asyncio.Queue()
    scope: Message = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
    running = asyncio.create_task(_lifespan(app, scope, received, sent))
    await _pass_on("startup", received, sent)
    try:
        yield
    finally:
        await _pass_on("shutdown", received, sent)
        await running


async def _lifespan(
    app: ASGIApp, scope: Message, received: asyncio.Queue[Message], sent: asyncio.Queue[Message]
) -> None:
    try:
        await app(scope, received.get, sent.put)
    except Exception as error:  # an application without a lifespan raises at its first message
        await sent.put({"type": "lifespan.unsupported", "message": f"{error}"})


async def _pass_on(phase: str, received: asyncio.Queue[Message], sent: asyncio.Queue[Message]) -> None:
    await received.put({"type": f"lifespan.{phase}"})
    answer = {"type": ""} if phase == "shutdown" and not sent.empty() else await sent.get()
    if answer["type"].endswith(".failed"):
        raise RuntimeError(f"the application failed at {phase}: {answer.get('message', '')}")


class FlowyardHTTPStatusError(FlowyardError, httpx.HTTPStatusError):
    """A server answered with an error; says what it said."""

    def __init__(self, message: str, *, request: httpx.Request, response: httpx.Response) -> None:
        httpx.HTTPStatusError.__init__(self, message, request=request, response=response)

    @classmethod
    def from_httpx_error(cls, error: httpx.HTTPStatusError) -> Self:
        """Return the error with what the answer says added to its message."""
        text = error.response.text
        said = f"\nResponse: {text[:_SHOWN]}" if text else ""
        # Its first line: the others are a link to what the status means in general.
        return cls(f"{f'{error}'.splitlines()[0]}{said}", request=error.request, response=error.response)

    @override
    def __reduce__(self) -> tuple[Any, ...]:
        return _status_error, (self.args[0], self.request, self.response)


def _status_error(message: str, request: httpx.Request, response: httpx.Response) -> FlowyardHTTPStatusError:
    return FlowyardHTTPStatusError(message, request=request, response=response)


class FlowyardResponse(httpx.Response):
    """An answer whose `raise_for_status` raises `FlowyardHTTPStatusError`, as its `json` does where it is none."""

    @override
    def json(self, **kwargs: Any) -> Any:
        try:
            return super().json(**kwargs)
        except ValueError as error:
            kind = self.headers.get("content-type", "no content type")
            said = (
                f"The answer {self.status_code} {self.reason_phrase} for url '{self.request.url}' is no JSON ({kind})"
            )
            hint = "a Flowyard server did not give it; see FLOWYARD_API_URL"
            message = f"{said}: {hint}\nResponse: {self.text[:_SHOWN]}"
            raise FlowyardHTTPStatusError(message, request=self.request, response=self) from error

    @override
    def raise_for_status(self) -> Self:
        try:
            super().raise_for_status()
        except httpx.HTTPStatusError as error:
            raise FlowyardHTTPStatusError.from_httpx_error(error) from error.__cause__
        return self

    @classmethod
    def from_httpx_response(cls, response: httpx.Response) -> Self:
        """Return the same answer as one of this class."""
        made = copy.copy(response)
        made.__class__ = cls
        return made  # pyright: ignore[reportReturnType]  its class was changed a line above


class FlowyardHttpxAsyncClient(httpx.AsyncClient):
    """httpx's async client, which sends a request again while the server is busy or away.

    Args:
        *args: as httpx's.
        enable_csrf_support: get a CSRF token when the server asks for one.
        raise_on_all_errors: raise `FlowyardHTTPStatusError` for every answer that is an error.
        **kwargs: as httpx's.
    """

    def __init__(
        self, *args: Any, enable_csrf_support: bool = False, raise_on_all_errors: bool = True, **kwargs: Any
    ) -> None:
        self._patience = Patience(get_current_settings(), with_csrf=enable_csrf_support)
        self._raises = raise_on_all_errors
        super().__init__(*args, **kwargs)

    @override
    async def send(self, request: httpx.Request, *args: Any, **kwargs: Any) -> httpx.Response:
        send_once = super().send

        async def send(request: httpx.Request) -> httpx.Response:
            return await send_once(request, *args, **kwargs)

        answer = await self._patience.send(request, send, asyncio.sleep, self.base_url)
        made = FlowyardResponse.from_httpx_response(answer)
        return made.raise_for_status() if self._raises else made


class FlowyardHttpxSyncClient(httpx.Client):
    """`FlowyardHttpxAsyncClient`, blocking."""

    def __init__(
        self, *args: Any, enable_csrf_support: bool = False, raise_on_all_errors: bool = True, **kwargs: Any
    ) -> None:
        self._patience = Patience(get_current_settings(), with_csrf=enable_csrf_support)
        self._raises = raise_on_all_errors
        super().__init__(*args, **kwargs)

    @override
    def send(self, request: httpx.Request, *args: Any, **kwargs: Any) -> httpx.Response:
        send_once = super().send

        async def send(request: httpx.Request) -> httpx.Response:
            return send_once(request, *args, **kwargs)

        answer = finished(self._patience.send(request, send, _sleep, self.base_url))
        made = FlowyardResponse.from_httpx_response(answer)
        return made.raise_for_status() if self._raises else made


async def _sleep(seconds: float) -> None:
    time.sleep(seconds)  # noqa: ASYNC251  driven by `finished`, on no event loop


PrefectHTTPStatusError = FlowyardHTTPStatusError
PrefectResponse = FlowyardResponse
PrefectHttpxAsyncClient = FlowyardHttpxAsyncClient
PrefectHttpxSyncClient = FlowyardHttpxSyncClient
