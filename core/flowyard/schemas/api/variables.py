"""Variables, as the REST API has them."""

from __future__ import annotations

import json
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import Field

from flowyard.schemas.api.base import Body, DateTime, Model, Operator
from flowyard.schemas.api.criteria import AnyId, AnyTextOrLike, HasTags
from flowyard.schemas.ids import new_id
from flowyard.schemas.variables import VariableRecord


class Variable(Model):
    """A variable."""

    id: UUID = Field(default_factory=new_id)
    created: DateTime | None = None
    updated: DateTime | None = None
    name: Annotated[str, Field(max_length=255)]
    value: Any
    """A string for clients of Prefect 2; otherwise anything that JSON can say."""
    tags: list[str] = Field(default_factory=list[str])

    @classmethod
    def of(cls, record: VariableRecord, *, as_text: bool) -> Self:
        """Return a stored variable as the API shows it; `as_text` turns a value that is no string into JSON."""
        shown = cls.model_validate(record, from_attributes=True)
        if as_text and not isinstance(shown.value, str):
            shown.value = json.dumps(shown.value, ensure_ascii=False)
        return shown


class VariableCreate(Body):
    """What creates a variable."""

    name: Annotated[str, Field(max_length=255)]
    value: Any
    """Anything that JSON can say, in 5,000 characters."""
    tags: list[str] = Field(default_factory=list[str])


class VariableFilterId(AnyId):
    """Variables by their id."""


class VariableFilterName(AnyTextOrLike):
    """Variables by their name."""


class VariableFilterTags(HasTags):
    """Variables by their tags."""


class VariableFilterValue(AnyTextOrLike):
    """Variables by their value."""


class VariableFilter(Body):
    """Which variables to take; a field that is None takes all."""

    operator: Operator = Operator.and_
    id: VariableFilterId | None = None
    name: VariableFilterName | None = None
    value: VariableFilterValue | None = None
    tags: VariableFilterTags | None = None


class VariableUpdate(Body):
    """What can be changed of a variable; a field that is left out stays."""

    name: Annotated[str, Field(max_length=255)] | None = None
    value: Any = None
    tags: list[str] | None = None
