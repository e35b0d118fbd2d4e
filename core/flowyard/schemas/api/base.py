"""What all bodies and answers of the REST API share: their bases, and how times look on the wire."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, PlainSerializer, WithJsonSchema


def _in_utc(value: datetime) -> datetime:
    # A time without a zone is taken as UTC, as Prefect 2 does.
    try:
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("in UTC it is before the year 1 or after the year 9999") from error


_set = object.__setattr__

DateTime = Annotated[
    datetime,
    AfterValidator(_in_utc),
    # `+00:00`, not `Z`: what Prefect 2 sends, and what scripts that compare texts expect.
    PlainSerializer(datetime.isoformat, return_type=str, when_used="json"),
]
"""A time in UTC; ISO 8601 with `+00:00` on the wire."""

Seconds = Annotated[
    timedelta,
    PlainSerializer(timedelta.total_seconds, return_type=float, when_used="json"),
    WithJsonSchema({"type": "number", "format": "time-delta"}),
]
"""A duration; seconds as a number on the wire."""


class Model(BaseModel):
    """An object of an answer; fields that it does not know are ignored, so that a newer server can be read."""

    model_config = ConfigDict(extra="ignore")

    @classmethod
    def trusted(cls, values: dict[str, Any]) -> Self:
        """Return an object whose fields are these values, all of them and of the right types: nothing is looked at.

        What `model_construct` does in a tenth of its time; a list of 200 runs is 600 objects.
        """
        made = cls.__new__(cls)
        _set(made, "__dict__", values)
        _set(made, "__pydantic_fields_set__", set[str]())
        _set(made, "__pydantic_extra__", None)
        _set(made, "__pydantic_private__", None)
        return made


class Body(BaseModel):
    """What a client sends: a field that is not known is an error, because leaving it out would change the meaning."""

    # Not-a-number and the infinities would be null in the answers.
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Operator(StrEnum):
    """How the fields of a filter are put together."""

    and_ = "and_"
    or_ = "or_"


class CreatedBy(Model):
    """Who made an object."""

    id: UUID | None = None
    type: str | None = None
    display_value: str | None = None


class UpdatedBy(CreatedBy):
    """Who changed an object last."""
