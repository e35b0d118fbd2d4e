"""The routes of block types, schemas and documents."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import httpx

FIELDS = {
    "title": "Database",
    "type": "object",
    "properties": {"url": {"type": "string"}, "password": {"type": "string"}},
    "block_type_slug": "database",
    "secret_fields": ["password"],
    "block_schema_references": {},
}


def _type(api: httpx.Client, slug: str = "database") -> dict[str, Any]:
    answer = api.post("/block_types/", json={"name": slug.title(), "slug": slug})
    assert answer.status_code == 201
    return answer.json()


def _schema(api: httpx.Client, kind: dict[str, Any], **more: Any) -> dict[str, Any]:
    body = {"fields": {**FIELDS, "block_type_slug": kind["slug"]}, "block_type_id": kind["id"], **more}
    answer = api.post("/block_schemas/", json=body)
    assert answer.status_code == 201
    return answer.json()


def _document(api: httpx.Client, schema: dict[str, Any], name: str, **data: Any) -> dict[str, Any]:
    body = {"name": name, "data": data, "block_schema_id": schema["id"], "block_type_id": schema["block_type_id"]}
    answer = api.post("/block_documents/", json=body)
    assert answer.status_code == 201
    return answer.json()


def test_a_block_type_is_made_read_changed_and_deleted(api: httpx.Client) -> None:
    kind = _type(api)
    assert api.post("/block_types/", json={"name": "Again", "slug": "database"}).status_code == 409
    assert api.post("/block_types/", json={"name": "Prefect Thing", "slug": "thing"}).status_code == 403
    assert api.post("/block_types/", json={"name": "Thing", "slug": "Some Thing"}).status_code == 422
    assert api.post("/block_types/", json={"name": "a/b", "slug": "thing"}).status_code == 422
    assert api.patch(f"/block_types/{kind['id']}", json={"description": "Rows."}).status_code == 204
    assert api.get("/block_types/slug/database").json()["description"] == "Rows."
    _document(api, _schema(api, kind), "one", url="x")
    assert api.delete(f"/block_types/{kind['id']}").status_code == 204
    assert api.get(f"/block_types/{kind['id']}").status_code == 404
    assert api.post("/block_documents/count").json() == 0


def test_built_in_block_types_are_installed_and_protected(api: httpx.Client) -> None:
    assert api.post("/block_types/install_system_block_types").status_code == 200
    kind = api.get("/block_types/slug/secret").json()
    assert kind["is_protected"] is True
    refused = api.delete(f"/block_types/{kind['id']}")
    assert (refused.status_code, "secret" in refused.json()["detail"]) == (403, True)
    schemas = api.post("/block_schemas/filter", json={"block_schemas": {"block_type_id": {"any_": [kind["id"]]}}})
    assert api.delete(f"/block_schemas/{schemas.json()[0]['id']}").status_code == 403
    writing = {"block_schemas": {"block_capabilities": {"all_": ["write-path"]}}}
    assert "local-file-system" in {each["slug"] for each in api.post("/block_types/filter", json=writing).json()}
    assert "write-path" in api.get("/block_capabilities/").json()


def test_a_schema_is_known_by_its_checksum(api: httpx.Client) -> None:
    kind = _type(api)
    schema = _schema(api, kind, capabilities=["query"], version="1.2")
    # Which fields are secret does not count.
    same = {"fields": {**FIELDS, "secret_fields": []}, "block_type_id": kind["id"], "version": "1.2"}
    again = api.post("/block_schemas/", json=same)
    assert (again.status_code, again.json()["id"]) == (200, schema["id"])
    counted = {key: value for key, value in FIELDS.items() if key != "secret_fields"}
    expected = hashlib.sha256(json.dumps([[counted], {}], sort_keys=True).encode()).hexdigest()
    assert schema["checksum"] == f"sha256:{expected}"
    assert schema["block_type"]["slug"] == "database"
    assert api.get(f"/block_schemas/{schema['id']}").json() == schema
    by_checksum = f"/block_schemas/checksum/{schema['checksum']}"
    assert api.get(by_checksum).json()["id"] == schema["id"]
    assert api.get(by_checksum, params={"version": "1.2"}).json()["id"] == schema["id"]
    assert api.get(by_checksum, params={"version": "9"}).status_code == 404
    assert api.delete(f"/block_schemas/{schema['id']}").status_code == 204
    assert api.get(f"/block_schemas/{schema['id']}").status_code == 404


def test_secrets_are_shown_to_those_who_ask(api: httpx.Client) -> None:
    made = _document(api, _schema(api, _type(api)), "main", url="db", password="s3cret")
    assert made["data"] == {"url": "db", "password": "********"}
    path = f"/block_documents/{made['id']}"
    assert api.get(path).json() == made
    assert api.get(path, params={"include_secrets": True}).json()["data"]["password"] == "s3cret"
    named = "/block_types/slug/database/block_documents"
    assert api.get(f"{named}/name/main", params={"include_secrets": True}).json()["data"]["password"] == "s3cret"
    assert api.get(f"{named}/name/other").status_code == 404
    assert api.get(named).json() == [made]
    found = api.post("/block_documents/filter", json={"include_secrets": True}).json()
    assert found[0]["data"]["password"] == "s3cret"


def test_a_change_keeps_what_it_does_not_name_and_secrets_in_asterisks(api: httpx.Client) -> None:
    schema = _schema(api, _type(api))
    path = f"/block_documents/{_document(api, schema, 'main', url='db', password='s3cret')['id']}"

    def data() -> object:
        return api.get(path, params={"include_secrets": True}).json()["data"]

    assert api.patch(path, json={"data": {"url": "new", "password": "********"}}).status_code == 204
    assert data() == {"url": "new", "password": "s3cret"}
    assert api.patch(path, json={"data": {"url": "only"}, "merge_existing_data": False}).status_code == 204
    assert data() == {"url": "only"}
    foreign = _schema(api, _type(api, "other"))
    assert api.patch(path, json={"block_schema_id": foreign["id"], "data": {}}).status_code == 400
    assert api.delete(path).status_code == 204
    assert api.patch(path, json={"data": {}}).status_code == 404


def test_documents_that_others_refer_to_are_part_of_them(api: httpx.Client) -> None:
    schema = _schema(api, _type(api))
    inner = _document(api, schema, "inner", password="hidden")
    reference = {"$ref": {"block_document_id": inner["id"]}}
    outer = _document(api, schema, "outer", url=reference, others=[reference])
    found = api.get(f"/block_documents/{outer['id']}", params={"include_secrets": True}).json()
    assert found["data"] == {"url": {"password": "hidden"}, "others": [{"password": "hidden"}]}
    assert outer["data"]["url"] == {"password": "********"}
    told = found["block_document_references"]["url"]["block_document"]
    assert (told["id"], told["name"], told["block_type"]["slug"]) == (inner["id"], "inner", "database")
    # A document that would contain itself cannot be loaded.
    circle = {"data": {"url": {"$ref": {"block_document_id": outer["id"]}}}}
    assert api.patch(f"/block_documents/{inner['id']}", json=circle).status_code == 400
    # One whose inner document is gone still can be listed.
    api.delete(f"/block_documents/{inner['id']}")
    assert api.get(f"/block_documents/{outer['id']}").json()["data"]["url"] == reference


def test_names_are_unique_and_anonymous_documents_stay_out_of_lists(api: httpx.Client) -> None:
    schema = _schema(api, _type(api))
    body = {"data": {}, "block_schema_id": schema["id"], "block_type_id": schema["block_type_id"]}
    _document(api, schema, "b")
    assert api.post("/block_documents/", json={**body, "name": "b"}).status_code == 409
    assert api.post("/block_documents/", json=body).status_code == 422
    assert api.post("/block_documents/", json={**body, "name": "Not A Name"}).status_code == 422
    anonymous = api.post("/block_documents/", json={**body, "is_anonymous": True}).json()
    assert anonymous["name"].startswith("anonymous-")
    _document(api, schema, "a")

    def names(**filters: object) -> list[str]:
        return [each["name"] for each in api.post("/block_documents/filter", json=filters).json()]

    assert names() == ["a", "b"]
    assert names(sort="NAME_DESC", limit=1) == ["b"]
    assert names(block_documents={"is_anonymous": {"eq_": True}}) == [anonymous["name"]]
    assert names(block_documents={"name": {"like_": "A"}}, block_types={"slug": {"any_": ["database"]}}) == ["a"]
    assert names(block_types={"slug": {"any_": ["nothing"]}}) == []
    everything = {"block_documents": {"is_anonymous": None}}
    assert api.post("/block_documents/count", json=everything).json() == 3
