"""The filter of variables."""

from __future__ import annotations

from collections.abc import Iterable

from flowyard.schemas.api.variables import VariableFilter
from flowyard.store.dialects import Dialect
from flowyard.store.filtering.conditions import Condition, combined, has_tags, is_any, is_like
from flowyard.store.variables import variable


def variable_condition(dialect: Dialect, where: VariableFilter) -> Condition:
    """Return the condition of one filter on the rows of `variable`."""
    return combined(_parts(dialect, where), where.operator)


def _parts(dialect: Dialect, where: VariableFilter) -> Iterable[Condition]:
    if where.id is not None:
        yield combined(is_any(variable.c.id, where.id.any_))
    if where.name is not None:
        yield combined([*is_any(variable.c.name, where.name.any_), *is_like(variable.c.name, where.name.like_)])
    if where.value is not None:
        text = dialect.json_text(variable.c.value)
        yield combined([*is_any(variable.c.value, where.value.any_), *is_like(text, where.value.like_)])
    if where.tags is not None:
        tags = where.tags
        yield combined(has_tags(dialect, variable.c.tags, all_=tags.all_, is_null_=tags.is_null_), tags.operator)
