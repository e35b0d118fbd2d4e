"""The filter of events."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import and_, exists, not_, or_, true
from sqlalchemy.sql import ColumnElement

from flowyard.schemas.api.events import (
    EventAnyResourceFilter,
    EventFilter,
    EventNameFilter,
    EventRelatedFilter,
    EventResourceFilter,
    ResourceSpecification,
)
from flowyard.store.dialects import Dialect
from flowyard.store.events import event, event_resource
from flowyard.store.filtering.conditions import Condition, checked, is_any, is_between, one_of


def of_events(dialect: Dialect, where: EventFilter) -> Iterable[Condition]:
    """Return the conditions on the rows of `event`; `resource.distinct` is left to the query."""
    yield from is_between(event.c.occurred, before=where.occurred.until, after=where.occurred.since)
    yield from is_any(event.c.id, where.id.id)
    if where.event is not None:
        yield from _named(where.event)
    if where.resource is not None:
        yield from _of_resource(dialect, where.resource, event.c.resource_id, event.c.resource)
    if where.any_resource is not None:
        parts = _of_resource(dialect, where.any_resource, event_resource.c.resource_id, event_resource.c.labels)
        yield _has_resource(*parts)
    if where.related is not None:
        yield from _related(dialect, where.related)


def _named(where: EventNameFilter) -> Iterable[Condition]:
    yield from _starts_with(event.c.event, where.prefix)
    yield from is_any(event.c.event, where.name)
    for prefix in checked(where.exclude_prefix or ()):
        yield not_(event.c.event.startswith(prefix, autoescape=True))
    if where.exclude_name is not None:
        yield event.c.event.not_in(checked(where.exclude_name))


def _of_resource(
    dialect: Dialect,
    where: EventResourceFilter | EventAnyResourceFilter,
    identifier: ColumnElement[str],
    labels: ColumnElement[Any],
) -> Iterable[Condition]:
    if where.id is not None:
        yield one_of(identifier, where.id)
    yield from _starts_with(identifier, where.id_prefix)
    if where.labels is not None:
        yield from _labelled(dialect, labels, where.labels)


def _related(dialect: Dialect, where: EventRelatedFilter) -> Iterable[Condition]:
    is_related = event_resource.c.position > 0
    parts: list[Condition] = []
    if where.id is not None:
        parts.append(one_of(event_resource.c.resource_id, where.id))
    if where.role is not None:
        parts.append(one_of(event_resource.c.role, where.role))
    if where.labels is not None:
        parts += _labelled(dialect, event_resource.c.labels, where.labels)
    if parts:
        yield _has_resource(is_related, *parts)
    for identifier, role in checked(where.resources_in_roles or ()):
        yield _has_resource(is_related, event_resource.c.resource_id == identifier, event_resource.c.role == role)


def _has_resource(*conditions: Condition) -> Condition:
    return exists().where(event_resource.c.event_id == event.c.id, *conditions)


def _labelled(dialect: Dialect, labels: ColumnElement[Any], where: ResourceSpecification) -> Iterable[Condition]:
    for label, values in where.values().items():
        value = dialect.json_member(labels, label)
        wanted = [_is_value(value, each) for each in values if not each.startswith("!")]
        unwanted = [not_(_is_value(value, each[1:])) for each in values if each.startswith("!")]
        yield and_(value.is_not(None), or_(*wanted) if wanted else true(), *unwanted)


def _is_value(column: ColumnElement[str], value: str) -> Condition:
    if value.endswith("*"):
        return column.startswith(value[:-1], autoescape=True)
    return column == value


def _starts_with(column: ColumnElement[str], prefixes: Sequence[str] | None) -> Iterable[Condition]:
    if prefixes is not None:
        yield (
            or_(*(column.startswith(prefix, autoescape=True) for prefix in checked(prefixes))) if prefixes else ~true()
        )
