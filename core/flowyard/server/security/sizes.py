"""How large a request may be: what is larger is refused before it is read whole."""

from __future__ import annotations

import contextlib
import json

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class _TooLarge(Exception):
    """Ends the reading of a body that has more bytes than allowed."""


class BodyLimit:
    """The middleware: answers 413 to a body of more than `most` bytes, whether or not its length was announced."""

    def __init__(self, app: ASGIApp, *, most: int) -> None:
        self._app = app
        self._most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request pass, count its body, or answer it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "0")
        if announced.isdigit() and int(announced) > self._most:
            await self._refuse(send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._most:
                raise _TooLarge
            return message

        async def watched(message: Message) -> None:
            # Who reads the body may have made an answer of its own out of the exception.
            if received <= self._most:
                await send(message)

        with contextlib.suppress(_TooLarge):
            await self._app(scope, counted, watched)
        if received > self._most:
            await self._refuse(send)

    async def _refuse(self, send: Send) -> None:
        detail = (
            f"the body has more than {self._most:,} bytes: send it in parts, or let the server take more "
            "(FLOWYARD_SERVER_API_MAX_BODY_BYTES)"
        )
        body = json.dumps({"detail": detail}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        # What was not read of the body would be taken for the next request.
        headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": 413, "headers": headers})
        await send({"type": "http.response.body", "body": body})
