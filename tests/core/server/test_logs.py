"""The routes of log lines."""

from __future__ import annotations

from uuid import uuid4

import httpx


def test_lines_are_stored_filtered_and_read_from_both_ends(api: httpx.Client) -> None:
    flow_id = api.post("/flows/", json={"name": "etl"}).json()["id"]
    run = api.post("/flow_runs/", json={"flow_id": flow_id}).json()["id"]
    task = api.post("/task_runs/", json={"flow_run_id": run, "task_key": "t", "dynamic_key": "0"}).json()["id"]
    lines = [
        {
            "name": "flowyard",
            "level": 10 * number,
            "message": f"line {number}\x00",
            "timestamp": f"2026-01-01T00:00:0{number}+00:00",
            "flow_run_id": run if number < 4 else None,
            "task_run_id": task if number == 2 else None,
        }
        for number in (3, 1, 2, 4)
    ]
    stored = api.post("/logs/", json=lines)
    assert (stored.status_code, stored.json()) == (201, None)

    def levels(**body: object) -> list[int]:
        answer = api.post("/logs/filter", json=body)
        assert answer.status_code == 200, answer.text
        return [line["level"] for line in answer.json()]

    of_run = {"flow_run_id": {"any_": [run]}}
    assert levels() == [10, 20, 30, 40]
    assert levels(logs=of_run, sort="TIMESTAMP_DESC", limit=2) == [30, 20]
    assert levels(logs={**of_run, "level": {"ge_": 20, "le_": 20}}) == [20]
    assert levels(logs={"task_run_id": {"any_": [task]}}) == [20]
    assert levels(logs={"operator": "or_", "level": {"le_": 10}, "task_run_id": {"any_": [task]}}) == [10, 20]
    assert levels(logs={"timestamp": {"after_": "2026-01-01T00:00:03Z"}}) == [30, 40]
    first = api.post("/logs/filter", json={"logs": of_run, "limit": 1}).json()[0]
    assert (first["message"], first["timestamp"]) == ("line 1\ufffd", "2026-01-01T00:00:01+00:00")
    assert levels(logs=of_run, after=first["id"]) == [20, 30]
    assert levels(logs=of_run, sort="TIMESTAMP_DESC", after=first["id"]) == []
    assert levels(logs={"flow_run_id": {"any_": [str(uuid4())]}}) == []
    assert api.post("/logs/", json=[{"name": "x"}]).status_code == 422
    assert api.post("/logs/", json=[]).status_code == 201
