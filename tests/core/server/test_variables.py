"""The routes of variables."""

from __future__ import annotations

from uuid import uuid4

import httpx
import pytest


def test_a_variable_is_made_read_changed_and_deleted_by_id_and_by_name(api: httpx.Client) -> None:
    made = api.post("/variables/", json={"name": "region", "value": "eu", "tags": ["x"]})
    assert made.status_code == 201
    variable = made.json()
    assert set(variable) == {"id", "created", "updated", "name", "value", "tags"}
    assert api.get(f"/variables/{variable['id']}").json() == variable
    assert api.get("/variables/name/region").json() == variable

    assert api.patch(f"/variables/{variable['id']}", json={"value": "us"}).status_code == 204
    assert api.patch("/variables/name/region", json={"name": "zone", "tags": []}).status_code == 204
    changed = api.get("/variables/name/zone").json()
    assert (changed["id"], changed["value"], changed["tags"]) == (variable["id"], "us", [])

    assert api.delete("/variables/name/zone").status_code == 204
    for path in ("/variables/name/zone", f"/variables/{variable['id']}", f"/variables/{uuid4()}"):
        assert api.get(path).status_code == 404
        assert api.delete(path).status_code == 404


def test_a_name_is_taken_once(api: httpx.Client) -> None:
    api.post("/variables/", json={"name": "a", "value": "1"})
    api.post("/variables/", json={"name": "b", "value": "1"})
    assert api.post("/variables/", json={"name": "a", "value": "2"}).status_code == 409
    assert api.patch("/variables/name/b", json={"name": "a"}).status_code == 409


@pytest.mark.parametrize("body", [{"name": "With Space", "value": "1"}, {"name": "long", "value": "x" * 5001}])
def test_what_a_variable_cannot_be_is_refused(api: httpx.Client, body: dict[str, str]) -> None:
    assert api.post("/variables/", json=body).status_code == 422


def test_a_value_of_json_is_text_for_clients_of_prefect(api: httpx.Client) -> None:
    api.post("/variables/", json={"name": "settings", "value": {"a": [1]}})
    assert api.get("/variables/name/settings").json()["value"] == {"a": [1]}
    prefect = {"User-Agent": "prefect/2.20.16 (API 0.8.4)"}
    assert api.get("/variables/name/settings", headers=prefect).json()["value"] == '{"a": [1]}'
    assert api.post("/variables/filter", json={}, headers=prefect).json()[0]["value"] == '{"a": [1]}'


def test_variables_are_filtered_sorted_and_counted(api: httpx.Client) -> None:
    for name, value, tags in [("b", "two", ["x"]), ("a", "Öne", ["x", "y"]), ("c", "three", [])]:
        api.post("/variables/", json={"name": name, "value": value, "tags": tags})

    def names(**body: object) -> list[str]:
        return [variable["name"] for variable in api.post("/variables/filter", json=body).json()]

    assert names() == ["a", "b", "c"]
    assert names(sort="NAME_DESC", limit=2, offset=1) == ["b", "a"]
    assert names(variables={"value": {"any_": ["two", "Öne"]}}) == ["a", "b"]
    assert names(variables={"value": {"like_": "E"}}) == ["a", "c"]
    assert names(variables={"operator": "or_", "name": {"any_": ["b"]}, "tags": {"is_null_": True}}) == ["b", "c"]
    assert names(variables={"tags": {"all_": ["x", "y"]}}) == ["a"]
    assert api.post("/variables/count", json={"variables": {"name": {"like_": "A"}}}).json() == 1
    assert api.post("/variables/count").json() == 3
