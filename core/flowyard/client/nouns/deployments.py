"""Deployments and their schedules."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from flowyard.client.calling import call
from flowyard.client.nouns.base import Noun, filters_of, in_path, jsonable, made_id
from flowyard.client.schemas.runs import FlowRun
from flowyard.client.schemas.schedules import NoSchedule
from flowyard.schemas.api.deployments import (
    DeploymentCreate,
    DeploymentFilter,
    DeploymentResponse,
    DeploymentSchedule,
    DeploymentScheduleCreate,
    DeploymentScheduleUpdate,
    DeploymentUpdate,
)
from flowyard.schemas.api.filters import FlowFilter, FlowRunFilter, TaskRunFilter
from flowyard.schemas.api.schedules import Schedule
from flowyard.schemas.api.sorting import DeploymentSort
from flowyard.schemas.api.work_pools import WorkPoolFilter, WorkQueueFilter

AnySchedule = Schedule | NoSchedule
# What `update_deployment` takes from the deployment that it is given.
_UPDATED = (
    *("version", "description", "work_queue_name", "work_pool_name", "tags", "manifest_path", "path", "entrypoint"),
    *("parameters", "storage_document_id", "infrastructure_document_id", "job_variables", "enforce_parameter_schema"),
)


class DeploymentCalls(Noun):
    """Deployments: made, read, paused, changed, deleted; their schedules."""

    @call
    async def create_deployment(
        self,
        flow_id: UUID,
        name: str,
        version: str | None = None,
        schedule: AnySchedule | None = None,
        schedules: list[DeploymentScheduleCreate] | None = None,
        parameters: dict[str, Any] | None = None,
        description: str | None = None,
        work_queue_name: str | None = None,
        work_pool_name: str | None = None,
        tags: list[str] | None = None,
        storage_document_id: UUID | None = None,
        manifest_path: str | None = None,
        path: str | None = None,
        entrypoint: str | None = None,
        infrastructure_document_id: UUID | None = None,
        infra_overrides: dict[str, Any] | None = None,
        parameter_openapi_schema: dict[str, Any] | None = None,
        is_schedule_active: bool | None = None,
        paused: bool | None = None,
        pull_steps: list[dict[str, Any]] | None = None,
        enforce_parameter_schema: bool | None = None,
        job_variables: dict[str, Any] | None = None,
    ) -> UUID:
        """Make a deployment, or change the one of that flow and name, and return its id.

        Args:
            flow_id: of what.
            name: of the deployment, one of its flow.
            version: of the deployment.
            schedule: in place of `schedules`, when there is one.
            schedules: when it runs by itself.
            parameters: of its runs.
            description: for people.
            work_queue_name: where its runs wait; made if it is not there.
            work_pool_name: the queue's pool.
            tags: of its runs.
            storage_document_id: the block that has the flow's code, for agents of Prefect 2.
            manifest_path: for agents of Prefect 2.
            path: where the code is.
            entrypoint: `file.py:function`, from there.
            infrastructure_document_id: the block that starts its runs, for agents of Prefect 2.
            infra_overrides: what `job_variables` were called before.
            parameter_openapi_schema: the JSON schema of its parameters.
            is_schedule_active: the opposite of `paused`, which counts if both are given.
            paused: whether its schedules are not followed.
            pull_steps: what a worker does to get the code.
            enforce_parameter_schema: whether parameters that do not fit their schema are refused.
            job_variables: put over those of the work pool.

        Raises:
            ObjectNotFound: there is no such work pool.
        """
        given: dict[str, Any] = {
            "version": version,
            "schedule": None if isinstance(schedule, NoSchedule) else schedule,
            "schedules": schedules,
            "parameters": None if parameters is None else jsonable(parameters),
            "description": description,
            "work_queue_name": work_queue_name,
            "work_pool_name": work_pool_name,
            "tags": tags,
            "storage_document_id": storage_document_id,
            "manifest_path": manifest_path,
            "path": path,
            "entrypoint": entrypoint,
            "infrastructure_document_id": infrastructure_document_id,
            "parameter_openapi_schema": parameter_openapi_schema,
            "is_schedule_active": is_schedule_active,
            "paused": paused,
            "pull_steps": pull_steps,
            "enforce_parameter_schema": enforce_parameter_schema,
            "job_variables": jsonable(job_variables or infra_overrides or {}),
        }
        body = DeploymentCreate(
            flow_id=flow_id, name=name, **{field: value for field, value in given.items() if value is not None}
        )
        about = None if work_pool_name is None else ("work pool", work_pool_name)
        return made_id(await self._ask("POST", "/deployments/", json=body, about=about, is_repeatable=True))

    @call
    async def read_deployment(self, deployment_id: UUID) -> DeploymentResponse:
        """Return a deployment.

        Raises:
            ObjectNotFound: there is no such deployment.
        """
        return await self._read(
            DeploymentResponse, f"/deployments/{deployment_id}", about=("deployment", deployment_id)
        )

    @call
    async def read_deployment_by_name(self, name: str) -> DeploymentResponse:
        """Return the deployment of a name, `flow-name/deployment-name`.

        Raises:
            ObjectNotFound: there is no such deployment.
            ValueError: the name has not these two parts.
        """
        flow_name, slash, deployment_name = name.partition("/")
        if not (slash and flow_name and deployment_name):
            raise ValueError(f"{name!r} is not the name of a deployment: write flow-name/deployment-name")
        path = f"/deployments/name/{in_path(flow_name)}/{in_path(deployment_name)}"
        return await self._read(DeploymentResponse, path, about=("deployment", name))

    @call
    async def read_deployments(
        self,
        *,
        flow_filter: FlowFilter | None = None,
        flow_run_filter: FlowRunFilter | None = None,
        task_run_filter: TaskRunFilter | None = None,
        deployment_filter: DeploymentFilter | None = None,
        work_pool_filter: WorkPoolFilter | None = None,
        work_queue_filter: WorkQueueFilter | None = None,
        limit: int | None = None,
        sort: DeploymentSort | None = None,
        offset: int = 0,
    ) -> list[DeploymentResponse]:
        """Return deployments, by name unless `sort` says otherwise; 200 when there is no limit."""
        where = filters_of(
            flow_filter=flow_filter,
            flow_run_filter=flow_run_filter,
            task_run_filter=task_run_filter,
            deployment_filter=deployment_filter,
            work_pool_filter=work_pool_filter,
            work_queue_filter=work_queue_filter,
        )
        body = {**where, "sort": sort, "limit": limit, "offset": offset}
        return await self._list(DeploymentResponse, "/deployments/filter", body)

    @call
    async def update_deployment(
        self,
        deployment: DeploymentResponse,
        schedule: AnySchedule | None = None,
        is_schedule_active: bool | None = None,
    ) -> None:
        """Store a deployment as it was changed here.

        Args:
            deployment: with its changes; `name`, `flow_id` and what a deployment is made with stay.
            schedule: the one to follow from now on; `NoSchedule()` takes it away, None leaves it.
            is_schedule_active: whether schedules are followed; by default as the deployment says.

        Raises:
            ObjectNotFound: there is no such deployment.
        """
        given: dict[str, Any] = {field: getattr(deployment, field) for field in _UPDATED}
        given = {field: value for field, value in given.items() if value is not None}
        for field in ("parameters", "job_variables"):
            given[field] = jsonable(given[field])
        active = deployment.is_schedule_active if is_schedule_active is None else is_schedule_active
        given["is_schedule_active"] = active
        if schedule is not None:
            given["schedule"] = None if isinstance(schedule, NoSchedule) else schedule
        await self._ask(
            "PATCH",
            f"/deployments/{deployment.id}",
            json=DeploymentUpdate(**given),
            about=("deployment", deployment.id),
        )

    @call
    async def update_schedule(self, deployment_id: UUID, active: bool = True) -> None:
        """Follow the schedules of a deployment, or do not: `set_deployment_paused_state` the other way round.

        Raises:
            ObjectNotFound: there is no such deployment.
        """
        await self.set_deployment_paused_state(deployment_id, not active)

    @call
    async def set_deployment_paused_state(self, deployment_id: UUID, paused: bool) -> None:
        """Follow the schedules of a deployment no longer, or again.

        Raises:
            ObjectNotFound: there is no such deployment.
        """
        verb = "pause" if paused else "resume"
        await self._ask(
            "POST",
            f"/deployments/{deployment_id}/{verb}_deployment",
            about=("deployment", deployment_id),
            is_repeatable=True,
        )

    @call
    async def delete_deployment(self, deployment_id: UUID) -> None:
        """Delete a deployment with the runs of it that have not begun; all others stay.

        Raises:
            ObjectNotFound: there is no such deployment.
        """
        await self._ask("DELETE", f"/deployments/{deployment_id}", about=("deployment", deployment_id))

    @call
    async def create_deployment_schedules(
        self, deployment_id: UUID, schedules: list[tuple[Schedule, bool]]
    ) -> list[DeploymentSchedule]:
        """Give a deployment more schedules, each with whether it is followed.

        Raises:
            ObjectNotFound: there is no such deployment.
        """
        body = [DeploymentScheduleCreate(schedule=schedule, active=active) for schedule, active in schedules]
        path = f"/deployments/{deployment_id}/schedules"
        answer = await self._ask("POST", path, json=body, about=("deployment", deployment_id))
        return [DeploymentSchedule.model_validate(each) for each in answer.json()]

    @call
    async def read_deployment_schedules(self, deployment_id: UUID) -> list[DeploymentSchedule]:
        """Return the schedules of a deployment, the newest first.

        Raises:
            ObjectNotFound: there is no such deployment.
        """
        path = f"/deployments/{deployment_id}/schedules"
        return await self._list(DeploymentSchedule, path, about=("deployment", deployment_id))

    @call
    async def update_deployment_schedule(
        self,
        deployment_id: UUID,
        schedule_id: UUID,
        active: bool | None = None,
        schedule: Schedule | None = None,
    ) -> None:
        """Change what is given of a schedule; what is None stays.

        Raises:
            ObjectNotFound: there is no such deployment, or no such schedule of it.
        """
        given: dict[str, Any] = {"active": active, "schedule": schedule}
        body = DeploymentScheduleUpdate(**{field: value for field, value in given.items() if value is not None})
        path = f"/deployments/{deployment_id}/schedules/{schedule_id}"
        await self._ask("PATCH", path, json=body, about=("schedule", schedule_id))

    @call
    async def delete_deployment_schedule(self, deployment_id: UUID, schedule_id: UUID) -> None:
        """Delete a schedule of a deployment.

        Raises:
            ObjectNotFound: there is no such deployment, or no such schedule of it.
        """
        path = f"/deployments/{deployment_id}/schedules/{schedule_id}"
        await self._ask("DELETE", path, about=("schedule", schedule_id))

    @call
    async def get_scheduled_flow_runs_for_deployments(
        self, deployment_ids: list[UUID], scheduled_before: datetime | None = None, limit: int | None = None
    ) -> list[FlowRun]:
        """Return the runs of deployments to do next, the one that was due first comes first."""
        body = {"deployment_ids": deployment_ids, "scheduled_before": scheduled_before, "limit": limit}
        return await self._list(FlowRun, "/deployments/get_scheduled_flow_runs", body)
