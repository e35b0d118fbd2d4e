"""Rows of block types and their schemas; documents are in `block_documents`."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import Boolean, Column, Index, Table, UniqueConstraint, delete, select
from sqlalchemy.engine import Connection, Row

from flowyard.exceptions import ObjectNotFound, ProtectedBlockError
from flowyard.schemas.blocks import BlockSchemaRecord, BlockTypeRecord
from flowyard.store.dialects import Dialect
from flowyard.store.tables import ID, JSON, TEXT, TIME, metadata

block_type = Table(
    "block_type",
    metadata,
    Column("id", ID, primary_key=True),
    Column("name", TEXT, nullable=False),
    Column("slug", TEXT, nullable=False),
    Column("logo_url", TEXT),
    Column("documentation_url", TEXT),
    Column("description", TEXT),
    Column("code_example", TEXT),
    Column("is_protected", Boolean, nullable=False),
    Column("origin", TEXT),
    Column("created", TIME, nullable=False),
    Column("updated", TIME, nullable=False),
    UniqueConstraint("slug", name="uq_block_type__slug"),
    sqlite_with_rowid=False,
)

block_schema = Table(
    "block_schema",
    metadata,
    Column("id", ID, primary_key=True),
    Column("checksum", TEXT, nullable=False),
    Column("fields", JSON, nullable=False),
    Column("capabilities", JSON, nullable=False),
    Column("version", TEXT, nullable=False),
    Column("block_type_id", ID, nullable=False),
    Column("created", TIME, nullable=False),
    Column("updated", TIME, nullable=False),
    UniqueConstraint("checksum", "version", name="uq_block_schema__checksum_version"),
    # The schemas of a type, newest first.
    Index("ix_block_schema__block_type_id", "block_type_id", "id"),
    sqlite_with_rowid=False,
)

_DESCRIBING = (
    *("name", "logo_url", "documentation_url", "description", "code_example", "is_protected", "origin", "updated"),
)

# By position: `fields`, the name of a column, is also a method of rows.
_SCHEMA = tuple(block_schema.c[name] for name in BlockSchemaRecord.__slots__)


def register_type(connection: Connection, dialect: Dialect, record: BlockTypeRecord) -> BlockTypeRecord:
    """Store a block type, or bring the one of that slug up to date; return it as it is stored now."""
    values = {name: getattr(record, name) for name in BlockTypeRecord.__slots__}
    insert = dialect.insert(block_type)
    upsert = insert.on_conflict_do_update(
        index_elements=["slug"], set_={name: insert.excluded[name] for name in _DESCRIBING}
    )
    connection.execute(upsert, values)
    return read_type(connection, record.slug)


def read_type(connection: Connection, slug: str) -> BlockTypeRecord:
    """Return a block type.

    Raises:
        ObjectNotFound: there is none of that slug.
    """
    row = connection.execute(select(block_type).where(block_type.c.slug == slug)).first()
    if row is None:
        raise ObjectNotFound("block type", slug)
    return type_of(row)


def read_types_by_id(connection: Connection, ids: set[UUID]) -> dict[UUID, BlockTypeRecord]:
    """Return block types by id."""
    rows = connection.execute(select(block_type).where(block_type.c.id.in_(ids)))
    return {row.id: type_of(row) for row in rows}


def read_types(connection: Connection, *, limit: int, offset: int) -> list[BlockTypeRecord]:
    """Return block types in the order of their slugs."""
    rows = connection.execute(select(block_type).order_by(block_type.c.slug).limit(limit).offset(offset))
    return [type_of(row) for row in rows]


def delete_type(connection: Connection, slug: str) -> UUID:
    """Delete a block type with its schemas, and return its id.

    Raises:
        ObjectNotFound: there is none of that slug.
        ProtectedBlockError: it is built in.
    """
    record = read_type(connection, slug)
    if record.is_protected:
        raise ProtectedBlockError(slug)
    connection.execute(delete(block_schema).where(block_schema.c.block_type_id == record.id))
    connection.execute(delete(block_type).where(block_type.c.id == record.id))
    return record.id


def register_schema(connection: Connection, dialect: Dialect, record: BlockSchemaRecord) -> BlockSchemaRecord:
    """Store a schema, unless there is one of its checksum and version; return the one that is stored.

    Raises:
        ObjectNotFound: there is no such block type.
    """
    if connection.execute(select(block_type.c.id).where(block_type.c.id == record.block_type_id)).first() is None:
        raise ObjectNotFound("block type", record.block_type_id)
    values = {name: getattr(record, name) for name in BlockSchemaRecord.__slots__}
    connection.execute(dialect.insert(block_schema).on_conflict_do_nothing(), values)
    return read_schema(connection, record.checksum, record.version)


def read_schema(connection: Connection, checksum: str, version: str | None = None) -> BlockSchemaRecord:
    """Return a schema; without a version the newest of that checksum.

    Raises:
        ObjectNotFound: there is none.
    """
    query = select(*_SCHEMA).where(block_schema.c.checksum == checksum)
    if version is not None:
        query = query.where(block_schema.c.version == version)
    row = connection.execute(query.order_by(block_schema.c.id.desc()).limit(1)).first()
    if row is None:
        raise ObjectNotFound("block schema", checksum)
    return schema_of(row)


def read_schemas_by_id(connection: Connection, ids: set[UUID]) -> dict[UUID, BlockSchemaRecord]:
    """Return schemas by id."""
    rows = connection.execute(select(*_SCHEMA).where(block_schema.c.id.in_(ids)))
    return {row.id: schema_of(row) for row in rows}


def read_schemas(connection: Connection, slug: str) -> list[BlockSchemaRecord]:
    """Return the schemas of a block type, newest first."""
    type_id = read_type(connection, slug).id
    query = select(*_SCHEMA).where(block_schema.c.block_type_id == type_id).order_by(block_schema.c.id.desc())
    return [schema_of(row) for row in connection.execute(query)]


def type_of(row: Row[Any]) -> BlockTypeRecord:
    """Return the record of a row."""
    return BlockTypeRecord(**{name: getattr(row, name) for name in BlockTypeRecord.__slots__})


def schema_of(row: Row[Any]) -> BlockSchemaRecord:
    """Return the record of a row of `_SCHEMA`."""
    return BlockSchemaRecord(**dict(zip(BlockSchemaRecord.__slots__, row, strict=True)))
