"""Block types, schemas and documents as they are stored and travel. Light: pydantic is not loaded."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from flowyard.schemas.ids import new_id
from flowyard.schemas.runs import utcnow

NON_VERSIONED = "non-versioned"
"""The version of a schema whose class and package have none."""


@dataclass(slots=True)
class BlockTypeRecord:
    """A kind of block: known by its slug."""

    name: str
    slug: str
    logo_url: str | None = None
    documentation_url: str | None = None
    description: str | None = None
    code_example: str | None = None
    is_protected: bool = False
    origin: str | None = None
    """Where its class is, for who has to install it: `module:Class (distribution version)`."""
    id: UUID = field(default_factory=new_id)
    created: datetime = field(default_factory=utcnow)
    updated: datetime = field(default_factory=utcnow)


@dataclass(slots=True)
class BlockSchemaRecord:
    """The fields of a block type at one time: known by checksum and version."""

    checksum: str
    block_type_id: UUID
    fields: dict[str, Any] = field(default_factory=dict[str, Any])
    """JSON schema with `block_type_slug`, `secret_fields` and `block_schema_references`."""
    capabilities: list[str] = field(default_factory=list[str])
    version: str = NON_VERSIONED
    id: UUID = field(default_factory=new_id)
    created: datetime = field(default_factory=utcnow)
    updated: datetime = field(default_factory=utcnow)


@dataclass(slots=True)
class BlockDocumentRecord:
    """The values of a saved block."""

    name: str
    block_type_id: UUID
    block_schema_id: UUID
    data: dict[str, Any] = field(default_factory=dict[str, Any], repr=False)
    """JSON; another document is named by `{"$ref": {"block_document_id": ID}}`. Secrets are plain here."""
    secret_paths: list[list[str]] = field(default_factory=list[list[str]])
    """Where in `data` the saver saw secrets, besides those that the schema tells of."""
    is_anonymous: bool = False
    id: UUID = field(default_factory=new_id)
    created: datetime = field(default_factory=utcnow)
    updated: datetime = field(default_factory=utcnow)
    # Only in what is read:
    block_type: BlockTypeRecord | None = None
    block_schema: BlockSchemaRecord | None = None
    references: dict[str, BlockDocumentRecord] = field(default_factory=dict[str, "BlockDocumentRecord"], repr=False)
    """Every document that this one leads to, by the text of its id; those have no `references` of their own."""


@dataclass(frozen=True, slots=True)
class BlockDocumentFilter:
    """Block documents that match every criterion that is set."""

    ids: tuple[UUID, ...] | None = None
    names: tuple[str, ...] | None = None
    block_type_slugs: tuple[str, ...] | None = None
    is_anonymous: bool | None = False
    """None: named and anonymous ones."""


def reference_to(document_id: UUID) -> dict[str, Any]:
    """Return what stands in a document for another one."""
    return {"$ref": {"block_document_id": str(document_id)}}


def referred_id(value: object) -> UUID | None:
    """Return the id of the document that a value in `data` stands for; None when it is a value."""
    match value:
        case {"$ref": {"block_document_id": str(text)}} | {"$ref": str(text)}:
            try:
                return UUID(text)
            except ValueError:
                return None
        case _:
            return None
