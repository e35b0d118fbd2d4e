"""The filters of block types, schemas and documents."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import select

from flowyard.schemas.api.blocks import BlockDocumentFilter, BlockSchemaFilter, BlockTypeFilter
from flowyard.store.block_documents import block_document
from flowyard.store.blocks import block_schema, block_type
from flowyard.store.dialects import Dialect
from flowyard.store.filtering.conditions import Condition, combined, is_any, is_like


def of_types(dialect: Dialect, types: BlockTypeFilter | None, schemas: BlockSchemaFilter | None) -> Iterable[Condition]:
    """Return the conditions on the rows of `block_type`: of the filter of types, and of schemas that they have."""
    if types is not None:
        if types.name is not None:
            yield from is_like(block_type.c.name, types.name.like_)
        if types.slug is not None:
            yield from is_any(block_type.c.slug, types.slug.any_)
    if schemas is not None:
        yield block_type.c.id.in_(select(block_schema.c.block_type_id).where(schema_condition(dialect, schemas)))


def schema_condition(dialect: Dialect, where: BlockSchemaFilter) -> Condition:
    """Return the condition of one filter on the rows of `block_schema`."""
    return combined(_of_schemas(dialect, where), where.operator)


def of_documents(
    dialect: Dialect,
    documents: BlockDocumentFilter,
    types: BlockTypeFilter | None = None,
    schemas: BlockSchemaFilter | None = None,
) -> Iterable[Condition]:
    """Return the conditions on the rows of `block_document`: of its filter, and of their types and schemas."""
    yield combined(_of_documents(documents), documents.operator)
    if types is not None:
        matching = select(block_type.c.id).where(*of_types(dialect, types, None))
        yield block_document.c.block_type_id.in_(matching)
    if schemas is not None:
        yield block_document.c.block_schema_id.in_(select(block_schema.c.id).where(schema_condition(dialect, schemas)))


def _of_schemas(dialect: Dialect, where: BlockSchemaFilter) -> Iterable[Condition]:
    if where.id is not None:
        yield combined(is_any(block_schema.c.id, where.id.any_))
    if where.block_type_id is not None:
        yield combined(is_any(block_schema.c.block_type_id, where.block_type_id.any_))
    if where.version is not None:
        yield combined(is_any(block_schema.c.version, where.version.any_))
    if where.block_capabilities is not None:
        wanted = where.block_capabilities.all_ or ()
        yield combined(dialect.json_array_has(block_schema.c.capabilities, capability) for capability in wanted)


def _of_documents(where: BlockDocumentFilter) -> Iterable[Condition]:
    if where.id is not None:
        yield combined(is_any(block_document.c.id, where.id.any_))
    if where.is_anonymous is not None and where.is_anonymous.eq_ is not None:
        yield block_document.c.is_anonymous == where.is_anonymous.eq_
    if where.block_type_id is not None:
        yield combined(is_any(block_document.c.block_type_id, where.block_type_id.any_))
    if where.name is not None:
        yield combined(
            [*is_any(block_document.c.name, where.name.any_), *is_like(block_document.c.name, where.name.like_)]
        )
