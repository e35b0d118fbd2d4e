"""Block documents: what was saved of blocks, with secrets only for those who ask for them."""

from __future__ import annotations

import re
from typing import Annotated
from uuid import UUID, uuid4

from fastapi import Body, HTTPException, Query, Response, status
from sqlalchemy.engine import Connection

from flowyard.exceptions import ObjectNotFound
from flowyard.schemas.api.blocks import (
    BlockDocument,
    BlockDocumentCreate,
    BlockDocumentFilter,
    BlockDocumentUpdate,
    BlockSchemaFilter,
    BlockTypeFilter,
)
from flowyard.schemas.api.sorting import BlockDocumentSort
from flowyard.schemas.blocks import BlockDocumentRecord
from flowyard.schemas.runs import utcnow
from flowyard.server import answers
from flowyard.server.dependencies import Database, PageOf
from flowyard.server.gateway import Gateway
from flowyard.server.routes import Routes
from flowyard.store import block_documents as documents
from flowyard.store import block_lists
from flowyard.store.block_documents import block_document
from flowyard.store.filtering.blocks import of_documents

router = Routes(prefix="/block_documents", tags=["Block documents"])
_NAME = re.compile(r"[a-z0-9-]+")


@router.post(
    "/", operation_id="create_block_document", response_model=BlockDocument, status_code=status.HTTP_201_CREATED
)
def create(body: BlockDocumentCreate, database: Database) -> Response:
    """Save the values of a block."""
    record = BlockDocumentRecord(
        name=_name_of(body),
        block_type_id=body.block_type_id,
        block_schema_id=body.block_schema_id,
        data=body.data,
        secret_paths=body.secret_paths,
        is_anonymous=body.is_anonymous,
    )

    def save(connection: Connection) -> BlockDocument:
        stored = documents.save(connection, database.dialect, database.cipher, record, overwrite=False)
        return _read(connection, database, stored.id, include_secrets=False)

    return answers.one(database.change(save), status.HTTP_201_CREATED)


def _name_of(body: BlockDocumentCreate) -> str:
    if body.name is None:
        if body.is_anonymous:
            return f"anonymous-{uuid4()}"
        detail = "Names must be provided for block documents that are not anonymous."
        raise HTTPException(status.HTTP_422_UNPROCESSABLE_CONTENT, detail)
    if not _NAME.fullmatch(body.name):
        detail = f"name must only contain lowercase letters, numbers, and dashes; it is {body.name!r}"
        raise HTTPException(status.HTTP_422_UNPROCESSABLE_CONTENT, detail)
    return body.name


@router.post("/filter", operation_id="read_block_documents", response_model=list[BlockDocument])
def read_many(
    database: Database,
    page: PageOf,
    block_documents: Annotated[BlockDocumentFilter | None, Body()] = None,
    block_types: Annotated[BlockTypeFilter | None, Body()] = None,
    block_schemas: Annotated[BlockSchemaFilter | None, Body()] = None,
    include_secrets: Annotated[bool, Body()] = False,
    sort: Annotated[BlockDocumentSort | None, Body()] = BlockDocumentSort.NAME_ASC,
) -> Response:
    """Return documents; anonymous ones only if the filter says so."""
    where = block_documents or BlockDocumentFilter()
    found = database.read(
        lambda connection: block_lists.read_documents(
            connection,
            database.cipher,
            list(of_documents(database.dialect, where, block_types, block_schemas)),
            include_secrets=include_secrets,
            sort=sort or BlockDocumentSort.NAME_ASC,
            page=page,
        )
    )
    return answers.many(BlockDocument, [BlockDocument.of(record) for record in found])


@router.post("/count", operation_id="count_block_documents")
def count(
    database: Database,
    block_documents: Annotated[BlockDocumentFilter | None, Body()] = None,
    block_types: Annotated[BlockTypeFilter | None, Body()] = None,
    block_schemas: Annotated[BlockSchemaFilter | None, Body()] = None,
) -> int:
    """Count documents; anonymous ones only if the filter says so."""
    where = block_documents or BlockDocumentFilter()
    return database.read(
        lambda connection: block_lists.count_documents(connection, database.dialect, where, block_types, block_schemas)
    )


@router.get("/{id}", operation_id="read_block_document_by_id", response_model=BlockDocument)
def read(id: UUID, database: Database, include_secrets: Annotated[bool, Query()] = False) -> Response:
    """Return a document; its secrets are asterisks unless they are asked for."""
    return answers.one(
        database.read(lambda connection: _read(connection, database, id, include_secrets=include_secrets))
    )


@router.patch("/{id}", operation_id="update_block_document_data", status_code=status.HTTP_204_NO_CONTENT)
def update(id: UUID, body: BlockDocumentUpdate, database: Database) -> None:
    """Change the values of a document."""
    try:
        database.change(
            lambda connection: block_lists.change_document(
                connection,
                database.dialect,
                database.cipher,
                id,
                data=body.data,
                schema_id=body.block_schema_id,
                secret_paths=body.secret_paths,
                merges=body.merge_existing_data,
                now=utcnow(),
            )
        )
    except ValueError as error:
        raise HTTPException(status.HTTP_400_BAD_REQUEST, str(error)) from error


@router.delete("/{id}", operation_id="delete_block_document", status_code=status.HTTP_204_NO_CONTENT)
def delete(id: UUID, database: Database) -> None:
    """Delete a document."""
    database.control.blocks.delete_document(id)


def _read(connection: Connection, database: Gateway, document_id: UUID, *, include_secrets: bool) -> BlockDocument:
    found = block_lists.read_documents(
        connection, database.cipher, [block_document.c.id == document_id], include_secrets=include_secrets
    )
    if not found:
        raise ObjectNotFound("block document", document_id)
    return BlockDocument.of(found[0])
