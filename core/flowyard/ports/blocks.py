"""Blocks, as the SDK, the CLI and the engine need them. Records only: each call can be made from a remote worker."""

from __future__ import annotations

from typing import Protocol
from uuid import UUID

from flowyard.schemas.blocks import BlockDocumentFilter, BlockDocumentRecord, BlockSchemaRecord, BlockTypeRecord


class BlockStore(Protocol):
    """Types, schemas and documents of blocks. Every change is durable at return."""

    def register_type(self, record: BlockTypeRecord) -> BlockTypeRecord:
        """Store a block type, or bring the one of that slug up to date, and return it as it is stored now."""
        ...

    def read_type(self, slug: str) -> BlockTypeRecord:
        """Return a block type.

        Raises:
            ObjectNotFound: there is none of that slug.
        """
        ...

    def read_types(self, *, limit: int = 200, offset: int = 0) -> list[BlockTypeRecord]:
        """Return block types in the order of their slugs."""
        ...

    def delete_type(self, slug: str) -> None:
        """Delete a block type with its schemas and documents.

        Raises:
            ObjectNotFound: there is none of that slug.
            ProtectedBlockError: it is built in.
        """
        ...

    def register_schema(self, record: BlockSchemaRecord) -> BlockSchemaRecord:
        """Store a schema, unless there is one of its checksum and version; return the one that is stored.

        Raises:
            ObjectNotFound: there is no such block type.
        """
        ...

    def read_schema(self, checksum: str, version: str | None = None) -> BlockSchemaRecord:
        """Return a schema; without a version the newest of that checksum.

        Raises:
            ObjectNotFound: there is none.
        """
        ...

    def read_schemas(self, slug: str) -> list[BlockSchemaRecord]:
        """Return the schemas of a block type, newest first."""
        ...

    def save_document(self, record: BlockDocumentRecord, *, overwrite: bool = False) -> BlockDocumentRecord:
        """Store a document under its name; secrets are encrypted on the way. Returns it without its data.

        Overwriting keeps the id and the time of creation of the document that has the name.

        Raises:
            BlockNameTaken: another document of its type has the name, and `overwrite` is not set.
            BlockCycle: it would lead back to itself.
            ObjectNotFound: its type, its schema or a document it refers to does not exist.
            WrongEncryptionKey: other secrets here were encrypted with another key; nothing is changed.
        """
        ...

    def read_document(self, document_id: UUID, *, include_secrets: bool = True) -> BlockDocumentRecord:
        """Return a document with its type, its schema and everything it refers to.

        Without `include_secrets` secrets are eight asterisks, and no key is needed.

        Raises:
            ObjectNotFound: there is none of that id, or one that it refers to is gone.
            WrongEncryptionKey: its secrets were encrypted with another key.
        """
        ...

    def find_document(self, slug: str, name: str) -> UUID:
        """Return the id of a document.

        Raises:
            BlockNotFound: there is none of that type and name.
        """
        ...

    def read_documents(
        self, where: BlockDocumentFilter | None = None, *, limit: int = 200, offset: int = 0
    ) -> list[BlockDocumentRecord]:
        """Return documents by type and name, with their types, secrets obfuscated, references not followed."""
        ...

    def count_documents(self, where: BlockDocumentFilter | None = None) -> int: ...  # noqa: D102

    def delete_document(self, document_id: UUID) -> None:
        """Delete a document; those that refer to it cannot be loaded any more.

        Raises:
            ObjectNotFound: there is none of that id.
        """
        ...
