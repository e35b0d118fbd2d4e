"""The websocket that hands scheduled task runs to whoever serves their tasks."""

from __future__ import annotations

from typing import Any, cast

from anyio import to_thread
from fastapi import WebSocket, WebSocketDisconnect, status

from flowyard.schemas.api.task_runs import TaskRun
from flowyard.schemas.keys import Scope
from flowyard.server import sockets
from flowyard.server.gateway import Gateway
from flowyard.server.new_events import LOOK_SECONDS
from flowyard.server.routes import Routes
from flowyard.server.task_desk import TaskDesk

router = Routes(prefix="/task_runs", tags=["Task Runs"])
_NO_SUBSCRIPTION = 4001


@router.websocket("/subscriptions/scheduled")
async def subscribe(socket: WebSocket) -> None:
    """Send task runs of the tasks that the client names, the next one when it has acknowledged the one before."""
    desk: TaskDesk = socket.app.state.task_desk
    try:
        if not await sockets.accept(socket, Scope.RUN):
            return
        keys = _keys_of(await sockets.receive(socket))
        while (task_run := await _next(socket, desk, keys)) is not None:
            if not await _hand_over(socket, desk, task_run):
                break
        await sockets.close(socket, status.WS_1000_NORMAL_CLOSURE, "")
    except sockets.Refused as refusal:
        await sockets.close(socket, _NO_SUBSCRIPTION, refusal.reason)
    except WebSocketDisconnect:
        return


def _keys_of(message: dict[str, Any]) -> list[str]:
    keys: Any = message.get("keys")
    if message.get("type") != "subscribe":
        raise sockets.Refused(_NO_SUBSCRIPTION, "the second message must be of type 'subscribe'")
    if not isinstance(keys, list) or not keys or not all(isinstance(key, str) for key in cast("list[Any]", keys)):
        raise sockets.Refused(_NO_SUBSCRIPTION, "the subscription must name the keys of tasks")
    return cast("list[str]", keys)


async def _next(socket: WebSocket, desk: TaskDesk, keys: list[str]) -> TaskRun | None:
    """Return the next task run, or None when the client has gone."""
    found: TaskRun | None = None
    gateway: Gateway = socket.app.state.gateway
    async with sockets.until_closed(socket):
        while found is None:
            found = await to_thread.run_sync(desk.take, gateway, keys)
            if found is None:
                await gateway.news.wait(LOOK_SECONDS)
    return found


async def _hand_over(socket: WebSocket, desk: TaskDesk, task_run: TaskRun) -> bool:
    """Send a task run and wait for the answer; False when it was the last one that the client wants."""
    try:
        await socket.send_text(task_run.model_dump_json())
        answer = await sockets.receive(socket)
    except BaseException:
        desk.put_back(socket.app.state.gateway, task_run.id)
        raise
    if answer.get("type") == "quit":
        return False
    if answer.get("type") != "ack":
        desk.put_back(socket.app.state.gateway, task_run.id)
        raise sockets.Refused(_NO_SUBSCRIPTION, "a task run is answered with 'ack' or 'quit'")
    return True
