"""Reading and changing runs from code: `with get_client() as client` or `async with get_client() as client`.

Both clients speak to the port; which backend is behind it is decided by the settings.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, overload
from uuid import UUID

from flowyard.ports import Backend, ControlPlane
from flowyard.process.control import control_plane
from flowyard.schemas.events import LogEmitted
from flowyard.schemas.filters import FlowRunFilter, LogFilter, TaskRunFilter
from flowyard.schemas.ids import new_id
from flowyard.schemas.orchestration import OrchestrationResult
from flowyard.schemas.runs import Flow, FlowRun, TaskRun
from flowyard.schemas.states import State

T = TypeVar("T")
_DEFAULT_LIMIT = 200


class SyncFlowyardClient:
    """Blocking calls, on a `backend` of the caller's or on the one that this process has open.

    When it is entered, runs whose process has died are marked Crashed first. Inside a task that executes remotely the
    calls travel to the process of its flow.
    """

    def __init__(self, backend: Backend | None = None) -> None:
        self._given = backend
        self._control: ControlPlane | None = None

    def __enter__(self) -> Self:
        control = control_plane() if self._given is None else self._given.control
        # Who looks at runs finds those whose process died Crashed, not Running for ever.
        control.reap_dead_runs(datetime.now(UTC))
        self._control = control
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._control = None

    @property
    def control(self) -> ControlPlane:
        """The port behind this client.

        Raises:
            RuntimeError: the client is not open.
        """
        if self._control is None:
            raise RuntimeError("the client is not open; use it inside `with get_client() as client:`")
        return self._control

    def read_flow(self, flow_id: UUID) -> Flow:
        """Return a flow.

        Raises:
            ObjectNotFound: there is no such flow.
        """
        return self.control.read_flow(flow_id)

    def read_flows(self, *, limit: int | None = None, offset: int = 0) -> list[Flow]:
        """Return flows, newest first; 200 when there is no limit."""
        return self.control.read_flows(limit=limit or _DEFAULT_LIMIT, offset=offset)

    def read_flow_run(self, flow_run_id: UUID) -> FlowRun:
        """Return a flow run with its current state.

        Raises:
            ObjectNotFound: there is no such flow run.
        """
        return self.control.read_flow_run(flow_run_id)

    def read_flow_runs(
        self, *, flow_run_filter: FlowRunFilter | None = None, limit: int | None = None, offset: int = 0
    ) -> list[FlowRun]:
        """Return flow runs, newest first; 200 when there is no limit."""
        return self.control.read_flow_runs(flow_run_filter, limit=limit or _DEFAULT_LIMIT, offset=offset)

    def read_flow_run_states(self, flow_run_id: UUID) -> list[State[Any]]:
        """Return every state of a flow run, oldest first."""
        return self.control.read_flow_run_states(flow_run_id)

    def read_task_run(self, task_run_id: UUID) -> TaskRun:
        """Return a task run with its current state.

        Raises:
            ObjectNotFound: there is no such task run.
        """
        return self.control.read_task_run(task_run_id)

    def read_task_runs(
        self, *, task_run_filter: TaskRunFilter | None = None, limit: int | None = None, offset: int = 0
    ) -> list[TaskRun]:
        """Return task runs, newest first; 200 when there is no limit."""
        return self.control.read_task_runs(task_run_filter, limit=limit or _DEFAULT_LIMIT, offset=offset)

    def read_task_run_states(self, task_run_id: UUID) -> list[State[Any]]:
        """Return every state of a task run, oldest first."""
        return self.control.read_task_run_states(task_run_id)

    def read_logs(
        self, log_filter: LogFilter | None = None, limit: int | None = None, offset: int = 0
    ) -> list[LogEmitted]:
        """Return log lines in the order of time; 200 when there is no limit."""
        lines = self.control.read_logs(log_filter or LogFilter(), limit=limit or _DEFAULT_LIMIT, offset=offset)
        return list(lines)

    def set_flow_run_state(self, flow_run_id: UUID, state: State[Any], force: bool = False) -> OrchestrationResult:
        """Propose a state for a flow run and return what became of it.

        Raises:
            ObjectNotFound: there is no such flow run.
        """
        # So that the same proposal, sent twice because an answer got lost, counts once.
        details = replace(state.state_details, transition_id=state.state_details.transition_id or new_id())
        proposed = State(state.type, state.name, state.message, state.data, details, state.timestamp, state.id)
        return self.control.propose_flow_run_state(flow_run_id, proposed, force=force)

    def delete_flow_run(self, flow_run_id: UUID) -> None:
        """Delete a flow run with its task runs, states and logs.

        Raises:
            ObjectNotFound: there is no such flow run.
        """
        self.control.delete_flow_run(flow_run_id)


class FlowyardClient:
    """The same calls as coroutines, run in threads; `with` instead of `async with` gives the blocking client."""

    def __init__(self, backend: Backend | None = None) -> None:
        self._sync = SyncFlowyardClient(backend)

    def __enter__(self) -> SyncFlowyardClient:
        return self._sync.__enter__()

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._sync.__exit__(exc_type, exc, traceback)

    async def __aenter__(self) -> Self:
        await _in_thread(self._sync.__enter__)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await _in_thread(lambda: self._sync.__exit__(exc_type, exc, traceback))

    async def read_flow(self, flow_id: UUID) -> Flow:
        """See `SyncFlowyardClient.read_flow`."""
        return await _in_thread(lambda: self._sync.read_flow(flow_id))

    async def read_flows(self, *, limit: int | None = None, offset: int = 0) -> list[Flow]:
        """See `SyncFlowyardClient.read_flows`."""
        return await _in_thread(lambda: self._sync.read_flows(limit=limit, offset=offset))

    async def read_flow_run(self, flow_run_id: UUID) -> FlowRun:
        """See `SyncFlowyardClient.read_flow_run`."""
        return await _in_thread(lambda: self._sync.read_flow_run(flow_run_id))

    async def read_flow_runs(
        self, *, flow_run_filter: FlowRunFilter | None = None, limit: int | None = None, offset: int = 0
    ) -> list[FlowRun]:
        """See `SyncFlowyardClient.read_flow_runs`."""
        return await _in_thread(
            lambda: self._sync.read_flow_runs(flow_run_filter=flow_run_filter, limit=limit, offset=offset)
        )

    async def read_flow_run_states(self, flow_run_id: UUID) -> list[State[Any]]:
        """See `SyncFlowyardClient.read_flow_run_states`."""
        return await _in_thread(lambda: self._sync.read_flow_run_states(flow_run_id))

    async def read_task_run(self, task_run_id: UUID) -> TaskRun:
        """See `SyncFlowyardClient.read_task_run`."""
        return await _in_thread(lambda: self._sync.read_task_run(task_run_id))

    async def read_task_runs(
        self, *, task_run_filter: TaskRunFilter | None = None, limit: int | None = None, offset: int = 0
    ) -> list[TaskRun]:
        """See `SyncFlowyardClient.read_task_runs`."""
        return await _in_thread(
            lambda: self._sync.read_task_runs(task_run_filter=task_run_filter, limit=limit, offset=offset)
        )

    async def read_task_run_states(self, task_run_id: UUID) -> list[State[Any]]:
        """See `SyncFlowyardClient.read_task_run_states`."""
        return await _in_thread(lambda: self._sync.read_task_run_states(task_run_id))

    async def read_logs(
        self, log_filter: LogFilter | None = None, limit: int | None = None, offset: int = 0
    ) -> list[LogEmitted]:
        """See `SyncFlowyardClient.read_logs`."""
        return await _in_thread(lambda: self._sync.read_logs(log_filter, limit, offset))

    async def set_flow_run_state(
        self, flow_run_id: UUID, state: State[Any], force: bool = False
    ) -> OrchestrationResult:
        """See `SyncFlowyardClient.set_flow_run_state`."""
        return await _in_thread(lambda: self._sync.set_flow_run_state(flow_run_id, state, force))

    async def delete_flow_run(self, flow_run_id: UUID) -> None:
        """See `SyncFlowyardClient.delete_flow_run`."""
        await _in_thread(lambda: self._sync.delete_flow_run(flow_run_id))


@overload
def get_client(
    httpx_settings: dict[str, Any] | None = None, sync_client: Literal[False] = False, *, backend: Backend | None = None
) -> FlowyardClient: ...
@overload
def get_client(
    httpx_settings: dict[str, Any] | None = None, *, sync_client: Literal[True], backend: Backend | None = None
) -> SyncFlowyardClient: ...


def get_client(
    httpx_settings: dict[str, Any] | None = None, sync_client: bool = False, *, backend: Backend | None = None
) -> FlowyardClient | SyncFlowyardClient:
    """Return a client of the state backend of the run here, else of the settings; use it in `with` or `async with`.

    Args:
        httpx_settings: taken for code written for Prefect 2; an embedded backend makes no request.
        sync_client: return the blocking client; `with` on the other one gives it too.
        backend: use this one, and leave it open.
    """
    return SyncFlowyardClient(backend) if sync_client else FlowyardClient(backend)


async def _in_thread(call: Callable[[], T]) -> T:
    import asyncio  # noqa: PLC0415  50 ms that a script without coroutines need not pay

    return await asyncio.to_thread(call)


PrefectClient = FlowyardClient
SyncPrefectClient = SyncFlowyardClient
