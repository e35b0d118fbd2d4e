"""What runs leave and share: log lines, artifacts, variables."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from flowyard.client.calling import call
from flowyard.client.nouns.base import Noun, filters_of, in_path
from flowyard.exceptions import ObjectNotFound
from flowyard.schemas.api.artifacts import (
    Artifact,
    ArtifactCollection,
    ArtifactCollectionFilter,
    ArtifactCreate,
    ArtifactFilter,
)
from flowyard.schemas.api.filters import FlowRunFilter, TaskRunFilter
from flowyard.schemas.api.logs import Log, LogCreate, LogFilter
from flowyard.schemas.api.sorting import ArtifactCollectionSort, ArtifactSort, LogSort
from flowyard.schemas.api.variables import Variable, VariableCreate, VariableUpdate


class RecordCalls(Noun):
    """Log lines, artifacts and variables."""

    @call
    async def create_logs(self, logs: Iterable[LogCreate | dict[str, Any]]) -> None:
        """Store log lines."""
        await self._ask("POST", "/logs/", json=[LogCreate.model_validate(line) for line in logs])

    @call
    async def read_logs(
        self,
        log_filter: LogFilter | None = None,
        limit: int | None = None,
        offset: int | None = None,
        sort: LogSort = LogSort.TIMESTAMP_ASC,
    ) -> list[Log]:
        """Return log lines, oldest first unless `sort` says otherwise; 200 when there is no limit."""
        body = {"logs": log_filter, "limit": limit, "offset": offset, "sort": sort}
        return await self._list(Log, "/logs/filter", body)

    @call
    async def create_artifact(self, artifact: ArtifactCreate) -> Artifact:
        """Store an artifact; one with a key becomes the latest of it."""
        return await self._make(Artifact, "/artifacts/", artifact)

    @call
    async def read_artifacts(
        self,
        *,
        artifact_filter: ArtifactFilter | None = None,
        flow_run_filter: FlowRunFilter | None = None,
        task_run_filter: TaskRunFilter | None = None,
        sort: ArtifactSort | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> list[Artifact]:
        """Return artifacts, newest first unless `sort` says otherwise; 200 when there is no limit."""
        where = filters_of(flow_run_filter=flow_run_filter, task_run_filter=task_run_filter)
        body = {**where, "artifacts": artifact_filter, "sort": sort, "limit": limit, "offset": offset}
        return await self._list(Artifact, "/artifacts/filter", body)

    @call
    async def read_latest_artifacts(
        self,
        *,
        artifact_filter: ArtifactCollectionFilter | None = None,
        flow_run_filter: FlowRunFilter | None = None,
        task_run_filter: TaskRunFilter | None = None,
        sort: ArtifactCollectionSort | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> list[ArtifactCollection]:
        """Return the latest artifact of each key, newest first unless `sort` says otherwise; 200 without a limit."""
        where = filters_of(flow_run_filter=flow_run_filter, task_run_filter=task_run_filter)
        body = {**where, "artifacts": artifact_filter, "sort": sort, "limit": limit, "offset": offset}
        return await self._list(ArtifactCollection, "/artifacts/latest/filter", body)

    @call
    async def delete_artifact(self, artifact_id: UUID) -> None:
        """Delete an artifact; the version before it becomes the latest of its key.

        Raises:
            ObjectNotFound: there is no such artifact.
        """
        await self._ask("DELETE", f"/artifacts/{artifact_id}", about=("artifact", artifact_id))

    @call
    async def create_variable(self, variable: VariableCreate) -> Variable:
        """Make a variable.

        Raises:
            ObjectAlreadyExists: there is one of that name.
        """
        return await self._make(Variable, "/variables/", variable, about=("variable", variable.name))

    @call
    async def update_variable(self, variable: VariableUpdate) -> None:
        """Change what is set in an update of the variable that it names.

        Raises:
            ObjectNotFound: there is none of that name.
        """
        path = f"/variables/name/{in_path(variable.name)}"
        await self._ask("PATCH", path, json=variable, about=("variable", variable.name))

    @call
    async def read_variable_by_name(self, name: str) -> Variable | None:
        """Return the variable of a name, or None if there is none."""
        try:
            return await self._read(Variable, f"/variables/name/{in_path(name)}", about=("variable", name))
        except ObjectNotFound:
            return None

    @call
    async def read_variables(self, limit: int | None = None) -> list[Variable]:
        """Return variables in the order of their names; 200 when there is no limit."""
        return await self._list(Variable, "/variables/filter", {"limit": limit})

    @call
    async def delete_variable_by_name(self, name: str) -> None:
        """Delete the variable of a name.

        Raises:
            ObjectNotFound: there is none.
        """
        await self._ask("DELETE", f"/variables/name/{in_path(name)}", about=("variable", name))
