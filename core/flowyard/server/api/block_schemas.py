"""Block schemas, told apart by checksum and version, and what blocks can do."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Body, HTTPException, Query, Response, status
from sqlalchemy.engine import Connection

from flowyard.rules.block_schemas import checksum_of
from flowyard.schemas.api.blocks import BlockSchema, BlockSchemaCreate, BlockSchemaFilter
from flowyard.schemas.blocks import BlockSchemaRecord
from flowyard.server import answers
from flowyard.server.dependencies import Database, PageOf
from flowyard.server.routes import Routes
from flowyard.store import block_lists, blocks

router = Routes(prefix="/block_schemas", tags=["Block schemas"])
capabilities_router = Routes(prefix="/block_capabilities", tags=["Block capabilities"])


@router.post("/", operation_id="create_block_schema", response_model=BlockSchema, status_code=status.HTTP_201_CREATED)
def create(body: BlockSchemaCreate, database: Database) -> Response:
    """Store a schema, or find the one that has its checksum and version."""
    if body.block_type_id is None:
        raise HTTPException(status.HTTP_404_NOT_FOUND, "Block type None not found.")
    record = BlockSchemaRecord(
        checksum=checksum_of(body.fields),
        block_type_id=body.block_type_id,
        fields=body.fields,
        capabilities=body.capabilities,
        version=body.version,
    )

    def register(connection: Connection) -> tuple[BlockSchema, bool]:
        stored, is_new = block_lists.register_schema(connection, database.dialect, record)
        return _shown(connection, stored), is_new

    made, is_new = database.change(register)
    return answers.created(made, is_new=is_new)


@router.post("/filter", operation_id="read_block_schemas", response_model=list[BlockSchema])
def read_many(
    database: Database,
    page: PageOf,
    block_schemas: Annotated[BlockSchemaFilter | None, Body()] = None,
) -> Response:
    """Return schemas, newest first."""

    def query(connection: Connection) -> list[BlockSchema]:
        found = block_lists.read_schemas(connection, database.dialect, block_schemas, page)
        kinds = blocks.read_types_by_id(connection, {record.block_type_id for record in found})
        return [BlockSchema.of(record, kinds.get(record.block_type_id)) for record in found]

    return answers.many(BlockSchema, database.read(query))


@router.get("/checksum/{checksum}", operation_id="read_block_schema_by_checksum", response_model=BlockSchema)
def read_by_checksum(checksum: str, database: Database, version: Annotated[str | None, Query()] = None) -> Response:
    """Return the schema of a checksum; without a version the newest one."""
    found = database.read(lambda connection: _shown(connection, blocks.read_schema(connection, checksum, version)))
    return answers.one(found)


@router.get("/{id}", operation_id="read_block_schema_by_id", response_model=BlockSchema)
def read(id: UUID, database: Database) -> Response:
    """Return a schema."""
    return answers.one(database.read(lambda connection: _shown(connection, block_lists.read_schema(connection, id))))


@router.delete("/{id}", operation_id="delete_block_schema", status_code=status.HTTP_204_NO_CONTENT)
def delete(id: UUID, database: Database) -> None:
    """Delete a schema with the documents that have it, unless its type is built in."""
    database.change(lambda connection: block_lists.delete_schema(connection, id))


@capabilities_router.get("/", operation_id="read_available_block_capabilities")
def read_capabilities(database: Database) -> list[str]:
    """Return what the blocks of any schema can do."""
    return database.read(block_lists.capabilities)


def _shown(connection: Connection, record: BlockSchemaRecord) -> BlockSchema:
    return BlockSchema.of(record, blocks.read_types_by_id(connection, {record.block_type_id}).get(record.block_type_id))
