"""Our own websocket: events and log lines in one stream, which goes on where it was broken off."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from anyio import to_thread
from fastapi import WebSocket, WebSocketDisconnect, status
from pydantic import Field, ValidationError

from flowyard.schemas.api.base import Body
from flowyard.schemas.api.events import EventFilter
from flowyard.schemas.api.logs import LogFilter
from flowyard.schemas.keys import Scope
from flowyard.server import sockets
from flowyard.server.gateway import Gateway
from flowyard.server.new_events import LOOK_SECONDS, NewEvents
from flowyard.server.new_logs import NewLogs
from flowyard.server.routes import Routes
from flowyard.store.encoding import from_microseconds, to_microseconds

router = Routes(tags=["Stream"])


class Subscription(Body):
    """What a client wants to hear, and from where on."""

    type: Literal["subscribe"]
    events: EventFilter | None = None
    """None for no events."""
    logs: LogFilter | None = None
    """None for no log lines; a filter names the flow runs whose lines are wanted."""
    cursor: Annotated[str, Field(pattern=r"^\d{1,17}-\d{1,17}$")] | None = None
    """The one of the last message that the client has; without it the stream begins now."""


@router.websocket("/stream")
async def stream(socket: WebSocket) -> None:
    """Send events and log lines that filters take, each with the cursor that the stream goes on from after it."""
    gateway: Gateway = socket.app.state.gateway
    try:
        if not await sockets.accept(socket, Scope.READ):
            return
        subscription = Subscription.model_validate(await sockets.receive(socket))
        followed = _Followed(gateway, subscription)
    except WebSocketDisconnect:
        return
    except sockets.Refused as refusal:
        await sockets.close(socket, refusal.code, refusal.reason)
        return
    except ValueError as error:
        reason = f"{error.errors()[0]['msg']}" if isinstance(error, ValidationError) else str(error)
        await sockets.close(socket, status.WS_1002_PROTOCOL_ERROR, f"no subscription: {reason}")
        return
    async with sockets.until_closed(socket):
        if subscription.cursor is None:
            await to_thread.run_sync(followed.begin)
        await _send(socket, await to_thread.run_sync(followed.look))
        await socket.send_json({"type": "caught_up", "cursor": followed.cursor})
        while True:
            await gateway.news.wait(LOOK_SECONDS)
            await _send(socket, await to_thread.run_sync(followed.look))


async def _send(socket: WebSocket, messages: list[str]) -> None:
    for message in messages:
        await socket.send_text(message)


class _Followed:
    """The events and lines of one subscription. Its methods block."""

    def __init__(self, gateway: Gateway, subscription: Subscription) -> None:
        since: list[datetime | None] = [None, None]
        if subscription.cursor is not None:
            since = [from_microseconds(int(part)) for part in subscription.cursor.split("-")]
        events, logs = subscription.events, subscription.logs
        self._events = None if events is None else NewEvents(gateway, events, since=since[0])
        self._logs = None if logs is None else NewLogs(gateway, logs, since=since[1])
        self._since = since

    @property
    def cursor(self) -> str:
        """Where the stream is."""
        parts = [
            self._since[0] if self._events is None else self._events.cursor,
            self._since[1] if self._logs is None else self._logs.cursor,
        ]
        return "-".join(str(0 if part is None else to_microseconds(part)) for part in parts)

    def begin(self) -> None:
        """Leave out what is there."""
        if self._events is not None:
            self._events.begin(backfills=False)
        if self._logs is not None:
            self._logs.begin()

    def look(self) -> list[str]:
        """Return messages about what is new: events in the order in which they were stored, lines in that of time."""
        before = self.cursor
        found = [
            *([] if self._events is None else [("event", event) for event in self._events.look()]),
            *([] if self._logs is None else [("log", line) for line in self._logs.look()]),
        ]
        if not found:
            return []
        # Whoever breaks off within a batch hears all of it again.
        cursors = [*[before] * (len(found) - 1), self.cursor]
        return [
            f'{{"type":"{kind}","{kind}":{each.model_dump_json()},"cursor":"{cursor}"}}'
            for (kind, each), cursor in zip(found, cursors, strict=True)
        ]
