"""Rows of block documents: values in the open with secrets obfuscated, and the whole encrypted beside them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Protocol, cast
from uuid import UUID

from sqlalchemy import (
    Boolean,
    Column,
    Index,
    Select,
    Table,
    Text,
    UniqueConstraint,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.engine import Connection, Row

from flowyard.exceptions import BlockCycle, BlockNameTaken, BlockNotFound, ObjectNotFound
from flowyard.schemas.blocks import BlockDocumentFilter, BlockDocumentRecord, BlockTypeRecord, referred_id
from flowyard.schemas.secrets import obfuscate, patterns_of
from flowyard.store import blocks
from flowyard.store.blocks import block_type
from flowyard.store.dialects import Dialect
from flowyard.store.tables import ID, JSON, TEXT, TIME, metadata

block_document = Table(
    "block_document",
    metadata,
    Column("id", ID, primary_key=True),
    Column("name", TEXT, nullable=False),
    Column("block_type_id", ID, nullable=False),
    Column("block_schema_id", ID, nullable=False),
    # What anybody may see.
    Column("data", JSON, nullable=False),
    # All of it, for those who have the key; NULL when nothing is secret.
    Column("encrypted_data", Text),
    Column("secret_paths", JSON, nullable=False),
    Column("is_anonymous", Boolean, nullable=False),
    Column("created", TIME, nullable=False),
    Column("updated", TIME, nullable=False),
    UniqueConstraint("block_type_id", "name", name="uq_block__type_id_name"),
    sqlite_with_rowid=False,
)

block_document_reference = Table(
    "block_document_reference",
    metadata,
    Column("parent_block_document_id", ID, primary_key=True),
    # Where in the parent's data, keys joined by dots.
    Column("name", TEXT, primary_key=True),
    Column("reference_block_document_id", ID, nullable=False),
    # Who refers to a document.
    Index("ix_block_document_reference__reference", "reference_block_document_id"),
    sqlite_with_rowid=False,
)

_COLUMNS = (*("id", "name", "block_type_id", "block_schema_id", "secret_paths", "is_anonymous", "created", "updated"),)


class Cipher(Protocol):
    """Encrypts what is secret with the key of this place."""

    def encrypt(self, connection: Connection, text: str) -> str: ...  # noqa: D102
    def decrypt(self, connection: Connection, token: str) -> str: ...  # noqa: D102


def save(
    connection: Connection, dialect: Dialect, cipher: Cipher, record: BlockDocumentRecord, *, overwrite: bool
) -> BlockDocumentRecord:
    """Store a document under its name, and return it without its data.

    Raises:
        BlockNameTaken: another document of its type has the name, and `overwrite` is not set.
        BlockCycle: it would lead back to itself.
        ObjectNotFound: its type, its schema or a document it refers to does not exist.
        WrongEncryptionKey: other secrets here were encrypted with another key.
    """
    kind = blocks.read_types_by_id(connection, {record.block_type_id}).get(record.block_type_id)
    schema = blocks.read_schemas_by_id(connection, {record.block_schema_id}).get(record.block_schema_id)
    if kind is None:
        raise ObjectNotFound("block type", record.block_type_id)
    if schema is None:
        raise ObjectNotFound("block schema", record.block_schema_id)
    patterns = patterns_of(schema.fields, record.secret_paths)
    shown = obfuscate(record.data, patterns)
    # Before anything is written: a wrong key must change nothing.
    encrypted = None if shown == record.data else cipher.encrypt(connection, json.dumps(record.data))
    there = connection.execute(
        select(block_document.c.id, block_document.c.created).where(
            block_document.c.block_type_id == record.block_type_id, block_document.c.name == record.name
        )
    ).first()
    document_id = record.id if there is None else there.id
    if there is not None and not overwrite:
        raise BlockNameTaken(kind.slug, record.name)
    references = dict(_references(record.data))
    _refuse_cycle(connection, kind, record.name, document_id, set(references.values()))
    values: dict[str, Any] = {name: getattr(record, name) for name in _COLUMNS}
    values |= {"id": document_id, "data": shown, "encrypted_data": encrypted}
    if there is None:
        if connection.execute(dialect.insert(block_document).on_conflict_do_nothing(), values).rowcount == 0:
            raise BlockNameTaken(kind.slug, record.name)  # somebody else was faster
    else:
        values["created"] = there.created
        connection.execute(update(block_document).where(block_document.c.id == document_id).values(values))
        _forget_references(connection, document_id)
    if references:
        rows = [
            {"parent_block_document_id": document_id, "name": name, "reference_block_document_id": target}
            for name, target in references.items()
        ]
        connection.execute(insert(block_document_reference), rows)
    stored = {name: values[name] for name in _COLUMNS}
    return BlockDocumentRecord(**stored, block_type=kind, block_schema=schema)


def read(connection: Connection, cipher: Cipher, document_id: UUID, *, include_secrets: bool) -> BlockDocumentRecord:
    """Return a document with its type, its schema and everything it refers to.

    Raises:
        ObjectNotFound: there is none of that id, or one that it refers to is gone.
        WrongEncryptionKey: its secrets were encrypted with another key.
    """
    found = read_closure(connection, cipher, {document_id}, include_secrets=include_secrets)
    if document_id not in found:
        raise ObjectNotFound("block document", document_id)
    for record in found.values():
        missing = sorted({target for _, target in _references(record.data)} - set(found))
        if missing:
            where = f" that block document {document_id} refers to,"
            raise ObjectNotFound(f"block document{where}", missing[0])
    document = found.pop(document_id)
    document.references = {str(key): record for key, record in found.items()}
    return document


def read_closure(
    connection: Connection, cipher: Cipher, ids: set[UUID], *, include_secrets: bool
) -> dict[UUID, BlockDocumentRecord]:
    """Return documents with what they refer to, by id, each with its type and its schema; what is gone is not there.

    Raises:
        WrongEncryptionKey: secrets are wanted, and were encrypted with another key.
    """
    found: dict[UUID, BlockDocumentRecord] = {}
    seen: set[UUID] = set()
    while ids:
        seen |= ids
        rows = connection.execute(select(block_document).where(block_document.c.id.in_(ids))).all()
        records = [_record_of(connection, cipher, row, include_secrets=include_secrets) for row in rows]
        found |= {record.id: record for record in records}
        ids = {target for record in records for _, target in _references(record.data)} - seen
    types = blocks.read_types_by_id(connection, {record.block_type_id for record in found.values()})
    schemas = blocks.read_schemas_by_id(connection, {record.block_schema_id for record in found.values()})
    for record in found.values():
        record.block_type, record.block_schema = types[record.block_type_id], schemas[record.block_schema_id]
    return found


def find(connection: Connection, slug: str, name: str) -> UUID:
    """Return the id of a document.

    Raises:
        BlockNotFound: there is none of that type and name.
    """
    query = select(block_document.c.id).where(
        block_document.c.name == name,
        block_document.c.block_type_id == select(block_type.c.id).where(block_type.c.slug == slug).scalar_subquery(),
    )
    found = connection.execute(query).scalar()
    if found is None:
        raise BlockNotFound(slug, name)
    return found


def read_many(
    connection: Connection, cipher: Cipher, where: BlockDocumentFilter, *, limit: int, offset: int
) -> list[BlockDocumentRecord]:
    """Return documents by type and name, with their types, secrets obfuscated, references not followed."""
    query = (
        _matching(select(block_document), where)
        .order_by(block_type.c.slug, block_document.c.name)
        .limit(limit)
        .offset(offset)
    )
    records = [_record_of(connection, cipher, row, include_secrets=False) for row in connection.execute(query).all()]
    types = blocks.read_types_by_id(connection, {record.block_type_id for record in records})
    for record in records:
        record.block_type = types[record.block_type_id]
    return records


def count(connection: Connection, where: BlockDocumentFilter) -> int:
    """Return how many documents match."""
    return connection.execute(_matching(select(func.count(block_document.c.id)), where)).scalar_one()


def remove(connection: Connection, document_id: UUID) -> None:
    """Delete a document.

    Raises:
        ObjectNotFound: there is none of that id.
    """
    if connection.execute(delete(block_document).where(block_document.c.id == document_id)).rowcount == 0:
        raise ObjectNotFound("block document", document_id)
    _forget_references(connection, document_id)


def remove_of_type(connection: Connection, type_id: UUID) -> None:
    """Delete the documents of a block type."""
    ids = select(block_document.c.id).where(block_document.c.block_type_id == type_id)
    connection.execute(
        delete(block_document_reference).where(block_document_reference.c.parent_block_document_id.in_(ids))
    )
    connection.execute(delete(block_document).where(block_document.c.block_type_id == type_id))


def _matching(query: Select[Any], where: BlockDocumentFilter) -> Select[Any]:
    query = query.select_from(block_document).join(block_type, block_type.c.id == block_document.c.block_type_id)
    if where.ids is not None:
        query = query.where(block_document.c.id.in_(where.ids))
    if where.names is not None:
        query = query.where(block_document.c.name.in_(where.names))
    if where.block_type_slugs is not None:
        query = query.where(block_type.c.slug.in_(where.block_type_slugs))
    if where.is_anonymous is not None:
        query = query.where(block_document.c.is_anonymous == where.is_anonymous)
    return query


def _references(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, UUID]]:
    """Yield where in a document's data others are named, and which."""
    target = referred_id(value)
    if target is not None:
        yield ".".join(path), target
    elif isinstance(value, dict):
        for key, item in cast("dict[str, Any]", value).items():
            yield from _references(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(cast("list[Any]", value)):
            yield from _references(item, (*path, str(index)))


def _refuse_cycle(connection: Connection, kind: BlockTypeRecord, name: str, own: UUID, targets: set[UUID]) -> None:
    """Follow references from the targets; all of them must exist, and none may lead to `own`."""
    seen: set[UUID] = set()
    wanted = targets
    while wanted:
        if own in wanted:
            raise BlockCycle(kind.slug, name)
        rows = connection.execute(select(block_document.c.id).where(block_document.c.id.in_(wanted))).scalars()
        missing = wanted & targets - set(rows)
        if missing:
            raise ObjectNotFound("block document", min(missing))
        seen |= wanted
        below = select(block_document_reference.c.reference_block_document_id).where(
            block_document_reference.c.parent_block_document_id.in_(wanted)
        )
        wanted = set(connection.execute(below).scalars()) - seen


def _forget_references(connection: Connection, document_id: UUID) -> None:
    connection.execute(
        delete(block_document_reference).where(block_document_reference.c.parent_block_document_id == document_id)
    )


def _record_of(connection: Connection, cipher: Cipher, row: Row[Any], *, include_secrets: bool) -> BlockDocumentRecord:
    data = row.data
    if include_secrets and row.encrypted_data is not None:
        data = json.loads(cipher.decrypt(connection, row.encrypted_data))
    return BlockDocumentRecord(**{name: getattr(row, name) for name in _COLUMNS}, data=data)
