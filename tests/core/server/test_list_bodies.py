"""Lists of runs, which are written from the columns, say what is said of each run by itself."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

NAMES = ("Größe", 'quote " and \\', "line\nbreak", "tab\t", "\x7f", "🦦")
VALUE = {"ü": [1, 2.5, 1e300, -0.0, None, True, {"deep": ["\x00", "x"]}], "n": 2**70}
DETAILS = {
    "pause_key": "k",
    "pause_timeout": "2026-01-01T00:00:00.5+02:00",
    "run_input_keyset": {"keys": "a"},
    "retriable": False,
    "untrackable_result": True,
}
RUN = "01A205D1-0832-768E-86D7-B60A17E9426D"
STILL_GOING = {"estimated_run_time", "estimated_start_time_delta"}


def made(api: httpx.Client, path: str, **body: Any) -> Any:
    answer = api.post(path, json=body)
    assert answer.is_success, answer.text
    return answer.json()


def states() -> list[dict[str, Any] | None]:
    return [
        None,
        {"type": "SCHEDULED", "state_details": {"scheduled_time": "2026-01-01T00:00:00+00:00"}},
        {"type": "SCHEDULED", "state_details": {"scheduled_time": "2999-01-01T00:00:00.000001+00:00"}},
        {"type": "RUNNING", "name": NAMES[0], "message": NAMES[1]},
        {"type": "PAUSED", "state_details": DETAILS},
        {"type": "COMPLETED", "data": VALUE, "message": NAMES[2]},
        {
            "type": "FAILED",
            "data": "text",
            "state_details": {"cache_key": NAMES[1], "retriable": True, "child_flow_run_id": RUN},
        },
    ]


def assert_list_says_what_reads_say(api: httpx.Client, noun: str) -> None:
    listed = made(api, f"/{noun}/filter")
    assert len(listed) >= len(states())
    for run in listed:
        alone = api.get(f"/{noun}/{run['id']}").json()
        if run["state_type"] not in ("COMPLETED", "FAILED"):
            for name in STILL_GOING:
                assert run.pop(name) == pytest.approx(alone.pop(name), abs=60)
        assert run == alone


def assert_points_say_what_lists_say(api: httpx.Client) -> None:
    points = {point["id"]: point for point in made(api, "/ui/flow_runs/history")}
    runs = [run for run in made(api, "/flow_runs/filter") if run["state_type"]]
    assert points.keys() == {run["id"] for run in runs}
    for run in runs:
        point = points[run["id"]]
        assert point["state_type"] == run["state_type"]
        assert point["timestamp"] == (run["start_time"] or run["expected_start_time"])
        assert point["duration"] == pytest.approx(run["estimated_run_time"], abs=60)
        assert point["lateness"] == pytest.approx(run["estimated_start_time_delta"], abs=60)


def test_flow_runs(api: httpx.Client) -> None:
    flow = made(api, "/flows/", name="flow")["id"]
    caller = made(api, "/flow_runs/", flow_id=flow)["id"]
    parent = made(api, "/task_runs/", flow_run_id=caller, task_key="t", dynamic_key="0")["id"]
    more = [
        {},
        {"parameters": VALUE, "context": {"a": NAMES[0]}, "tags": list(NAMES), "idempotency_key": NAMES[1]},
        {"empirical_policy": {"retries": 3, "retry_delay": 1.5, "pause_keys": ["a"], "retry_type": "reschedule"}},
        {"parent_task_run_id": parent, "flow_version": NAMES[5], "name": NAMES[3]},
    ]
    for number, state in enumerate(states()):
        made(api, "/flow_runs/", flow_id=flow, state=state, **more[number % len(more)])
    made(api, "/work_pools/", name=NAMES[1].replace("\\", "!"), type="process")
    deployment = made(
        api,
        "/deployments/",
        flow_id=flow,
        name="d",
        version=NAMES[4],
        work_pool_name=NAMES[1].replace("\\", "!"),
        job_variables={"env": NAMES[0]},
    )
    made(api, f"/deployments/{deployment['id']}/create_flow_run", job_variables=VALUE)
    assert_list_says_what_reads_say(api, "flow_runs")
    assert_points_say_what_lists_say(api)


def test_task_runs(api: httpx.Client) -> None:
    flow = made(api, "/flows/", name="flow")["id"]
    run = made(api, "/flow_runs/", flow_id=flow)["id"]
    more = [
        {},
        {"tags": list(NAMES), "task_version": NAMES[1], "cache_key": NAMES[2], "name": NAMES[0]},
        {"empirical_policy": {"retries": 3, "retry_delay": [1, 2.5], "retry_jitter_factor": 0.5}},
        {"cache_expiration": "2026-01-01T00:00:00Z", "flow_run_id": run},
    ]
    before = None
    for number, state in enumerate(states()):
        inputs = [{"input_type": "constant", "type": NAMES[1]}, {"input_type": "parameter", "name": NAMES[0]}]
        inputs += [{"input_type": "task_run", "id": before}] if before else []
        before = made(
            api,
            "/task_runs/",
            **{"flow_run_id": run, **more[number % len(more)]},
            task_key="t",
            dynamic_key=f"{number}",
            task_inputs={NAMES[number % len(NAMES)]: inputs, "none": []},
            state=state,
        )["id"]
    assert_list_says_what_reads_say(api, "task_runs")
