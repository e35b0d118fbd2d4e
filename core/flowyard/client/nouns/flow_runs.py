"""Flow runs, their states, and what is sent to them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Protocol
from uuid import UUID

import httpx

from flowyard.client.calling import call
from flowyard.client.nouns.base import filters_of, in_path, jsonable
from flowyard.client.nouns.flows import FlowCalls
from flowyard.client.schemas.runs import FlowRun, OrchestrationResult, state_create, state_of
from flowyard.schemas.api.deployments import DeploymentFilter, DeploymentFlowRunCreate
from flowyard.schemas.api.filters import FlowFilter, FlowRunFilter, TaskRunFilter
from flowyard.schemas.api.flow_runs import FlowRunCreate, FlowRunInput, FlowRunPolicy, FlowRunUpdate
from flowyard.schemas.api.sorting import FlowRunSort
from flowyard.schemas.api.work_pools import WorkPoolFilter, WorkQueueFilter
from flowyard.schemas.ids import new_id
from flowyard.schemas.states import State, StateType


class FlowObject(Protocol):
    """What `create_flow_run` needs of a flow."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def version(self) -> str | None: ...  # noqa: D102
    @property
    def retries(self) -> int | None: ...  # noqa: D102
    @property
    def retry_delay_seconds(self) -> float | None: ...  # noqa: D102

    def serialize_parameters(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return parameters as JSON types."""
        ...


class FlowRunCalls(FlowCalls):
    """Flow runs: made, read, changed, moved from state to state, deleted."""

    @call
    async def create_flow_run(
        self,
        flow: FlowObject,
        name: str | None = None,
        parameters: dict[str, Any] | None = None,
        context: dict[str, Any] | None = None,
        tags: Iterable[str] | None = None,
        parent_task_run_id: UUID | None = None,
        state: State[Any] | None = None,
    ) -> FlowRun:
        """Record a run of a flow, without running it; Pending unless `state` says otherwise."""
        body = FlowRunCreate(
            flow_id=await self.create_flow_from_name(flow.name),
            flow_version=flow.version,
            parameters=flow.serialize_parameters(parameters or {}),
            context=jsonable(context or {}),
            tags=list(tags or ()),
            parent_task_run_id=parent_task_run_id,
            state=state_create(state or State(StateType.PENDING)),
            empirical_policy=FlowRunPolicy(retries=flow.retries, retry_delay=flow.retry_delay_seconds),
        )
        if name is not None:
            body.name = name
        return await self._make(FlowRun, "/flow_runs/", body)

    @call
    async def create_flow_run_from_deployment(
        self,
        deployment_id: UUID,
        *,
        parameters: dict[str, Any] | None = None,
        context: dict[str, Any] | None = None,
        state: State[Any] | None = None,
        name: str | None = None,
        tags: Iterable[str] | None = None,
        idempotency_key: str | None = None,
        parent_task_run_id: UUID | None = None,
        work_queue_name: str | None = None,
        job_variables: dict[str, Any] | None = None,
    ) -> FlowRun:
        """Make a run of a deployment, for whoever serves it; scheduled for now unless `state` says otherwise.

        Args:
            deployment_id: of what.
            parameters: put over those of the deployment.
            context: kept with the run.
            state: its first one.
            name: of the run; by default a random one.
            tags: besides those of the deployment.
            idempotency_key: a second call with the same key returns the first one's run.
            parent_task_run_id: the task run in the place of which it stands.
            work_queue_name: another one of the deployment's work pool.
            job_variables: put over those of the deployment.

        Raises:
            ObjectNotFound: there is no such deployment.
        """
        given: dict[str, Any] = {
            "name": name,
            "idempotency_key": idempotency_key,
            "parent_task_run_id": parent_task_run_id,
            "work_queue_name": work_queue_name,
            "job_variables": None if job_variables is None else jsonable(job_variables),
        }
        body = DeploymentFlowRunCreate(
            parameters=jsonable(parameters or {}),
            context=jsonable(context or {}),
            state=state_create(state or State(StateType.SCHEDULED)),
            tags=list(tags or ()),
            **{field: value for field, value in given.items() if value is not None},
        )
        return await self._make(
            FlowRun,
            f"/deployments/{deployment_id}/create_flow_run",
            body,
            about=("deployment", deployment_id),
            is_repeatable=idempotency_key is not None,
        )

    @call
    async def read_flow_run(self, flow_run_id: UUID) -> FlowRun:
        """Return a flow run with its current state.

        Raises:
            ObjectNotFound: there is no such flow run.
        """
        return await self._read(FlowRun, f"/flow_runs/{flow_run_id}", about=("flow run", flow_run_id))

    @call
    async def read_flow_runs(
        self,
        *,
        flow_filter: FlowFilter | None = None,
        flow_run_filter: FlowRunFilter | None = None,
        task_run_filter: TaskRunFilter | None = None,
        deployment_filter: DeploymentFilter | None = None,
        work_pool_filter: WorkPoolFilter | None = None,
        work_queue_filter: WorkQueueFilter | None = None,
        sort: FlowRunSort | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> list[FlowRun]:
        """Return flow runs, newest first unless `sort` says otherwise; 200 when there is no limit."""
        where = filters_of(
            flow_filter=flow_filter,
            flow_run_filter=flow_run_filter,
            task_run_filter=task_run_filter,
            deployment_filter=deployment_filter,
            work_pool_filter=work_pool_filter,
            work_queue_filter=work_queue_filter,
        )
        return await self._list(FlowRun, "/flow_runs/filter", {**where, "sort": sort, "limit": limit, "offset": offset})

    @call
    async def update_flow_run(
        self,
        flow_run_id: UUID,
        flow_version: str | None = None,
        parameters: dict[str, Any] | None = None,
        name: str | None = None,
        tags: Iterable[str] | None = None,
        empirical_policy: FlowRunPolicy | None = None,
        infrastructure_pid: str | None = None,
        job_variables: dict[str, Any] | None = None,
    ) -> httpx.Response:
        """Change what is given of a flow run; what is None stays.

        Raises:
            ObjectNotFound: there is no such flow run.
        """
        given: dict[str, Any] = {
            "flow_version": flow_version,
            "parameters": None if parameters is None else jsonable(parameters),
            "name": name,
            "tags": None if tags is None else list(tags),
            "empirical_policy": empirical_policy,
            "infrastructure_pid": infrastructure_pid,
            "job_variables": None if job_variables is None else jsonable(job_variables),
        }
        body = FlowRunUpdate(**{field: value for field, value in given.items() if value is not None})
        return await self._ask("PATCH", f"/flow_runs/{flow_run_id}", json=body, about=("flow run", flow_run_id))

    @call
    async def delete_flow_run(self, flow_run_id: UUID) -> None:
        """Delete a flow run with its task runs, states and logs.

        Raises:
            ObjectNotFound: there is no such flow run.
        """
        await self._ask("DELETE", f"/flow_runs/{flow_run_id}", about=("flow run", flow_run_id))

    @call
    async def set_flow_run_state(
        self, flow_run_id: UUID, state: State[Any], force: bool = False
    ) -> OrchestrationResult:
        """Propose a state for a flow run and return what became of it; with `force` no rule is asked.

        Raises:
            ObjectNotFound: there is no such flow run.
        """
        return await self._make(
            OrchestrationResult,
            f"/flow_runs/{flow_run_id}/set_state",
            {"state": proposed(state), "force": force},
            about=("flow run", flow_run_id),
            is_repeatable=True,
        )

    @call
    async def read_flow_run_states(self, flow_run_id: UUID) -> list[State[Any]]:
        """Return every state of a flow run, oldest first."""
        answer = await self._ask("GET", "/flow_run_states/", params={"flow_run_id": str(flow_run_id)})
        return [state_of(each) for each in answer.json()]

    @call
    async def resume_flow_run(self, flow_run_id: UUID, run_input: dict[str, Any] | None = None) -> OrchestrationResult:
        """Let a paused flow run go on with the input it asked for.

        Raises:
            ObjectNotFound: there is no such flow run.
        """
        body = {"run_input": None if run_input is None else jsonable(run_input)}
        path = f"/flow_runs/{flow_run_id}/resume"
        return await self._make(OrchestrationResult, path, body, about=("flow run", flow_run_id))

    @call
    async def create_flow_run_input(self, flow_run_id: UUID, key: str, value: str, sender: str | None = None) -> None:
        """Send a text to a flow run under a key that it does not have yet.

        Raises:
            ObjectNotFound: there is no such flow run.
            ObjectAlreadyExists: it has that key.
        """
        body = {"key": key, "value": value, "sender": sender}
        await self._ask("POST", f"/flow_runs/{flow_run_id}/input", json=body, about=("input of the flow run", key))

    @call
    async def filter_flow_run_input(
        self, flow_run_id: UUID, key_prefix: str, limit: int, exclude_keys: set[str]
    ) -> list[FlowRunInput]:
        """Return what was sent to a flow run under keys that begin so, oldest first."""
        body = {"prefix": key_prefix, "limit": limit, "exclude_keys": sorted(exclude_keys)}
        return await self._list(FlowRunInput, f"/flow_runs/{flow_run_id}/input/filter", body)

    @call
    async def read_flow_run_input(self, flow_run_id: UUID, key: str) -> str:
        """Return the text that was sent to a flow run under a key.

        Raises:
            ObjectNotFound: there is none.
        """
        path = f"/flow_runs/{flow_run_id}/input/{in_path(key)}"
        return (await self._ask("GET", path, about=("input of the flow run", key))).text

    @call
    async def delete_flow_run_input(self, flow_run_id: UUID, key: str) -> None:
        """Delete what was sent to a flow run under a key.

        Raises:
            ObjectNotFound: there is none.
        """
        path = f"/flow_runs/{flow_run_id}/input/{in_path(key)}"
        await self._ask("DELETE", path, about=("input of the flow run", key))


def proposed(state: State[Any]) -> Any:
    """Return the body that proposes a state; sent twice, because an answer got lost, it counts once."""
    details = replace(state.state_details, transition_id=state.state_details.transition_id or new_id())
    return state_create(state.copy(update={"state_details": details}))
