"""The handshake of websockets that stream: the subprotocol `prefect`, then who asks, then what for."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

from anyio import CancelScope, create_task_group
from fastapi import WebSocket, WebSocketDisconnect, status
from starlette.websockets import WebSocketState

from flowyard.schemas.keys import Scope
from flowyard.server.security.authentication import Authenticator

SUBPROTOCOL = "prefect"
_LONGEST_REASON = 120


class Refused(Exception):
    """The other side is told why, and the socket is closed."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


async def accept(socket: WebSocket, needed: Scope) -> bool:
    """Accept a socket and ask who it is; False when it was closed because that is nobody who may.

    The first message is `{"type": "auth", "token": KEY}`, and the answer `{"type": "auth_success"}`.
    """
    if SUBPROTOCOL not in socket.scope.get("subprotocols", ()):
        # Accepted first: before that a browser is not told why.
        await socket.accept()
        await close(socket, status.WS_1002_PROTOCOL_ERROR, f"the subprotocol is {SUBPROTOCOL!r}")
        return False
    await socket.accept(SUBPROTOCOL)
    try:
        message = await receive(socket)
    except Refused as refusal:
        await close(socket, status.WS_1008_POLICY_VIOLATION, refusal.reason)
        return False
    authenticator: Authenticator = socket.app.state.authenticator
    token = message.get("token")
    if message.get("type") != "auth":
        await close(socket, status.WS_1008_POLICY_VIOLATION, "the first message must be of type 'auth'")
        return False
    if not await authenticator.is_allowed(token if isinstance(token, str) else "", needed):
        await close(socket, status.WS_1008_POLICY_VIOLATION, f"the token does not allow it: scope {needed} is needed")
        return False
    await socket.send_json({"type": "auth_success"})
    return True


async def receive(socket: WebSocket) -> dict[str, Any]:
    """Return the next message.

    Raises:
        Refused: it is no JSON object.
        WebSocketDisconnect: the other side has gone.
    """
    frame = await socket.receive()
    if frame["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(frame.get("code", status.WS_1000_NORMAL_CLOSURE))
    try:
        message: Any = json.loads(frame.get("text") or frame.get("bytes") or "")
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict):
        raise Refused(status.WS_1002_PROTOCOL_ERROR, "a message is a JSON object")
    return cast("dict[str, Any]", message)


async def close(socket: WebSocket, code: int, reason: str) -> None:
    """Close a socket, unless the other side was faster."""
    if socket.client_state is not WebSocketState.DISCONNECTED:
        try:
            await socket.close(code, reason[:_LONGEST_REASON])
        except RuntimeError:  # closed in the same moment
            return


@asynccontextmanager
async def until_closed(socket: WebSocket) -> AsyncGenerator[None]:
    """Run the block until the other side goes; what it still sends is not looked at."""

    async def listen(scope: CancelScope) -> None:
        while (await socket.receive())["type"] != "websocket.disconnect":
            pass
        scope.cancel()

    async with create_task_group() as group:
        group.start_soon(listen, group.cancel_scope)
        with suppress(WebSocketDisconnect):
            yield
        group.cancel_scope.cancel()
