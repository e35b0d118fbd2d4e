"""The filter of flows."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import exists

from flowyard.schemas.api.filters import FlowFilter
from flowyard.store.deployment_tables import deployment
from flowyard.store.dialects import Dialect
from flowyard.store.filtering.conditions import Condition, combined, has_tags, is_any, is_like
from flowyard.store.tables import flow


def flow_condition(dialect: Dialect, where: FlowFilter) -> Condition:
    """Return the condition of one filter on the rows of `flow`."""
    return combined(_parts(dialect, where), where.operator)


def _parts(dialect: Dialect, where: FlowFilter) -> Iterable[Condition]:
    if where.id is not None:
        yield combined(is_any(flow.c.id, where.id.any_))
    if where.name is not None:
        yield combined([*is_any(flow.c.name, where.name.any_), *is_like(flow.c.name, where.name.like_)])
    if where.tags is not None:
        tags = where.tags
        yield combined(has_tags(dialect, flow.c.tags, all_=tags.all_, is_null_=tags.is_null_), tags.operator)
    if where.deployment is not None and where.deployment.is_null_ is not None:
        is_deployed = exists().where(deployment.c.flow_id == flow.c.id)
        yield ~is_deployed if where.deployment.is_null_ else is_deployed
