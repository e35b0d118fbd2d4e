"""What all nouns share: a request, and its answer as models or as an error that says what was asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, TypeVar, cast
from urllib.parse import quote
from uuid import UUID

import httpx
from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from flowyard.client.base import FlowyardHTTPStatusError
from flowyard.exceptions import ObjectAlreadyExists, ObjectNotFound
from flowyard.schemas.api.deployments import DeploymentFilter
from flowyard.schemas.api.filters import FlowFilter, FlowRunFilter, TaskRunFilter
from flowyard.schemas.api.work_pools import WorkPoolFilter, WorkQueueFilter

M = TypeVar("M", bound=BaseModel)
About = tuple[str, object]
"""What a request is about, for the error: a kind of object, and its id or name."""


class Noun(ABC):
    """Sends requests. Paths begin with `/`, after the address of the API."""

    @abstractmethod
    async def _send(
        self, method: str, path: str, *, json: object, params: Mapping[str, Any] | None, is_repeatable: bool
    ) -> httpx.Response:
        """Return the answer to a request.

        Raises:
            FlowyardHTTPStatusError: it is an error.
            ServerAway: there is none.
        """

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        json: object = None,
        params: Mapping[str, Any] | None = None,
        about: About | None = None,
        is_repeatable: bool = False,
    ) -> httpx.Response:
        try:
            return await self._send(method, path, json=_plain(json), params=_given(params), is_repeatable=is_repeatable)
        except FlowyardHTTPStatusError as error:
            if about is not None and error.response.status_code == HTTPStatus.NOT_FOUND:
                raise ObjectNotFound(*about) from error
            if about is not None and error.response.status_code == HTTPStatus.CONFLICT:
                raise ObjectAlreadyExists(*about) from error
            raise

    async def _read(self, kind: type[M], path: str, *, about: About, params: Mapping[str, Any] | None = None) -> M:
        return kind.model_validate((await self._ask("GET", path, params=params, about=about)).json())

    async def _make(
        self, kind: type[M], path: str, json: object, *, about: About | None = None, is_repeatable: bool = False
    ) -> M:
        answer = await self._ask("POST", path, json=json, about=about, is_repeatable=is_repeatable)
        return kind.model_validate(answer.json())

    async def _list(
        self, kind: type[M], path: str, json: Mapping[str, Any] | None = None, *, about: About | None = None
    ) -> list[M]:
        method = "GET" if json is None else "POST"
        answer = await self._ask(method, path, json=json and _given(json), about=about, is_repeatable=True)
        return [kind.model_validate(each) for each in answer.json()]


def filters_of(
    *,
    flow_filter: FlowFilter | None = None,
    flow_run_filter: FlowRunFilter | None = None,
    task_run_filter: TaskRunFilter | None = None,
    deployment_filter: DeploymentFilter | None = None,
    work_pool_filter: WorkPoolFilter | None = None,
    work_queue_filter: WorkQueueFilter | None = None,
) -> dict[str, Any]:
    """Return filters of several nouns under the names that lists of the REST API have for them."""
    return {
        "flows": flow_filter,
        "flow_runs": flow_run_filter,
        "task_runs": task_run_filter,
        "deployments": deployment_filter,
        "work_pools": work_pool_filter,
        "work_pool_queues": work_queue_filter,
    }


def made_id(answer: httpx.Response) -> UUID:
    """Return the id of the object in an answer."""
    return UUID(answer.json()["id"])


def in_path(name: object) -> str:
    """Return a name as one part of a path, whatever is in it."""
    return quote(f"{name}", safe="")


def jsonable(values: Any) -> Any:
    """Return values as JSON has them: models, times, ids and so on as what they look like there."""
    return to_jsonable_python(values, timedelta_mode="float", inf_nan_mode="strings")


def _given(values: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if values is None:
        return None
    return {name: value for name, value in values.items() if value is not None}


def _plain(value: object) -> Any:
    if isinstance(value, BaseModel):
        # What was not set is not changed, and has the server's default.
        return value.model_dump(mode="json", exclude_unset=True)
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in cast("Mapping[str, object]", value).items()}
    if isinstance(value, list):
        return [_plain(each) for each in cast("list[object]", value)]
    return jsonable(value)
