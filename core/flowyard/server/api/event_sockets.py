"""Websockets of events: one takes them, the other streams them."""

from __future__ import annotations

import anyio
from anyio import to_thread
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from fastapi import WebSocket, WebSocketDisconnect, status
from pydantic import ValidationError

from flowyard.schemas.api.events import Event, EventFilter, ReceivedEvent
from flowyard.schemas.keys import Scope
from flowyard.server import sockets
from flowyard.server.event_intake import check_event, take_events
from flowyard.server.gateway import Gateway
from flowyard.server.new_events import LOOK_SECONDS, NewEvents
from flowyard.server.routes import Routes

router = Routes(prefix="/events", tags=["Events"])
_BUFFERED = 1_000


@router.websocket("/in")
async def take(socket: WebSocket) -> None:
    """Store each event that comes in a frame of its own."""
    gateway: Gateway = socket.app.state.gateway
    await socket.accept()
    sender, receiver = anyio.create_memory_object_stream[Event](_BUFFERED)
    async with anyio.create_task_group() as group:
        group.start_soon(_store, gateway, receiver)
        # What was sent before the socket closed is stored.
        with sender:
            await _receive(socket, gateway, sender)


async def _receive(socket: WebSocket, gateway: Gateway, sender: MemoryObjectSendStream[Event]) -> None:
    while True:
        try:
            event = Event.model_validate_json(await socket.receive_text())
            check_event(event, gateway.settings)
        except WebSocketDisconnect:
            return
        except (ValidationError, ValueError, KeyError) as error:
            reason = f"{error.errors()[0]['msg']}" if isinstance(error, ValidationError) else str(error)
            await sockets.close(socket, status.WS_1007_INVALID_FRAME_PAYLOAD_DATA, f"no event: {reason}")
            return
        await sender.send(event)


async def _store(gateway: Gateway, receiver: MemoryObjectReceiveStream[Event]) -> None:
    with receiver:
        async for event in receiver:
            batch = [event]
            while receiver.statistics().current_buffer_used:
                batch.append(receiver.receive_nowait())
            await to_thread.run_sync(take_events, gateway, batch)


@router.websocket("/out")
async def stream(socket: WebSocket) -> None:
    """Send every event that a filter takes, from now on, or the last 1,000 first."""
    gateway: Gateway = socket.app.state.gateway
    if not await _is_subscribed(socket, gateway):
        return
    try:
        message = await sockets.receive(socket)
        if message.get("type") != "filter":
            raise sockets.Refused(status.WS_1002_PROTOCOL_ERROR, "the second message must be of type 'filter'")
        where = EventFilter.model_validate(message.get("filter") or {})
    except WebSocketDisconnect:
        return
    except ValidationError as error:
        reason = f"no filter of events: {error.errors()[0]['msg']}"
        await sockets.close(socket, status.WS_1002_PROTOCOL_ERROR, reason)
        return
    except sockets.Refused as refusal:
        await sockets.close(socket, refusal.code, refusal.reason)
        return
    news = NewEvents(gateway, where)
    async with sockets.until_closed(socket):
        await _send(socket, await to_thread.run_sync(lambda: news.begin(backfills=bool(message.get("backfill")))))
        while True:
            await _send(socket, await to_thread.run_sync(news.look))
            await gateway.news.wait(LOOK_SECONDS)


async def _is_subscribed(socket: WebSocket, gateway: Gateway) -> bool:
    try:
        if not await sockets.accept(socket, Scope.READ):
            return False
    except WebSocketDisconnect:
        return False
    if not gateway.settings.FLOWYARD_API_EVENTS_STREAM_OUT_ENABLED:
        reason = "events are not streamed here: FLOWYARD_API_EVENTS_STREAM_OUT_ENABLED is false"
        await sockets.close(socket, status.WS_1008_POLICY_VIOLATION, reason)
        return False
    return True


async def _send(socket: WebSocket, events: list[ReceivedEvent]) -> None:
    for event in events:
        await socket.send_text(f'{{"type":"event","event":{event.model_dump_json()}}}')
