"""Blocks in the database of this process."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

from sqlalchemy.engine import Connection
from typing_extensions import override

from flowyard.journal.sql import SqlJournal
from flowyard.local.reading import Reader
from flowyard.ports.blocks import BlockStore
from flowyard.schemas.blocks import BlockDocumentFilter, BlockDocumentRecord, BlockSchemaRecord, BlockTypeRecord
from flowyard.services.encryption import Vault
from flowyard.store import block_documents, blocks
from flowyard.store.database import Database

_NAMED = BlockDocumentFilter()


class LocalBlocks(BlockStore):
    """Changes on the journal's writer thread, reads on connections of their own."""

    def __init__(self, database: Database, journal: SqlJournal, *, key: str | None, folder: Path | None) -> None:
        self._dialect = database.dialect
        self._journal = journal
        self._read = Reader(database, journal)
        self._vault = Vault(database.dialect, key=key, folder=folder)

    @property
    def vault(self) -> Vault:
        """What encrypts secrets here."""
        return self._vault

    @override
    def register_type(self, record: BlockTypeRecord) -> BlockTypeRecord:
        return self._journal.execute(lambda connection: blocks.register_type(connection, self._dialect, record))

    @override
    def read_type(self, slug: str) -> BlockTypeRecord:
        return self._read(lambda connection: blocks.read_type(connection, slug))

    @override
    def read_types(self, *, limit: int = 200, offset: int = 0) -> list[BlockTypeRecord]:
        return self._read(lambda connection: blocks.read_types(connection, limit=limit, offset=offset))

    @override
    def delete_type(self, slug: str) -> None:
        def delete(connection: Connection) -> None:
            block_documents.remove_of_type(connection, blocks.delete_type(connection, slug))

        self._journal.execute(delete)

    @override
    def register_schema(self, record: BlockSchemaRecord) -> BlockSchemaRecord:
        return self._journal.execute(lambda connection: blocks.register_schema(connection, self._dialect, record))

    @override
    def read_schema(self, checksum: str, version: str | None = None) -> BlockSchemaRecord:
        return self._read(lambda connection: blocks.read_schema(connection, checksum, version))

    @override
    def read_schemas(self, slug: str) -> list[BlockSchemaRecord]:
        return self._read(lambda connection: blocks.read_schemas(connection, slug))

    @override
    def save_document(self, record: BlockDocumentRecord, *, overwrite: bool = False) -> BlockDocumentRecord:
        return self._journal.execute(
            lambda connection: block_documents.save(connection, self._dialect, self._vault, record, overwrite=overwrite)
        )

    @override
    def read_document(self, document_id: UUID, *, include_secrets: bool = True) -> BlockDocumentRecord:
        return self._read(
            lambda connection: block_documents.read(
                connection, self._vault, document_id, include_secrets=include_secrets
            )
        )

    @override
    def find_document(self, slug: str, name: str) -> UUID:
        return self._read(lambda connection: block_documents.find(connection, slug, name))

    @override
    def read_documents(
        self, where: BlockDocumentFilter | None = None, *, limit: int = 200, offset: int = 0
    ) -> list[BlockDocumentRecord]:
        return self._read(
            lambda connection: block_documents.read_many(
                connection, self._vault, where or _NAMED, limit=limit, offset=offset
            )
        )

    @override
    def count_documents(self, where: BlockDocumentFilter | None = None) -> int:
        return self._read(lambda connection: block_documents.count(connection, where or _NAMED))

    @override
    def delete_document(self, document_id: UUID) -> None:
        self._journal.execute(lambda connection: block_documents.remove(connection, document_id))
