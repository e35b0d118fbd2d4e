"""The routes of concurrency limits: of tags, and global."""

from __future__ import annotations

from uuid import uuid4

import httpx
import pytest


def test_the_limit_of_a_tag_is_made_changed_and_deleted(api: httpx.Client) -> None:
    made = api.post("/concurrency_limits/", json={"tag": "db/heavy", "concurrency_limit": 2}).json()
    assert (made["tag"], made["concurrency_limit"], made["active_slots"]) == ("db/heavy", 2, [])
    changed = api.post("/concurrency_limits/", json={"tag": "db/heavy", "concurrency_limit": 0}).json()
    assert (changed["id"], changed["concurrency_limit"]) == (made["id"], 0)
    assert api.get(f"/concurrency_limits/{made['id']}").json()["concurrency_limit"] == 0
    assert api.get("/concurrency_limits/tag/db/heavy").json()["id"] == made["id"]
    assert [each["tag"] for each in api.post("/concurrency_limits/filter", json={}).json()] == ["db/heavy"]
    assert api.delete("/concurrency_limits/tag/db/heavy").status_code == 200
    assert api.delete(f"/concurrency_limits/{made['id']}").status_code == 404
    assert api.get("/concurrency_limits/tag/db/heavy").status_code == 404


def test_the_holders_of_a_tag_are_said_anew(api: httpx.Client) -> None:
    api.post("/concurrency_limits/", json={"tag": "db", "concurrency_limit": 2})
    first, second = str(uuid4()), str(uuid4())
    answer = api.post("/concurrency_limits/tag/db/reset", json={"slot_override": [first, second]})
    assert (answer.status_code, answer.json()) == (200, None)
    assert set(api.get("/concurrency_limits/tag/db").json()["active_slots"]) == {first, second}
    api.post("/concurrency_limits/tag/db/reset", json={"slot_override": [second]})
    assert api.get("/concurrency_limits/tag/db").json()["active_slots"] == [second]
    api.post("/concurrency_limits/tag/db/reset")
    assert api.get("/concurrency_limits/tag/db").json()["active_slots"] == []


def test_a_global_limit_is_made_changed_and_deleted(api: httpx.Client) -> None:
    made = api.post("/v2/concurrency_limits/", json={"name": "db", "limit": 3, "active_slots": 2})
    assert made.status_code == 201
    assert made.json()["active_slots"] == 2
    assert api.post("/v2/concurrency_limits/", json={"name": "db", "limit": 3}).status_code == 409
    assert api.post("/v2/concurrency_limits/", json={"name": "a/b", "limit": 3}).status_code == 422
    api.post("/concurrency_limits/", json={"tag": "of-a-tag", "concurrency_limit": 1})
    assert [each["name"] for each in api.post("/v2/concurrency_limits/filter", json={}).json()] == ["db"]

    assert api.patch("/v2/concurrency_limits/db", json={"limit": 5, "active_slots": 1}).status_code == 204
    found = api.get(f"/v2/concurrency_limits/{made.json()['id']}").json()
    assert (found["limit"], found["active_slots"], found["slot_decay_per_second"]) == (5, 1, 0)
    api.post("/v2/concurrency_limits/", json={"name": "other", "limit": 1})
    assert api.patch("/v2/concurrency_limits/db", json={"name": "other"}).status_code == 409
    assert api.delete("/v2/concurrency_limits/db").status_code == 204
    assert api.delete("/v2/concurrency_limits/db").status_code == 404


def test_slots_are_taken_all_or_none_and_given_back(api: httpx.Client) -> None:
    for name, limit in [("a", 3), ("b", 1)]:
        api.post("/v2/concurrency_limits/", json={"name": name, "limit": limit})

    def taken() -> list[int]:
        return [each["active_slots"] for each in api.post("/v2/concurrency_limits/filter", json={}).json()]

    def change(how: str, *names: str, slots: int = 1, **more: object) -> httpx.Response:
        return api.post(f"/v2/concurrency_limits/{how}", json={"names": names, "slots": slots, **more})

    assert [each["name"] for each in change("increment", "a", "b").json()] == ["a", "b"]
    assert taken() == [1, 1]
    refused = change("increment", "a", "b")
    assert (refused.status_code, refused.json()) == (423, {"detail": "Locked"})
    assert float(refused.headers["Retry-After"]) > 0
    assert taken() == [1, 1]
    assert change("increment", "a", slots=2).status_code == 200
    # A refused request leaves nothing behind that would stand in the way.
    assert change("decrement", "a", "b", occupancy_seconds=0.5).status_code == 200
    assert taken() == [2, 0]
    assert change("increment", "b").status_code == 200
    change("decrement", "a", slots=100)
    assert taken() == [0, 1]


def test_a_limit_that_is_not_known_lets_everybody_pass(api: httpx.Client) -> None:
    for _ in range(2):
        assert api.post("/v2/concurrency_limits/increment", json={"names": ["new"], "slots": 5}).status_code == 200
    assert api.get("/v2/concurrency_limits/new").json()["active"] is False


@pytest.mark.parametrize(
    "request_body",
    [{"slots": 2, "names": ["a"]}, {"slots": 1, "names": ["a"], "mode": "rate_limit"}, {"slots": 0, "names": ["a"]}],
)
def test_what_can_never_be_granted_is_refused(api: httpx.Client, request_body: dict[str, object]) -> None:
    api.post("/v2/concurrency_limits/", json={"name": "a", "limit": 1})
    assert api.post("/v2/concurrency_limits/increment", json=request_body).status_code == 422


def test_slots_that_decay_are_taken_at_a_rate(api: httpx.Client) -> None:
    api.post("/v2/concurrency_limits/", json={"name": "rate", "limit": 1, "slot_decay_per_second": 0.001})
    body = {"slots": 1, "names": ["rate"], "mode": "rate_limit"}
    assert api.post("/v2/concurrency_limits/increment", json=body).status_code == 200
    refused = api.post("/v2/concurrency_limits/increment", json=body)
    assert refused.status_code == 423
    assert 900 < float(refused.headers["Retry-After"]) <= 1000
