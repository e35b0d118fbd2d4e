"""The websocket that wakes the clients who wait for slots of concurrency limits. Ours, not Prefect's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Annotated, Literal
from uuid import UUID

from anyio import create_task_group, to_thread
from fastapi import WebSocket, WebSocketDisconnect, status
from pydantic import Field, ValidationError

from flowyard.journal.slot_waiters import SlotWaiters
from flowyard.schemas.api.base import Body
from flowyard.schemas.keys import Scope
from flowyard.server import sockets
from flowyard.server.gateway import Gateway
from flowyard.server.routes import Routes

router = Routes(tags=["Flowyard"])
_MOST = 10_000
_AT_ONCE = 500


class Change(Body):
    """Who waits, or does not wait any more."""

    type: Literal["wait", "leave"]
    lease_ids: Annotated[list[UUID], Field(max_length=_MOST)]
    """Of requests that were asked for with `/control/limits/acquire` and denied."""


@router.websocket("/limits/calls")
async def call(socket: WebSocket) -> None:
    """Tell a client when it is worth asking again: `{"type": "called", "lease_ids": [...]}`.

    As long as the socket is open the requests that the client has said to wait keep their places in the queues.
    """
    gateway: Gateway = socket.app.state.gateway
    calls = _Calls(gateway.slot_waiters, asyncio.get_running_loop())
    try:
        if not await sockets.accept(socket, Scope.RUN):
            return
        async with create_task_group() as group:
            group.start_soon(calls.send, socket)
            await _listen(socket, calls)
            group.cancel_scope.cancel()
    except WebSocketDisconnect:  # before it said who it is
        return
    finally:
        calls.end()


async def _listen(socket: WebSocket, calls: _Calls) -> None:
    while True:
        try:
            change = Change.model_validate(await sockets.receive(socket))
        except WebSocketDisconnect:
            return
        except (sockets.Refused, ValidationError) as error:
            reason = error.reason if isinstance(error, sockets.Refused) else f"{error.errors()[0]['msg']}"
            await sockets.close(socket, status.WS_1002_PROTOCOL_ERROR, reason)
            return
        if change.type == "leave":
            calls.leave(change.lease_ids)
        elif not await calls.wait(change.lease_ids):
            await sockets.close(socket, status.WS_1008_POLICY_VIOLATION, f"at most {_MOST} requests wait on a socket")
            return


class _Calls:
    """The requests of one client. On the event loop, but for the wakes."""

    def __init__(self, waiters: SlotWaiters, loop: asyncio.AbstractEventLoop) -> None:
        self._waiters = waiters
        self._loop = loop
        self._wakes: dict[UUID, Callable[[], None]] = {}
        self._called: set[UUID] = set()
        self._is_any = asyncio.Event()

    async def wait(self, lease_ids: list[UUID]) -> bool:
        """Call these when it is their turn; False when there are too many."""
        if len(self._wakes) + len(lease_ids) > _MOST:
            return False
        wakes = {lease_id: partial(self._wake, lease_id) for lease_id in lease_ids}
        self._wakes.update(wakes)
        await to_thread.run_sync(self._waiters.wait, wakes)
        return True

    def leave(self, lease_ids: list[UUID]) -> None:
        """Call these no more."""
        self._waiters.forget({each: self._wakes.pop(each) for each in lease_ids if each in self._wakes})

    def end(self) -> None:
        """Call nobody any more."""
        self._waiters.forget(self._wakes)
        self._wakes.clear()

    async def send(self, socket: WebSocket) -> None:
        """Say who is called, until the other side goes."""
        try:
            while True:
                await self._is_any.wait()
                self._is_any.clear()
                while self._called:
                    part = [self._called.pop() for _ in range(min(len(self._called), _AT_ONCE))]
                    await socket.send_json({"type": "called", "lease_ids": [each.hex for each in part]})
        except (WebSocketDisconnect, RuntimeError):  # who listens hears of it too
            return

    def _wake(self, lease_id: UUID) -> None:
        with suppress(RuntimeError):  # the loop is closed: the server stops
            self._loop.call_soon_threadsafe(self._call, lease_id)

    def _call(self, lease_id: UUID) -> None:
        self._called.add(lease_id)
        self._is_any.set()
