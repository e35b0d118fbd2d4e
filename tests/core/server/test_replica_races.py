"""Two servers on one database: of clients that race for one thing exactly one gets it, as the rules say."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from typing import Any

import httpx
import pytest

from flowyard.settings import Settings
from flowyard.testing.servers import DEADLINE, RunningServer

ROUNDS = 15


@pytest.fixture
def replicas(settings: Settings, serve: Callable[[Settings], RunningServer]) -> Iterator[list[httpx.Client]]:
    """A client of each of two servers."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(httpx.Client(base_url=f"{serve(settings).address}/api", timeout=DEADLINE, verify=False))
            for _ in range(2)
        ]


def at_once(calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """Return what calls return that begin in the same moment."""
    start = threading.Barrier(len(calls))

    def call(one: Callable[[], Any]) -> Any:
        start.wait(DEADLINE)
        return one()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(call, calls))


def propose(api: httpx.Client, noun: str, run_id: str, kind: str) -> dict[str, Any]:
    answer = api.post(f"/{noun}/{run_id}/set_state", json={"state": {"type": kind}})
    assert answer.status_code in (200, 201), answer.text
    return answer.json()


def flow_run_in(api: httpx.Client, kind: str) -> str:
    flow_id = api.post("/flows/", json={"name": "etl"}).json()["id"]
    return api.post("/flow_runs/", json={"flow_id": flow_id, "state": {"type": kind}}).json()["id"]


def states_of(api: httpx.Client, run_id: str) -> list[str]:
    return [state["type"] for state in api.get("/flow_run_states/", params={"flow_run_id": run_id}).json()]


def test_of_four_workers_that_want_a_run_one_gets_it(replicas: list[httpx.Client]) -> None:
    for _ in range(ROUNDS):
        run_id = flow_run_in(replicas[0], "SCHEDULED")
        answers = at_once([partial(propose, api, "flow_runs", run_id, "PENDING") for api in replicas * 2])
        assert sorted(answer["status"] for answer in answers) == ["ABORT", "ABORT", "ABORT", "ACCEPT"]
        assert states_of(replicas[1], run_id) == ["SCHEDULED", "PENDING"]


def test_a_run_that_completes_while_it_is_called_crashed_has_completed(replicas: list[httpx.Client]) -> None:
    for number in range(ROUNDS):
        run_id = flow_run_in(replicas[0], "RUNNING")
        kinds = ["COMPLETED", "CRASHED"]
        proposals = [
            partial(propose, replicas[(number + place) % 2], "flow_runs", run_id, kind)
            for place, kind in enumerate(kinds)
        ]
        completed, crashed = at_once(proposals)
        assert completed["status"] == "ACCEPT"
        before = {"ACCEPT": ["CRASHED"], "ABORT": []}[crashed["status"]]
        assert states_of(replicas[0], run_id) == ["RUNNING", *before, "COMPLETED"]


def test_of_task_runs_that_want_the_only_slot_one_gets_it(replicas: list[httpx.Client]) -> None:
    replicas[0].post("/concurrency_limits/", json={"tag": "db", "concurrency_limit": 1})
    flow_run_id = flow_run_in(replicas[0], "RUNNING")
    for number in range(ROUNDS):
        body = {"flow_run_id": flow_run_id, "task_key": "load", "tags": ["db"]}
        runs = [
            replicas[0].post("/task_runs/", json={**body, "dynamic_key": f"{number}-{one}"}).json()["id"]
            for one in range(4)
        ]
        answers = at_once(
            [partial(propose, replicas[place % 2], "task_runs", run_id, "RUNNING") for place, run_id in enumerate(runs)]
        )
        assert sorted(answer["status"] for answer in answers) == ["ACCEPT", "WAIT", "WAIT", "WAIT"]
        [holder] = [run_id for run_id, answer in zip(runs, answers, strict=True) if answer["status"] == "ACCEPT"]
        assert replicas[1].get("/concurrency_limits/tag/db").json()["active_slots"] == [holder]
        assert propose(replicas[1], "task_runs", holder, "COMPLETED")["status"] == "ACCEPT"


def test_a_run_is_handed_out_until_a_worker_has_it(replicas: list[httpx.Client]) -> None:
    api = replicas[0]
    api.post("/work_pools/", json={"name": "pool", "type": "process"})
    flow_id = api.post("/flows/", json={"name": "etl"}).json()["id"]
    deployment = api.post("/deployments/", json={"name": "d", "flow_id": flow_id, "work_pool_name": "pool"}).json()

    def handed_out(client: httpx.Client, worker: str) -> list[str]:
        client.post("/work_pools/pool/workers/heartbeat", json={"name": worker})
        body = {"scheduled_before": datetime.now(UTC).isoformat()}
        answer = client.post("/work_pools/pool/get_scheduled_flow_runs", json=body)
        assert answer.status_code == 200, answer.text
        return [entry["flow_run"]["id"] for entry in answer.json()]

    def work(client: httpx.Client, worker: str) -> list[str]:
        return [
            run_id
            for run_id in handed_out(client, worker)
            if propose(client, "flow_runs", run_id, "PENDING")["status"] == "ACCEPT"
        ]

    for _ in range(ROUNDS // 3):
        made = {api.post(f"/deployments/{deployment['id']}/create_flow_run", json={}).json()["id"] for _ in range(3)}
        assert set(handed_out(replicas[0], "looks")) == set(handed_out(replicas[1], "looks")) == made
        workers = [partial(work, client, f"w{place}") for place, client in enumerate(replicas * 2)]
        taken = [run_id for runs in at_once(workers) for run_id in runs]
        assert sorted(taken) == sorted(made), "each run has one worker"
        assert handed_out(replicas[0], "looks") == handed_out(replicas[1], "looks") == []
        for run_id in made:
            propose(api, "flow_runs", run_id, "COMPLETED")
