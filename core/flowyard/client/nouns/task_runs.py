"""Task runs and their states."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol
from uuid import UUID

from flowyard.client.calling import call
from flowyard.client.nouns.base import Noun, filters_of
from flowyard.client.nouns.flow_runs import proposed
from flowyard.client.schemas.runs import OrchestrationResult, TaskRun, state_create, state_of
from flowyard.schemas.api.deployments import DeploymentFilter
from flowyard.schemas.api.filters import FlowFilter, FlowRunFilter, TaskRunFilter
from flowyard.schemas.api.sorting import TaskRunSort
from flowyard.schemas.api.task_runs import TaskInput, TaskRunCreate, TaskRunPolicy, TaskRunUpdate
from flowyard.schemas.states import State, StateType


class TaskObject(Protocol):
    """What `create_task_run` needs of a task."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def task_key(self) -> str: ...  # noqa: D102
    @property
    def version(self) -> str | None: ...  # noqa: D102
    @property
    def tags(self) -> Collection[str]: ...  # noqa: D102
    @property
    def retries(self) -> int | None: ...  # noqa: D102
    @property
    def retry_delay_seconds(self) -> Any: ...  # noqa: D102
    @property
    def retry_jitter_factor(self) -> float | None: ...  # noqa: D102


class TaskRunCalls(Noun):
    """Task runs: made, read, renamed, moved from state to state, deleted."""

    @call
    async def create_task_run(
        self,
        task: TaskObject,
        flow_run_id: UUID | None,
        dynamic_key: str,
        name: str | None = None,
        extra_tags: Iterable[str] | None = None,
        state: State[Any] | None = None,
        task_inputs: Mapping[str, Sequence[TaskInput]] | None = None,
    ) -> TaskRun:
        """Record a run of a task, without running it; Pending unless `state` says otherwise.

        Args:
            task: of what.
            flow_run_id: the flow run that it is part of, if any.
            dynamic_key: tells the runs of a task in a flow run apart; the run of one that is there is returned.
            name: of the run; by default the task's with the key.
            extra_tags: besides the task's own.
            state: its first one.
            task_inputs: what its parameters are bound to.
        """
        policy = TaskRunPolicy(
            retries=task.retries,
            # What a function says for each retry is known when the task runs.
            retry_delay=None if callable(task.retry_delay_seconds) else task.retry_delay_seconds,
            retry_jitter_factor=task.retry_jitter_factor,
        )
        body = TaskRunCreate(
            name=name or f"{task.name}-{dynamic_key[:8]}",
            flow_run_id=flow_run_id,
            task_key=task.task_key,
            dynamic_key=dynamic_key,
            task_version=task.version,
            empirical_policy=policy,
            tags=sorted({*task.tags, *(extra_tags or ())}),
            state=state_create(state or State(StateType.PENDING)),
            task_inputs={parameter: list(inputs) for parameter, inputs in (task_inputs or {}).items()},
        )
        return await self._make(TaskRun, "/task_runs/", body, is_repeatable=flow_run_id is not None)

    @call
    async def read_task_run(self, task_run_id: UUID) -> TaskRun:
        """Return a task run with its current state.

        Raises:
            ObjectNotFound: there is no such task run.
        """
        return await self._read(TaskRun, f"/task_runs/{task_run_id}", about=("task run", task_run_id))

    @call
    async def read_task_runs(
        self,
        *,
        flow_filter: FlowFilter | None = None,
        flow_run_filter: FlowRunFilter | None = None,
        task_run_filter: TaskRunFilter | None = None,
        deployment_filter: DeploymentFilter | None = None,
        sort: TaskRunSort | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> list[TaskRun]:
        """Return task runs, newest first unless `sort` says otherwise; 200 when there is no limit."""
        where = filters_of(
            flow_filter=flow_filter,
            flow_run_filter=flow_run_filter,
            task_run_filter=task_run_filter,
            deployment_filter=deployment_filter,
        )
        return await self._list(TaskRun, "/task_runs/filter", {**where, "sort": sort, "limit": limit, "offset": offset})

    @call
    async def set_task_run_name(self, task_run_id: UUID, name: str) -> None:
        """Rename a task run.

        Raises:
            ObjectNotFound: there is no such task run.
        """
        about = ("task run", task_run_id)
        await self._ask("PATCH", f"/task_runs/{task_run_id}", json=TaskRunUpdate(name=name), about=about)

    @call
    async def set_task_run_state(
        self, task_run_id: UUID, state: State[Any], force: bool = False
    ) -> OrchestrationResult:
        """Propose a state for a task run and return what became of it; with `force` no rule is asked.

        Raises:
            ObjectNotFound: there is no such task run.
        """
        return await self._make(
            OrchestrationResult,
            f"/task_runs/{task_run_id}/set_state",
            {"state": proposed(state), "force": force},
            about=("task run", task_run_id),
            is_repeatable=True,
        )

    @call
    async def read_task_run_states(self, task_run_id: UUID) -> list[State[Any]]:
        """Return every state of a task run, oldest first."""
        answer = await self._ask("GET", "/task_run_states/", params={"task_run_id": str(task_run_id)})
        return [state_of(each) for each in answer.json()]

    @call
    async def delete_task_run(self, task_run_id: UUID) -> None:
        """Delete a task run with its states and logs.

        Raises:
            ObjectNotFound: there is no such task run.
        """
        await self._ask("DELETE", f"/task_runs/{task_run_id}", about=("task run", task_run_id))
