"""Blocks, as the REST API has them."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from pydantic import Field

from flowyard.schemas.api.base import Body, DateTime, Model, Operator
from flowyard.schemas.ids import new_id


class BlockDocumentCreate(Body):
    """What creates a block document."""

    name: str | None = None
    data: dict[str, Any] = Field(default_factory=dict[str, Any])
    block_schema_id: UUID
    block_type_id: UUID
    is_anonymous: bool = False


class BlockDocumentFilterBlockTypeId(Body):
    """Block documents by their block type id."""

    any_: list[UUID] | None = None


class BlockDocumentFilterId(Body):
    """Block documents by their id."""

    any_: list[UUID] | None = None


class BlockDocumentFilterIsAnonymous(Body):
    """Block documents by their is anonymous."""

    eq_: bool | None = None


class BlockDocumentFilterName(Body):
    """Block documents by their name."""

    any_: list[str] | None = None
    like_: str | None = None


class BlockDocumentFilter(Body):
    """Which block documents to take; a field that is None takes all."""

    operator: Operator = Operator.and_
    id: BlockDocumentFilterId | None = None
    is_anonymous: BlockDocumentFilterIsAnonymous | None = None
    block_type_id: BlockDocumentFilterBlockTypeId | None = None
    name: BlockDocumentFilterName | None = None


class BlockDocumentUpdate(Body):
    """What can be changed of a block document; a field that is left out stays."""

    block_schema_id: UUID | None = None
    data: dict[str, Any] = Field(default_factory=dict[str, Any])
    merge_existing_data: bool = True


class BlockSchemaCreate(Body):
    """What creates a block schema."""

    fields: dict[str, Any] = Field(default_factory=dict[str, Any])
    block_type_id: UUID | None
    capabilities: list[str] = Field(default_factory=list[str])
    version: str = "non-versioned"


class BlockSchemaFilterBlockTypeId(Body):
    """Block schemas by their block type id."""

    any_: list[UUID] | None = None


class BlockSchemaFilterCapabilities(Body):
    """Block schemas by their capabilities."""

    all_: list[str] | None = None


class BlockSchemaFilterId(Body):
    """Block schemas by their id."""

    any_: list[UUID] | None = None


class BlockSchemaFilterVersion(Body):
    """Block schemas by their version."""

    any_: list[str] | None = None


class BlockSchemaFilter(Body):
    """Which block schemas to take; a field that is None takes all."""

    operator: Operator = Operator.and_
    block_type_id: BlockSchemaFilterBlockTypeId | None = None
    block_capabilities: BlockSchemaFilterCapabilities | None = None
    id: BlockSchemaFilterId | None = None
    version: BlockSchemaFilterVersion | None = None


class BlockType(Model):
    """A block type."""

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


class BlockSchema(Model):
    """A block schema."""

    id: UUID = Field(default_factory=new_id)
    created: DateTime | None = None
    updated: DateTime | None = None
    checksum: str
    fields: dict[str, Any] = Field(default_factory=dict[str, Any])
    block_type_id: UUID | None
    block_type: BlockType | None = None
    capabilities: list[str] = Field(default_factory=list[str])
    version: str = "non-versioned"


class BlockDocument(Model):
    """A block document."""

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
    is_anonymous: bool = False


class BlockTypeCreate(Body):
    """What creates a block type."""

    name: str
    slug: str
    logo_url: Annotated[str, Field(min_length=1, max_length=2083)] | None = None
    documentation_url: Annotated[str, Field(min_length=1, max_length=2083)] | None = None
    description: str | None = None
    code_example: str | None = None


class BlockTypeFilterName(Body):
    """Block types by their name."""

    like_: str | None = None


class BlockTypeFilterSlug(Body):
    """Block types by their slug."""

    any_: list[str] | None = None


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
