"""Blocks, as the REST API has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self, cast
from uuid import UUID

from pydantic import Field

from flowyard.schemas.api.base import Body, DateTime, Model, Operator
from flowyard.schemas.api.criteria import AnyId, AnyText, AnyTextOrLike, IsTrue
from flowyard.schemas.api.names import Name
from flowyard.schemas.blocks import BlockDocumentRecord, BlockSchemaRecord, BlockTypeRecord, referred_id
from flowyard.schemas.ids import new_id


class BlockDocumentCreate(Body):
    """What creates a block document."""

    name: str | None = None
    """Of lowercase letters, digits and dashes; an anonymous document without one gets one."""
    data: dict[str, Any] = Field(default_factory=dict[str, Any])
    block_schema_id: UUID
    block_type_id: UUID
    is_anonymous: bool = False
    secret_paths: list[list[str]] = Field(default_factory=list[list[str]])
    """Ours: where in `data` secrets are, besides those that the schema tells of."""


class BlockDocumentFilterBlockTypeId(AnyId):
    """Block documents of block types."""


class BlockDocumentFilterId(AnyId):
    """Block documents by their id."""


class BlockDocumentFilterIsAnonymous(IsTrue):
    """Anonymous block documents, or those with a name of their own."""


class BlockDocumentFilterName(AnyTextOrLike):
    """Block documents by their name."""


class BlockDocumentFilter(Body):
    """Which block documents to take; a field that is None takes all."""

    operator: Operator = Operator.and_
    id: BlockDocumentFilterId | None = None
    is_anonymous: BlockDocumentFilterIsAnonymous | None = Field(
        default_factory=lambda: BlockDocumentFilterIsAnonymous(eq_=False)
    )
    """Only named documents unless it is said, with None for both kinds."""
    block_type_id: BlockDocumentFilterBlockTypeId | None = None
    name: BlockDocumentFilterName | None = None


class BlockDocumentUpdate(Body):
    """What can be changed of a block document; a field that is left out stays."""

    block_schema_id: UUID | None = None
    """Another schema of the same block type."""
    data: dict[str, Any] = Field(default_factory=dict[str, Any])
    merge_existing_data: bool = True
    """Whether fields that `data` does not name stay, and secrets that it shows as asterisks."""
    secret_paths: list[list[str]] = Field(default_factory=list[list[str]])
    """Ours: where in `data` secrets are, besides those that the schema tells of."""


class BlockSchemaCreate(Body):
    """What creates a block schema."""

    fields: dict[str, Any] = Field(default_factory=dict[str, Any])
    block_type_id: UUID | None
    capabilities: list[str] = Field(default_factory=list[str])
    version: str = "non-versioned"


class BlockSchemaFilterBlockTypeId(AnyId):
    """Block schemas of block types."""


class BlockSchemaFilterCapabilities(Body):
    """Block schemas by their capabilities."""

    all_: list[str] | None = None


class BlockSchemaFilterId(AnyId):
    """Block schemas by their id."""


class BlockSchemaFilterVersion(AnyText):
    """Block schemas by their version."""


class BlockSchemaFilter(Body):
    """Which block schemas to take; a field that is None takes all."""

    operator: Operator = Operator.and_
    block_type_id: BlockSchemaFilterBlockTypeId | None = None
    block_capabilities: BlockSchemaFilterCapabilities | None = None
    id: BlockSchemaFilterId | None = None
    version: BlockSchemaFilterVersion | None = None


class BlockType(Model):
    """A kind of block, known by its slug."""

    id: UUID = Field(default_factory=new_id)
    created: DateTime | None = None
    updated: DateTime | None = None
    name: str
    slug: str
    logo_url: Annotated[str, Field(min_length=1, max_length=2083)] | None = None
    documentation_url: Annotated[str, Field(min_length=1, max_length=2083)] | None = None
    description: str | None = None
    code_example: str | None = None
    is_protected: bool = False
    """Whether it is built in and cannot be deleted."""

    @classmethod
    def of(cls, record: BlockTypeRecord) -> Self:
        """Return a stored block type as the API shows it."""
        return cls.model_validate(record, from_attributes=True)


class BlockSchema(Model):
    """The fields of a block type at one time: known by checksum and version."""

    id: UUID = Field(default_factory=new_id)
    created: DateTime | None = None
    updated: DateTime | None = None
    checksum: str
    fields: dict[str, Any] = Field(default_factory=dict[str, Any])
    block_type_id: UUID | None
    block_type: BlockType | None = None
    capabilities: list[str] = Field(default_factory=list[str])
    version: str = "non-versioned"

    @classmethod
    def of(cls, record: BlockSchemaRecord, kind: BlockTypeRecord | None) -> Self:
        """Return a stored schema, with its type, as the API shows it."""
        schema = cls.model_validate(record, from_attributes=True)
        schema.block_type = None if kind is None else BlockType.of(kind)
        return schema


class BlockDocument(Model):
    """The values of a saved block; documents that it refers to are part of `data`."""

    id: UUID = Field(default_factory=new_id)
    created: DateTime | None = None
    updated: DateTime | None = None
    name: str | None = None
    data: dict[str, Any] = Field(default_factory=dict[str, Any])
    block_schema_id: UUID
    block_schema: BlockSchema | None = None
    block_type_id: UUID
    block_type_name: str | None = None
    block_type: BlockType | None = None
    block_document_references: dict[str, dict[str, Any]] = Field(default_factory=dict[str, dict[str, Any]])
    """Field that holds another document -> `{"block_document": ...}` with its id, name, type and own references."""
    is_anonymous: bool = False

    @classmethod
    def of(cls, record: BlockDocumentRecord) -> Self:
        """Return a stored document, read with what it refers to, as the API shows it."""
        data, references = _with_referred(record.data, record.references)
        kind, schema = record.block_type, record.block_schema
        return cls(
            id=record.id,
            created=record.created,
            updated=record.updated,
            name=record.name,
            data=data,
            block_schema_id=record.block_schema_id,
            block_schema=None if schema is None else BlockSchema.of(schema, kind),
            block_type_id=record.block_type_id,
            block_type_name=None if kind is None else kind.name,
            block_type=None if kind is None else BlockType.of(kind),
            block_document_references=references,
            is_anonymous=record.is_anonymous,
        )


def _with_referred(
    data: dict[str, Any], documents: Mapping[str, BlockDocumentRecord]
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Return data with that of other documents in the place of references, and what the references of fields lead to.

    A reference to a document that is gone stays.
    """
    references: dict[str, dict[str, Any]] = {}
    for name, value in data.items():
        target = documents.get(str(referred_id(value)))
        if target is not None:
            references[name] = {
                "block_document": {
                    "id": str(target.id),
                    "name": target.name,
                    "block_type": None
                    if target.block_type is None
                    else BlockType.of(target.block_type).model_dump(mode="json"),
                    "is_anonymous": target.is_anonymous,
                    "block_document_references": _with_referred(target.data, documents)[1],
                }
            }
    return {name: _filled(value, documents) for name, value in data.items()}, references


def _filled(value: Any, documents: Mapping[str, BlockDocumentRecord]) -> Any:
    target = documents.get(str(referred_id(value)))
    if target is not None:
        return _with_referred(target.data, documents)[0]
    if isinstance(value, dict):
        return {key: _filled(item, documents) for key, item in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return [_filled(item, documents) for item in cast("list[Any]", value)]
    return value


class BlockTypeCreate(Body):
    """What creates a block type."""

    name: Name
    slug: Annotated[str, Field(pattern="^[a-z0-9-]+$")]
    """Lowercase letters, digits and dashes."""
    logo_url: Annotated[str, Field(min_length=1, max_length=2083)] | None = None
    documentation_url: Annotated[str, Field(min_length=1, max_length=2083)] | None = None
    description: str | None = None
    code_example: str | None = None


class BlockTypeFilterName(Body):
    """Block types by their name."""

    like_: str | None = None


class BlockTypeFilterSlug(AnyText):
    """Block types by their slug."""


class BlockTypeFilter(Body):
    """Which block types to take; a field that is None takes all."""

    name: BlockTypeFilterName | None = None
    slug: BlockTypeFilterSlug | None = None


class BlockTypeUpdate(Body):
    """What can be changed of a block type; a field that is left out stays."""

    logo_url: Annotated[str, Field(min_length=1, max_length=2083)] | None = None
    documentation_url: Annotated[str, Field(min_length=1, max_length=2083)] | None = None
    description: str | None = None
    code_example: str | None = None
