"""What the fields of the filters ask for; each filter has its own name for it, as the OpenAPI document has them."""

from __future__ import annotations

from uuid import UUID

from flowyard.schemas.api.base import Body, DateTime, Operator
from flowyard.schemas.states import StateType


class AnyId(Body):
    """One of some ids."""

    any_: list[UUID] | None = None


class AnyIdButNot(AnyId):
    """One of some ids, and none of others."""

    not_any_: list[UUID] | None = None


class AnyIdOrNull(Body):
    """One of some ids, or whether there is one."""

    operator: Operator = Operator.and_
    any_: list[UUID] | None = None
    is_null_: bool | None = None


class AnyText(Body):
    """One of some texts."""

    any_: list[str] | None = None


class AnyTextButNot(AnyText):
    """One of some texts, and none of others."""

    not_any_: list[str] | None = None


class AnyTextOrNull(Body):
    """One of some texts, or whether there is one."""

    operator: Operator = Operator.and_
    any_: list[str] | None = None
    is_null_: bool | None = None


class AnyTextOrLike(AnyText):
    """One of some texts, or one that has a text in it."""

    like_: str | None = None


class AnyStateType(Body):
    """One of some types of states."""

    any_: list[StateType] | None = None


class Between(Body):
    """A time before one and after another."""

    before_: DateTime | None = None
    after_: DateTime | None = None


class BetweenOrNull(Between):
    """A time before one and after another, or whether there is one."""

    is_null_: bool | None = None


class HasTags(Body):
    """All of some tags, or whether there are any."""

    operator: Operator = Operator.and_
    all_: list[str] | None = None
    is_null_: bool | None = None


class IsTrue(Body):
    """Yes or no."""

    eq_: bool | None = None
