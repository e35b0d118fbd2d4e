"""Placeholders in parameters and job variables: objects with the key `__prefect_kind`, filled in where a run is made.

| kind | what it stands for |
|---|---|
| `none` | its `value` |
| `json` | what the JSON text in `value` says |
| `jinja` | the text that the template in `template` makes |
| `workspace_variable` | the value of the variable `variable_name` |

One without its `value`, `template` or `variable_name` stands for nothing: what held it is without it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, cast

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from flowyard.exceptions import UnresolvedPlaceholder

KIND = "__prefect_kind"
_DEEPEST = 100
_NOTHING = object()


def fill_in(
    values: Mapping[str, Any], *, variable: Callable[[str], Any], context: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return values without placeholders.

    Args:
        values: JSON values.
        variable: returns the value of a variable by its name; raises LookupError when there is none.
        context: what templates can name.

    Raises:
        UnresolvedPlaceholder: one cannot be filled in.
    """
    return cast("dict[str, Any]", _Filler(variable, context or {}).fill(dict(values), 0))


def has_placeholders(value: Any) -> bool:
    """Say whether there is a placeholder anywhere in a JSON value."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            if KIND in item:
                return True
            waiting.extend(cast("dict[str, Any]", item).values())
        elif isinstance(item, list):
            waiting.extend(cast("list[Any]", item))
    return False


class _Filler:
    def __init__(self, variable: Callable[[str], Any], context: Mapping[str, Any]) -> None:
        self._variable = variable
        self._context = context
        # A template comes from a client and must not reach what the server's Python can.
        self._jinja = ImmutableSandboxedEnvironment(autoescape=False)

    def fill(self, value: Any, depth: int) -> Any:
        if depth > _DEEPEST:
            raise UnresolvedPlaceholder("nested", f"values are nested more than {_DEEPEST} deep")
        if isinstance(value, dict):
            items = cast("dict[str, Any]", value)
            if KIND in items:
                return self._resolve(items, depth)
            filled = {key: self.fill(item, depth + 1) for key, item in items.items()}
            return {key: item for key, item in filled.items() if item is not _NOTHING}
        if isinstance(value, list):
            found = [self.fill(item, depth + 1) for item in cast("list[Any]", value)]
            return [item for item in found if item is not _NOTHING]
        return value

    def _resolve(self, placeholder: dict[str, Any], depth: int) -> Any:
        kind = placeholder[KIND]
        field = {"none": "value", "json": "value", "jinja": "template", "workspace_variable": "variable_name"}
        if not isinstance(kind, str) or kind not in field:
            raise UnresolvedPlaceholder(str(kind), f"there are these kinds: {', '.join(field)}")
        value = self.fill(placeholder.get(field[kind], _NOTHING), depth + 1)
        if value is _NOTHING or kind == "none":
            return value
        if not isinstance(value, str):
            raise UnresolvedPlaceholder(kind, f"its {field[kind]} is no text: {value!r}")
        if kind == "json":
            return self._json(value)
        return self._template(value) if kind == "jinja" else self._named(value)

    def _json(self, text: str) -> Any:
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UnresolvedPlaceholder("json", f"{text[:200]!r} is no JSON: {error}") from error

    def _template(self, text: str) -> str:
        try:
            return self._jinja.from_string(text).render(self._context)
        except (TemplateError, ArithmeticError, TypeError, ValueError, LookupError, RecursionError) as error:
            raise UnresolvedPlaceholder("jinja", f"{text[:200]!r}: {error}") from error

    def _named(self, name: str) -> Any:
        try:
            return self._variable(name)
        except LookupError as error:
            raise UnresolvedPlaceholder("workspace_variable", f"there is no variable {name!r}") from error
