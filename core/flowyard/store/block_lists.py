"""Block types, schemas and documents for the REST API: found by id, listed with filters, changed field by field."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.engine import Connection

from flowyard.exceptions import ObjectAlreadyExists, ObjectNotFound, ProtectedBlockError
from flowyard.schemas.api.blocks import BlockDocumentFilter, BlockSchemaFilter, BlockTypeFilter
from flowyard.schemas.api.sorting import BlockDocumentSort
from flowyard.schemas.blocks import BlockDocumentRecord, BlockSchemaRecord, BlockTypeRecord
from flowyard.schemas.secrets import patterns_of, unmasked
from flowyard.store import block_documents, blocks
from flowyard.store.block_documents import Cipher, block_document
from flowyard.store.blocks import block_schema, block_type
from flowyard.store.dialects import Dialect
from flowyard.store.filtering.blocks import of_documents, of_types, schema_condition
from flowyard.store.filtering.conditions import Condition
from flowyard.store.ordering import Order, Page, ordered

_DOCUMENT_ORDERS = {
    BlockDocumentSort.NAME_ASC: Order(block_document.c.name),
    BlockDocumentSort.NAME_DESC: Order(block_document.c.name, is_descending=True),
    BlockDocumentSort.BLOCK_TYPE_AND_NAME_ASC: Order(block_type.c.name, then=(block_document.c.name,)),
}


# --- types ------------------------------------------------------------------------------------------------------------


def insert_type(connection: Connection, record: BlockTypeRecord) -> None:
    """Store a new block type.

    Raises:
        ObjectAlreadyExists: there is one of that slug.
    """
    if connection.execute(select(block_type.c.id).where(block_type.c.slug == record.slug)).first() is not None:
        raise ObjectAlreadyExists("block type", record.slug)
    connection.execute(insert(block_type), {name: getattr(record, name) for name in BlockTypeRecord.__slots__})


def read_type(connection: Connection, type_id: UUID) -> BlockTypeRecord:
    """Return a block type.

    Raises:
        ObjectNotFound: there is none of that id.
    """
    found = blocks.read_types_by_id(connection, {type_id}).get(type_id)
    if found is None:
        raise ObjectNotFound("block type", type_id)
    return found


def read_types(
    connection: Connection,
    dialect: Dialect,
    types: BlockTypeFilter | None,
    schemas: BlockSchemaFilter | None,
    page: Page,
) -> list[BlockTypeRecord]:
    """Return block types in the order of their names."""
    query = select(block_type).where(*of_types(dialect, types, schemas))
    query = page.of(connection, query, Order(block_type.c.name), block_type.c.id, "block type")
    return [blocks.type_of(row) for row in connection.execute(query)]


def change_type(connection: Connection, type_id: UUID, changes: dict[str, Any], *, now: datetime) -> None:
    """Change columns of a block type.

    Raises:
        ObjectNotFound: there is none of that id.
    """
    done = connection.execute(update(block_type).where(block_type.c.id == type_id).values(**changes, updated=now))
    if not done.rowcount:
        raise ObjectNotFound("block type", type_id)


def delete_type(connection: Connection, type_id: UUID) -> None:
    """Delete a block type with its schemas and documents.

    Raises:
        ObjectNotFound: there is none of that id.
        ProtectedBlockError: it is built in.
    """
    slug = read_type(connection, type_id).slug
    block_documents.remove_of_type(connection, blocks.delete_type(connection, slug))


# --- schemas ----------------------------------------------------------------------------------------------------------


def register_schema(
    connection: Connection, dialect: Dialect, record: BlockSchemaRecord
) -> tuple[BlockSchemaRecord, bool]:
    """Return the schema of a checksum and version, and whether it was stored now.

    Raises:
        ObjectNotFound: there is no such block type.
    """
    stored = blocks.register_schema(connection, dialect, record)
    return stored, stored.id == record.id


def read_schema(connection: Connection, schema_id: UUID) -> BlockSchemaRecord:
    """Return a schema.

    Raises:
        ObjectNotFound: there is none of that id.
    """
    found = blocks.read_schemas_by_id(connection, {schema_id}).get(schema_id)
    if found is None:
        raise ObjectNotFound("block schema", schema_id)
    return found


def read_schemas(
    connection: Connection, dialect: Dialect, where: BlockSchemaFilter | None, page: Page
) -> list[BlockSchemaRecord]:
    """Return schemas, newest first."""
    newest_first = Order(block_schema.c.id, is_descending=True)
    query = page.of(connection, select(block_schema.c.id), newest_first, block_schema.c.id, "block schema")
    if where is not None:
        query = query.where(schema_condition(dialect, where))
    ids = connection.execute(query).scalars().all()
    found = blocks.read_schemas_by_id(connection, set(ids))
    return [found[each] for each in ids]


def delete_schema(connection: Connection, schema_id: UUID) -> None:
    """Delete a schema with the documents that have it.

    Raises:
        ObjectNotFound: there is none of that id.
        ProtectedBlockError: its type is built in.
    """
    kind = read_type(connection, read_schema(connection, schema_id).block_type_id)
    if kind.is_protected:
        raise ProtectedBlockError(kind.slug)
    documents = select(block_document.c.id).where(block_document.c.block_schema_id == schema_id)
    for document_id in connection.execute(documents).scalars().all():
        block_documents.remove(connection, document_id)
    connection.execute(delete(block_schema).where(block_schema.c.id == schema_id))


def capabilities(connection: Connection) -> list[str]:
    """Return what the blocks of any schema can do, each once."""
    found = connection.execute(select(block_schema.c.capabilities).distinct()).scalars()
    return sorted({capability for each in found for capability in each})


# --- documents --------------------------------------------------------------------------------------------------------


def read_documents(
    connection: Connection,
    cipher: Cipher,
    conditions: Sequence[Condition],
    *,
    include_secrets: bool,
    sort: BlockDocumentSort = BlockDocumentSort.NAME_ASC,
    page: Page | None = None,
) -> list[BlockDocumentRecord]:
    """Return documents with their types, their schemas and everything they refer to.

    What refers to a document that is gone is there, and the reference with it.

    Raises:
        WrongEncryptionKey: secrets are wanted, and were encrypted with another key.
    """
    query = (
        select(block_document.c.id)
        .join(block_type, block_type.c.id == block_document.c.block_type_id)
        .where(*conditions)
    )
    order, key = _DOCUMENT_ORDERS[sort], block_document.c.id
    query = ordered(query, order, key) if page is None else page.of(connection, query, order, key, "block document")
    ids = connection.execute(query).scalars().all()
    found = block_documents.read_closure(connection, cipher, set(ids), include_secrets=include_secrets)
    for document_id in ids:
        found[document_id].references = {str(key): each for key, each in found.items() if key != document_id}
    return [found[document_id] for document_id in ids]


def count_documents(
    connection: Connection,
    dialect: Dialect,
    documents: BlockDocumentFilter,
    types: BlockTypeFilter | None,
    schemas: BlockSchemaFilter | None,
) -> int:
    """Return how many documents match."""
    conditions = of_documents(dialect, documents, types, schemas)
    return connection.execute(select(func.count()).select_from(block_document).where(*conditions)).scalar_one()


def change_document(
    connection: Connection,
    dialect: Dialect,
    cipher: Cipher,
    document_id: UUID,
    *,
    data: dict[str, Any],
    schema_id: UUID | None,
    secret_paths: list[list[str]],
    merges: bool,
    now: datetime,
) -> None:
    """Change the data of a document; with `merges` what `data` does not name stays, and so do secrets in asterisks.

    Raises:
        ObjectNotFound: there is none of that id, or its schema or a document it refers to does not exist.
        ValueError: the schema is that of another block type.
        BlockCycle: it would lead back to itself.
        WrongEncryptionKey: secrets here were encrypted with another key.
    """
    there = block_documents.read_closure(connection, cipher, {document_id}, include_secrets=True).get(document_id)
    if there is None or there.block_schema is None:
        raise ObjectNotFound("block document", document_id)
    schema = there.block_schema if schema_id is None else read_schema(connection, schema_id)
    if schema.block_type_id != there.block_type_id:
        raise ValueError(
            f"block schema {schema.id} is that of another block type than block document {document_id}; "
            "name a schema of the same type"
        )
    if merges:
        patterns = patterns_of(there.block_schema.fields, there.secret_paths)
        data = unmasked({**there.data, **data}, there.data, patterns)
        secret_paths = [*there.secret_paths, *(path for path in secret_paths if path not in there.secret_paths)]
    record = BlockDocumentRecord(
        name=there.name,
        block_type_id=there.block_type_id,
        block_schema_id=schema.id,
        data=data,
        secret_paths=secret_paths,
        is_anonymous=there.is_anonymous,
        id=there.id,
        updated=now,
    )
    block_documents.save(connection, dialect, cipher, record, overwrite=True)
