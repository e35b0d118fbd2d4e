# pyright: reportUnnecessaryTypeIgnoreComment=true
"""Only type-checked, never run: what is awaited on one client is there at once on the other, from one definition."""

from __future__ import annotations

from typing import Any, assert_type
from uuid import UUID

from flowyard import flow, task
from flowyard.client import FlowyardClient, SyncFlowyardClient, get_client
from flowyard.client.schemas.filters import FlowRunFilter
from flowyard.client.schemas.objects import Flow, FlowRun, TaskRun
from flowyard.client.utilities import inject_client
from flowyard.states import Completed, State


@flow
def add_up(numbers: list[int]) -> int:
    return sum(numbers)


@task(retry_delay_seconds=[1, 2])
def one() -> int:
    return 1


async def awaited(flow_run_id: UUID) -> None:
    async with get_client() as client:
        assert_type(client, FlowyardClient)
        assert_type(await client.read_flow_run(flow_run_id), FlowRun)
        runs = await client.read_flow_runs(flow_run_filter=FlowRunFilter(), limit=1)
        assert_type(runs, list[FlowRun])
        assert_type(runs[0].state, State[Any] | None)
        assert_type(await client.create_task_run(one, flow_run_id, "0"), TaskRun)
        await client.read_flow_runs(limits=1)  # pyright: ignore[reportCallIssue]  there is no such parameter


def blocking(flow_run_id: UUID) -> None:
    with get_client(sync_client=True) as client:
        assert_type(client, SyncFlowyardClient)
        assert_type(client.read_flow_run(flow_run_id).name, str)
        assert_type(client.read_flows(), list[Flow])
        assert_type(client.create_flow_run(add_up, parameters={"numbers": [1]}), FlowRun)
        client.set_flow_run_state(flow_run_id, Completed(), force=True)
        client.read_flow_run("not an id")  # pyright: ignore[reportArgumentType]


@inject_client
async def names(prefix: str, client: FlowyardClient | None = None) -> list[str]:
    assert client is not None
    return [prefix + each.name for each in await client.read_flows()]


async def injected() -> None:
    assert_type(await names("a"), list[str])
