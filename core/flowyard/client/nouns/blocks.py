"""Blocks: their types, their schemas, and their documents."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast
from uuid import UUID

from pydantic import SecretBytes, SecretStr

from flowyard.client.base import FlowyardHTTPStatusError
from flowyard.client.calling import call
from flowyard.client.nouns.base import Noun, in_path
from flowyard.exceptions import ProtectedBlockError
from flowyard.schemas.api.blocks import (
    BlockDocument,
    BlockDocumentCreate,
    BlockDocumentUpdate,
    BlockSchema,
    BlockSchemaCreate,
    BlockSchemaFilter,
    BlockSchemaFilterBlockTypeId,
    BlockType,
    BlockTypeCreate,
    BlockTypeUpdate,
)

_FORBIDDEN = 403


class BlockCalls(Noun):
    """What `Block.save` and `Block.load` do, one step at a time."""

    @call
    async def create_block_type(self, block_type: BlockTypeCreate) -> BlockType:
        """Store a block type.

        Raises:
            ObjectAlreadyExists: there is one of its slug.
        """
        return await self._make(BlockType, "/block_types/", block_type, about=("block type", block_type.slug))

    @call
    async def read_block_type_by_slug(self, slug: str) -> BlockType:
        """Return a block type.

        Raises:
            ObjectNotFound: there is none of that slug.
        """
        return await self._read(BlockType, f"/block_types/slug/{in_path(slug)}", about=("block type", slug))

    @call
    async def read_block_types(self) -> list[BlockType]:
        """Return block types, 200 at most."""
        return await self._list(BlockType, "/block_types/filter", {})

    @call
    async def update_block_type(self, block_type_id: UUID, block_type: BlockTypeUpdate) -> None:
        """Change what is set in an update of a block type.

        Raises:
            ObjectNotFound: there is no such block type.
        """
        path = f"/block_types/{block_type_id}"
        await self._ask("PATCH", path, json=block_type, about=("block type", block_type_id))

    @call
    async def delete_block_type(self, block_type_id: UUID) -> None:
        """Delete a block type with its schemas and documents.

        Raises:
            ObjectNotFound: there is no such block type.
            ProtectedBlockError: it is built in.
        """
        try:
            await self._ask("DELETE", f"/block_types/{block_type_id}", about=("block type", block_type_id))
        except FlowyardHTTPStatusError as error:
            if error.response.status_code == _FORBIDDEN and "protected" in error.response.text.lower():
                raise ProtectedBlockError(f"{block_type_id}") from error
            raise

    @call
    async def create_block_schema(self, block_schema: BlockSchemaCreate) -> BlockSchema:
        """Store a schema of a block type, or find the one that is the same.

        Raises:
            ObjectAlreadyExists: another one has its checksum and version.
        """
        about = ("schema of block type", block_schema.block_type_id)
        return await self._make(BlockSchema, "/block_schemas/", block_schema, about=about)

    @call
    async def read_block_schema_by_checksum(self, checksum: str, version: str | None = None) -> BlockSchema:
        """Return a schema; without a version the newest of that checksum.

        Raises:
            ObjectNotFound: there is none.
        """
        path = f"/block_schemas/checksum/{in_path(checksum)}"
        return await self._read(BlockSchema, path, params={"version": version}, about=("block schema", checksum))

    @call
    async def read_block_schemas(self) -> list[BlockSchema]:
        """Return block schemas, newest first, 200 at most."""
        return await self._list(BlockSchema, "/block_schemas/filter", {})

    @call
    async def get_most_recent_block_schema_for_block_type(self, block_type_id: UUID) -> BlockSchema | None:
        """Return the newest schema of a block type, or None if it has none."""
        where = BlockSchemaFilter(block_type_id=BlockSchemaFilterBlockTypeId(any_=[block_type_id]))
        found = await self._list(BlockSchema, "/block_schemas/filter", {"block_schemas": where, "limit": 1})
        return found[0] if found else None

    @call
    async def create_block_document(
        self, block_document: BlockDocument | BlockDocumentCreate, include_secrets: bool = True
    ) -> BlockDocument:
        """Save the values of a block.

        Args:
            block_document: values that are `SecretStr` or `SecretBytes` are kept as secrets.
            include_secrets: send them as they are; else asterisks are saved in their place.

        Raises:
            ObjectAlreadyExists: its type has a document of that name.
        """
        data = block_document.data
        body = BlockDocumentCreate(
            data=_revealed(data) if include_secrets else data,
            block_schema_id=block_document.block_schema_id,
            block_type_id=block_document.block_type_id,
            is_anonymous=block_document.is_anonymous,
            secret_paths=[list(path) for path in _secret_paths(data)],
        )
        if block_document.name is not None:
            body.name = block_document.name
        about = ("block document", block_document.name)
        return await self._make(BlockDocument, "/block_documents/", body, about=about)

    @call
    async def update_block_document(self, block_document_id: UUID, block_document: BlockDocumentUpdate) -> None:
        """Change the values of a document; what it does not name stays, unless it says otherwise.

        Raises:
            ObjectNotFound: there is no such document.
        """
        data = block_document.data
        changes: dict[str, Any] = {"data": _revealed(data)} if "data" in block_document.model_fields_set else {}
        paths = [list(path) for path in _secret_paths(data)]
        if paths:
            changes["secret_paths"] = [*block_document.secret_paths, *paths]
        body = block_document.model_copy(update=changes)
        path = f"/block_documents/{block_document_id}"
        await self._ask("PATCH", path, json=body, about=("block document", block_document_id))

    @call
    async def delete_block_document(self, block_document_id: UUID) -> None:
        """Delete a document.

        Raises:
            ObjectNotFound: there is no such document.
        """
        path = f"/block_documents/{block_document_id}"
        await self._ask("DELETE", path, about=("block document", block_document_id))

    @call
    async def read_block_document(self, block_document_id: UUID, include_secrets: bool = True) -> BlockDocument:
        """Return a document; without `include_secrets` its secrets are asterisks.

        Raises:
            ObjectNotFound: there is no such document.
        """
        path = f"/block_documents/{block_document_id}"
        params = {"include_secrets": include_secrets}
        return await self._read(BlockDocument, path, params=params, about=("block document", block_document_id))

    @call
    async def read_block_document_by_name(
        self, name: str, block_type_slug: str, include_secrets: bool = True
    ) -> BlockDocument:
        """Return the document of a name and a block type.

        Raises:
            ObjectNotFound: there is none.
        """
        path = f"/block_types/slug/{in_path(block_type_slug)}/block_documents/name/{in_path(name)}"
        about = ("block", f"{block_type_slug}/{name}")
        return await self._read(BlockDocument, path, params={"include_secrets": include_secrets}, about=about)

    @call
    async def read_block_documents(
        self,
        block_schema_type: str | None = None,
        offset: int | None = None,
        limit: int | None = None,
        include_secrets: bool = True,
    ) -> list[BlockDocument]:
        """Return documents that have names; 200 when there is no limit.

        Args:
            block_schema_type: a capability that their blocks must have, such as `get-directory`.
            offset: how many to skip.
            limit: how many at most.
            include_secrets: show secrets as they are, not as asterisks.
        """
        capabilities = None if block_schema_type is None else {"all_": [block_schema_type]}
        body = {
            "block_schemas": None if capabilities is None else {"block_capabilities": capabilities},
            "offset": offset,
            "limit": limit,
            "include_secrets": include_secrets,
        }
        return await self._list(BlockDocument, "/block_documents/filter", body)

    @call
    async def read_block_documents_by_type(
        self,
        block_type_slug: str,
        offset: int | None = None,
        limit: int | None = None,
        include_secrets: bool = True,
    ) -> list[BlockDocument]:
        """Return the documents of a block type; 200 when there is no limit."""
        body = {
            "block_types": {"slug": {"any_": [block_type_slug]}},
            "offset": offset,
            "limit": limit,
            "include_secrets": include_secrets,
        }
        return await self._list(BlockDocument, "/block_documents/filter", body)


def _revealed(value: Any) -> Any:
    if isinstance(value, (SecretStr, SecretBytes)):
        return value.get_secret_value()
    if isinstance(value, dict):
        return {key: _revealed(each) for key, each in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return [_revealed(each) for each in cast("list[Any]", value)]
    return value


def _secret_paths(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(value, (SecretStr, SecretBytes)):
        yield path
    elif isinstance(value, dict):
        for key, each in cast("dict[str, Any]", value).items():
            yield from _secret_paths(each, (*path, key))
    elif isinstance(value, list):
        for index, each in enumerate(cast("list[Any]", value)):
            yield from _secret_paths(each, (*path, str(index)))
