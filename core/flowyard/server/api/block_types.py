"""Block types: registered, listed, changed and deleted, and their documents by name."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Body, HTTPException, Query, Response, status

from flowyard.schemas.api.blocks import (
    BlockDocument,
    BlockDocumentFilter,
    BlockDocumentFilterBlockTypeId,
    BlockDocumentFilterName,
    BlockSchemaFilter,
    BlockType,
    BlockTypeCreate,
    BlockTypeFilter,
    BlockTypeUpdate,
)
from flowyard.schemas.blocks import BlockTypeRecord
from flowyard.schemas.runs import utcnow
from flowyard.server import answers
from flowyard.server.dependencies import Database, PageOf, changes_of
from flowyard.server.routes import Routes
from flowyard.server.system_blocks import register_system_blocks
from flowyard.store import block_lists
from flowyard.store.filtering.blocks import of_documents

router = Routes(prefix="/block_types", tags=["Block types"])
_RESERVED = "Prefect"


@router.post("/", operation_id="create_block_type", response_model=BlockType, status_code=status.HTTP_201_CREATED)
def create(body: BlockTypeCreate, database: Database) -> Response:
    """Register a block type."""
    if body.name.startswith(_RESERVED):
        detail = f"Block type names beginning with '{_RESERVED}' are reserved; this one is {body.name!r}."
        raise HTTPException(status.HTTP_403_FORBIDDEN, detail)
    record = BlockTypeRecord(**body.model_dump())
    database.change(lambda connection: block_lists.insert_type(connection, record))
    return answers.one(BlockType.of(record), status.HTTP_201_CREATED)


@router.post("/filter", operation_id="read_block_types", response_model=list[BlockType])
def read_many(
    database: Database,
    page: PageOf,
    block_types: Annotated[BlockTypeFilter | None, Body()] = None,
    block_schemas: Annotated[BlockSchemaFilter | None, Body()] = None,
) -> Response:
    """Return block types."""
    found = database.read(
        lambda connection: block_lists.read_types(connection, database.dialect, block_types, block_schemas, page)
    )
    return answers.many(BlockType, [BlockType.of(record) for record in found])


@router.post("/install_system_block_types", operation_id="install_system_block_types")
def install_system_types(database: Database) -> None:
    """Register the block types that are built in."""
    register_system_blocks(database.control.blocks)


@router.get("/slug/{slug}", operation_id="read_block_type_by_slug", response_model=BlockType)
def read_by_slug(slug: str, database: Database) -> Response:
    """Return the block type of a slug."""
    return answers.one(BlockType.of(database.control.blocks.read_type(slug)))


@router.get(
    "/slug/{slug}/block_documents",
    operation_id="read_block_documents_for_block_type",
    response_model=list[BlockDocument],
    tags=["Block documents"],
)
def read_documents(slug: str, database: Database, include_secrets: Annotated[bool, Query()] = False) -> Response:
    """Return the documents of a block type, but for anonymous ones."""
    found = _documents_of(slug, None, database, include_secrets=include_secrets)
    return answers.many(BlockDocument, found)


@router.get(
    "/slug/{slug}/block_documents/name/{block_document_name}",
    operation_id="read_block_document_by_name_for_block_type",
    response_model=BlockDocument,
    tags=["Block documents"],
)
def read_document_by_name(
    slug: str, block_document_name: str, database: Database, include_secrets: Annotated[bool, Query()] = False
) -> Response:
    """Return the document of a name."""
    found = _documents_of(slug, block_document_name, database, include_secrets=include_secrets)
    if not found:
        raise HTTPException(status.HTTP_404_NOT_FOUND, "Block document not found")
    return answers.one(found[0])


def _documents_of(slug: str, name: str | None, database: Database, *, include_secrets: bool) -> list[BlockDocument]:
    kind = database.control.blocks.read_type(slug)
    where = BlockDocumentFilter(block_type_id=BlockDocumentFilterBlockTypeId(any_=[kind.id]))
    if name is not None:
        where.name, where.is_anonymous = BlockDocumentFilterName(any_=[name]), None
    found = database.read(
        lambda connection: block_lists.read_documents(
            connection,
            database.cipher,
            list(of_documents(database.dialect, where)),
            include_secrets=include_secrets,
        )
    )
    return [BlockDocument.of(record) for record in found]


@router.get("/{id}", operation_id="read_block_type_by_id", response_model=BlockType)
def read(id: UUID, database: Database) -> Response:
    """Return a block type."""
    return answers.one(BlockType.of(database.read(lambda connection: block_lists.read_type(connection, id))))


@router.patch("/{id}", operation_id="update_block_type", status_code=status.HTTP_204_NO_CONTENT)
def update(id: UUID, body: BlockTypeUpdate, database: Database) -> None:
    """Change how a block type is described."""
    changes = changes_of(body)
    database.change(lambda connection: block_lists.change_type(connection, id, changes, now=utcnow()))


@router.delete("/{id}", operation_id="delete_block_type", status_code=status.HTTP_204_NO_CONTENT)
def delete(id: UUID, database: Database) -> None:
    """Delete a block type with its schemas and documents, unless it is built in."""
    database.change(lambda connection: block_lists.delete_type(connection, id))
