"""What every store of blocks must do. Subclass `BlockStoreContract` in a test module and override its fixture."""

# ruff: noqa: D102  the names of the tests are sentences

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from flowyard.exceptions import BlockCycle, BlockNameTaken, BlockNotFound, ObjectNotFound, ProtectedBlockError
from flowyard.ports.blocks import BlockStore
from flowyard.schemas.blocks import (
    BlockDocumentFilter,
    BlockDocumentRecord,
    BlockSchemaRecord,
    BlockTypeRecord,
    reference_to,
)
from flowyard.schemas.ids import new_id


def make_kind(store: BlockStore, slug: str = "thing", **changes: Any) -> tuple[BlockTypeRecord, BlockSchemaRecord]:
    """Register a block type with a schema whose field `password` is secret."""
    kind = store.register_type(BlockTypeRecord(name=slug.title(), slug=slug, **changes))
    fields = {"title": slug, "secret_fields": ["password", "more.*"], "block_type_slug": slug}
    return kind, store.register_schema(BlockSchemaRecord(f"sha256:{slug}", kind.id, fields, ["read-path"]))


def make_document(store: BlockStore, name: str = "one", slug: str = "thing", **data: Any) -> BlockDocumentRecord:
    """Return a document that is not saved yet."""
    kind, schema = make_kind(store, slug)
    return BlockDocumentRecord(name, kind.id, schema.id, data)


class BlockStoreContract:
    """Types, schemas and documents, through the port `BlockStore`."""

    @pytest.fixture
    def store(self) -> BlockStore:
        """Return an empty store."""
        raise NotImplementedError("override the fixture `store`")

    def test_a_type_is_known_by_its_slug_and_brought_up_to_date(self, store: BlockStore) -> None:
        first = store.register_type(BlockTypeRecord("Thing", "thing", description="old"))
        second = store.register_type(BlockTypeRecord("Thing", "thing", description="new", origin="m:C"))
        assert (second.id, second.description, second.origin, second.created) == (first.id, "new", "m:C", first.created)
        assert [kind.slug for kind in store.read_types()] == ["thing"]

    def test_types_are_listed_by_slug(self, store: BlockStore) -> None:
        for slug in ("b", "a", "c"):
            make_kind(store, slug)
        assert [kind.slug for kind in store.read_types()] == ["a", "b", "c"]
        assert [kind.slug for kind in store.read_types(limit=1, offset=1)] == ["b"]

    def test_a_schema_is_stored_once_by_checksum_and_version(self, store: BlockStore) -> None:
        kind, schema = make_kind(store)
        again = store.register_schema(BlockSchemaRecord(schema.checksum, kind.id, {"other": 1}))
        newer = store.register_schema(BlockSchemaRecord(schema.checksum, kind.id, version="2"))
        assert (again.id, again.fields, again.capabilities) == (schema.id, schema.fields, ["read-path"])
        assert store.read_schema(schema.checksum, "2").id == newer.id == store.read_schema(schema.checksum).id
        assert [each.id for each in store.read_schemas("thing")] == [newer.id, schema.id]

    def test_a_document_is_read_as_it_was_saved(self, store: BlockStore) -> None:
        record = make_document(store, user="é", password="s3cr3t-value", more={"a": [1, None]}, number=1.5)
        saved = store.save_document(record)
        found = store.read_document(saved.id)
        assert (found.name, found.data) == ("one", record.data)
        assert found.block_type is not None
        assert found.block_schema is not None
        assert (found.block_type.slug, found.block_schema.checksum) == ("thing", "sha256:thing")
        assert store.find_document("thing", "one") == saved.id

    def test_without_secrets_a_document_shows_asterisks(self, store: BlockStore) -> None:
        record = make_document(store, user="me", password="s3cr3t-value", more={"a": ["x"]}, free=[{"pin": "1234"}])
        record.secret_paths = [["free", "0", "pin"]]
        saved = store.save_document(record)
        assert saved.data == {}
        shown = {"user": "me", "password": "********", "more": {"a": ["********"]}, "free": [{"pin": "********"}]}
        assert store.read_document(saved.id, include_secrets=False).data == shown
        assert [each.data for each in store.read_documents()] == [shown]

    def test_a_name_is_taken_unless_it_is_overwritten(self, store: BlockStore) -> None:
        saved = store.save_document(make_document(store, user="old"))
        with pytest.raises(BlockNameTaken, match=r"'thing/one' exists already; pass `overwrite=True`"):
            store.save_document(make_document(store, user="new"))
        again = store.save_document(make_document(store, user="new", password="p"), overwrite=True)
        assert (again.id, again.created) == (saved.id, saved.created)
        assert store.read_document(saved.id).data == {"user": "new", "password": "p"}

    def test_what_a_document_refers_to_comes_with_it_and_follows_edits(self, store: BlockStore) -> None:
        inner = store.save_document(make_document(store, "inner", user="a", password="inner-secret"))
        middle = store.save_document(make_document(store, "middle", parts=[{"x": reference_to(inner.id)}]))
        outer = store.save_document(make_document(store, "outer", part=reference_to(middle.id)))
        store.save_document(make_document(store, "inner", user="b", password="changed"), overwrite=True)
        found = store.read_document(outer.id)
        assert set(found.references) == {str(inner.id), str(middle.id)}
        assert found.references[str(inner.id)].data == {"user": "b", "password": "changed"}
        shown = store.read_document(outer.id, include_secrets=False)
        assert shown.references[str(inner.id)].data == {"user": "b", "password": "********"}

    def test_a_cycle_is_refused_and_changes_nothing(self, store: BlockStore) -> None:
        a = store.save_document(make_document(store, "a"))
        b = store.save_document(make_document(store, "b", next=reference_to(a.id)))
        c = store.save_document(make_document(store, "c", next=[reference_to(b.id)]))
        for target in (c, a):
            with pytest.raises(BlockCycle, match=r"'thing/a' cannot be saved.*contain itself"):
                store.save_document(make_document(store, "a", next=reference_to(target.id)), overwrite=True)
        assert store.read_document(a.id).data == {}

    def test_a_reference_to_nothing_is_refused(self, store: BlockStore) -> None:
        nobody = new_id()
        with pytest.raises(ObjectNotFound, match=str(nobody)):
            store.save_document(make_document(store, "a", next=reference_to(nobody)))
        assert store.count_documents() == 0

    def test_a_document_whose_reference_is_deleted_says_so(self, store: BlockStore) -> None:
        inner = store.save_document(make_document(store, "inner"))
        outer = store.save_document(make_document(store, "outer", part=reference_to(inner.id)))
        store.delete_document(inner.id)
        with pytest.raises(ObjectNotFound, match=f"that block document {outer.id} refers to, {inner.id}"):
            store.read_document(outer.id)

    def test_a_deleted_document_is_gone_and_its_name_free(self, store: BlockStore) -> None:
        saved = store.save_document(make_document(store))
        store.delete_document(saved.id)
        with pytest.raises(ObjectNotFound, match=str(saved.id)):
            store.delete_document(saved.id)
        assert store.save_document(make_document(store)).id != saved.id

    def test_a_type_is_deleted_with_all_of_it_unless_it_is_protected(self, store: BlockStore) -> None:
        saved = store.save_document(make_document(store))
        make_kind(store, "built-in", is_protected=True)
        with pytest.raises(ProtectedBlockError, match="'built-in' is built in"):
            store.delete_type("built-in")
        store.delete_type("thing")
        calls: list[Callable[[], object]] = [
            lambda: store.read_document(saved.id),
            lambda: store.read_schema("sha256:thing"),
            lambda: store.read_type("thing"),
            lambda: store.delete_type("thing"),
        ]
        for call in calls:
            with pytest.raises(ObjectNotFound):
                call()

    def test_documents_are_listed_by_type_and_name_and_anonymous_ones_only_on_demand(self, store: BlockStore) -> None:
        for slug, name in (("b", "x"), ("a", "y"), ("a", "x")):
            store.save_document(make_document(store, name, slug))
        hidden = make_document(store, "anonymous-1", "a")
        hidden.is_anonymous = True
        store.save_document(hidden)
        assert self._names(store, None) == ["a/x", "a/y", "b/x"]
        assert self._names(store, BlockDocumentFilter(block_type_slugs=("a",), is_anonymous=None)) == [
            *("a/anonymous-1", "a/x", "a/y"),
        ]
        assert self._names(store, BlockDocumentFilter(names=("x",))) == ["a/x", "b/x"]
        assert store.count_documents() == 3
        assert len(store.read_documents(limit=2, offset=2)) == 1

    def test_what_does_not_exist_is_said_by_name(self, store: BlockStore) -> None:
        kind, schema = make_kind(store)
        nobody: UUID = new_id()
        with pytest.raises(BlockNotFound, match="'thing/none'"):
            store.find_document("thing", "none")
        with pytest.raises(ObjectNotFound, match=str(nobody)):
            store.save_document(BlockDocumentRecord("x", nobody, schema.id))
        with pytest.raises(ObjectNotFound, match=str(nobody)):
            store.save_document(BlockDocumentRecord("x", kind.id, nobody))
        with pytest.raises(ObjectNotFound, match=str(nobody)):
            store.register_schema(BlockSchemaRecord("sha256:x", nobody))

    @staticmethod
    def _names(store: BlockStore, where: BlockDocumentFilter | None) -> list[str]:
        found = store.read_documents(where)
        return [f"{each.block_type.slug if each.block_type else None}/{each.name}" for each in found]
