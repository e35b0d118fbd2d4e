"""The routes of events."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def _event(name: str, resource: str = "thing.a", *, minutes: float = 0, **more: Any) -> dict[str, Any]:
    return {
        "id": str(uuid4()),
        "occurred": (NOON + timedelta(minutes=minutes)).isoformat(),
        "event": name,
        "resource": {"prefect.resource.id": resource, **more.pop("labels", {})},
        **more,
    }


def _names(api: httpx.Client, **filter: Any) -> list[str]:
    return [each["event"] for each in api.post("/events/filter", json={"filter": filter}).json()["events"]]


def test_events_are_stored_once_and_listed_newest_first(api: httpx.Client) -> None:
    related = [{"prefect.resource.id": "flow.x", "prefect.resource.role": "flow"}]
    first = _event("started", payload={"n": 1}, related=related)
    second = _event("ended", minutes=1, follows=first["id"])
    assert api.post("/events", json=[first, second]).status_code == 204
    assert api.post("/events", json=[{**first, "event": "again"}]).status_code == 204
    page = api.post("/events/filter").json()
    assert (page["total"], page["next_page"]) == (2, None)
    assert [each["event"] for each in page["events"]] == ["ended", "started"]
    assert {**page["events"][1], "received": None} == {**first, "follows": None, "received": None}


@pytest.mark.parametrize(
    "wrong",
    [
        {"resource": {"name": "no id"}},
        {"related": [{"prefect.resource.id": "no role"}]},
        {"resource": {"prefect.resource.id": "x", **{str(number): "" for number in range(500)}}},
        {"payload": {"large": "x" * 1_500_000}},
    ],
    ids=["no-id", "no-role", "too-many-labels", "too-large"],
)
def test_an_event_that_cannot_be_is_refused_with_its_batch(api: httpx.Client, wrong: dict[str, Any]) -> None:
    batch = [_event("fine"), {**_event("wrong"), **wrong}]
    assert api.post("/events", json=batch).status_code == 422
    assert _names(api) == []


def test_pages_follow_each_other_without_gap_or_repetition(api: httpx.Client) -> None:
    api.post("/events", json=[_event(f"e{number}", minutes=number // 2) for number in range(5)])
    seen: list[str] = []
    page = api.post("/events/filter", json={"limit": 2, "filter": {"order": "ASC"}}).json()
    while True:
        seen += [each["event"] for each in page["events"]]
        assert page["total"] == 5
        if page["next_page"] is None:
            break
        # What comes in meanwhile does not move the pages.
        api.post("/events", json=[_event("late", minutes=-1)])
        page = httpx.get(page["next_page"], timeout=20.0).json()
    assert sorted(seen) == ["e0", "e1", "e2", "e3", "e4"]
    assert api.get("/events/filter/next", params={"page-token": "nonsense"}).status_code == 403


def test_events_are_filtered(api: httpx.Client) -> None:
    def role(resource: str, role: str, **labels: str) -> dict[str, str]:
        return {"prefect.resource.id": resource, "prefect.resource.role": role, **labels}

    api.post(
        "/events",
        json=[
            _event("run.started", "run.1", labels={"tier": "gold", "zone": "eu-1"}, related=[role("flow.x", "flow")]),
            _event("run.failed", "run.1", minutes=1, related=[role("flow.y", "flow"), role("tag.z", "tag", team="a")]),
            _event("pool.ready", "pool.1", minutes=2, labels={"tier": "silver"}, related=[role("flow.x", "creator")]),
        ],
    )
    assert _names(api, event={"prefix": ["run."]}, order="ASC") == ["run.started", "run.failed"]
    assert _names(api, event={"exclude_prefix": ["run."]}) == ["pool.ready"]
    assert _names(api, event={"name": ["run.failed", "none"], "exclude_name": ["pool.ready"]}) == ["run.failed"]
    assert _names(api, resource={"id": ["run.1"]}) == ["run.failed", "run.started"]
    assert _names(api, resource={"id": ["run.1"], "distinct": True}) == ["run.failed"]
    assert _names(api, resource={"id_prefix": ["pool."]}) == ["pool.ready"]
    assert _names(api, resource={"labels": {"tier": ["gold", "silver"], "zone": "eu*"}}) == ["run.started"]
    assert _names(api, resource={"labels": {"tier": "!gold"}}) == ["pool.ready"]
    assert _names(api, any_resource={"id": ["flow.x"]}) == ["pool.ready", "run.started"]
    assert _names(api, any_resource={"labels": {"team": "a"}}) == ["run.failed"]
    assert _names(api, related={"id": ["flow.x"], "role": ["flow"]}) == ["run.started"]
    assert _names(api, related={"resources_in_roles": [["flow.y", "flow"], ["tag.z", "tag"]]}) == ["run.failed"]
    until = (NOON + timedelta(minutes=1)).isoformat()
    assert _names(api, occurred={"since": NOON.isoformat(), "until": until}) == ["run.failed", "run.started"]
    assert _names(api, id={"id": [str(uuid4())]}) == []


def test_events_are_counted_by_what_they_are_and_when(api: httpx.Client) -> None:
    labels = {"prefect.resource.name": "A"}
    batch = [_event("x", labels=labels), _event("x", minutes=90), _event("y", "thing.b", minutes=26 * 60)]
    api.post("/events", json=batch)

    def counts(countable: str, **more: object) -> list[tuple[str, int]]:
        answer = api.post(f"/events/count-by/{countable}", json={"filter": {}, **more})
        return [(each["label"], each["count"]) for each in answer.json()]

    assert counts("event") == [("x", 2), ("y", 1)]
    assert dict(counts("resource")) == {"thing.a": 2, "thing.b": 1}
    assert counts("day") == [("2026-03-01T00:00:00+00:00", 2), ("2026-03-02T00:00:00+00:00", 1)]
    by_time = counts("time", time_unit="hour", time_interval=1)
    assert [count for _, count in by_time] == [1, 1, *[0] * 24, 1]
    spans = api.post("/events/count-by/time", json={"filter": {}, "time_unit": "second"})
    assert spans.status_code == 422
    assert "time_interval" in spans.json()["detail"]
