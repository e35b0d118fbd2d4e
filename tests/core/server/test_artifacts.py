"""The routes of artifacts."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import httpx


def _make(api: httpx.Client, **fields: Any) -> dict[str, Any]:
    answer = api.post("/artifacts/", json=fields)
    assert answer.status_code == 201
    return answer.json()


def test_an_artifact_is_made_read_changed_and_deleted(api: httpx.Client) -> None:
    made = _make(api, key="report", type="markdown", data="# A", metadata_={"rows": "1"})
    assert api.get(f"/artifacts/{made['id']}").json() == made
    assert api.patch(f"/artifacts/{made['id']}", json={"data": "# B", "metadata_": {"rows": "2"}}).status_code == 204
    changed = api.get(f"/artifacts/{made['id']}").json()
    assert (changed["data"], changed["metadata_"], changed["type"]) == ("# B", {"rows": "2"}, "markdown")
    assert api.delete(f"/artifacts/{made['id']}").status_code == 204
    assert api.get(f"/artifacts/{made['id']}").status_code == 404
    assert api.delete(f"/artifacts/{made['id']}").status_code == 404
    assert api.patch(f"/artifacts/{made['id']}", json={"data": 1}).status_code == 404


def test_a_key_that_cannot_be_is_refused(api: httpx.Client) -> None:
    assert api.post("/artifacts/", json={"key": "Not A Key"}).status_code == 422


def test_the_latest_version_of_a_key_is_known(api: httpx.Client) -> None:
    first = _make(api, key="report", data=1)
    second = _make(api, key="report", data=2)
    _make(api, key="other", data=3)
    _make(api, data=4)

    latest = api.get("/artifacts/report/latest").json()
    assert (latest["key"], latest["data"]) == ("report", 2)
    found = api.post("/artifacts/latest/filter", json={"sort": "KEY_ASC"}).json()
    assert [(each["key"], each["data"]) for each in found] == [("other", 3), ("report", 2)]
    assert found[1]["latest_id"] == second["id"]
    assert found[1]["id"] == latest["id"]
    assert api.post("/artifacts/latest/count", json={"artifacts": {"key": {"like_": "REP"}}}).json() == 1

    api.delete(f"/artifacts/{second['id']}")
    assert api.get("/artifacts/report/latest").json()["data"] == first["data"]
    assert api.get("/artifacts/nothing/latest").status_code == 404


def test_artifacts_are_filtered_by_themselves_and_by_their_runs(api: httpx.Client) -> None:
    run = str(uuid4())
    a = _make(api, key="a", type="markdown", flow_run_id=run)["id"]
    b = _make(api, key="b", type="table", task_run_id=str(uuid4()))["id"]
    c = _make(api, type="result")["id"]

    def ids(**body: object) -> list[str]:
        return [each["id"] for each in api.post("/artifacts/filter", json=body).json()]

    assert ids() == [c, b, a]
    assert ids(sort="KEY_ASC", artifacts={"key": {"exists_": True}}) == [a, b]
    assert ids(artifacts={"type": {"not_any_": ["result"]}}, limit=1) == [b]
    assert ids(artifacts={"operator": "or_", "flow_run_id": {"any_": [run]}, "type": {"any_": ["result"]}}) == [c, a]
    assert ids(flow_runs={"id": {"any_": [run]}}) == []  # there is no such run
    assert api.post("/artifacts/count", json={"artifacts": {"key": {"exists_": False}}}).json() == 1
