"""What is wrong about values, as a tree that a form can show beside its fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from flowyard.services.json_schemas import problems_of

Errors = list[Any]
"""Messages, and `{"property": name, "errors": ...}` or `{"index": number, "errors": ...}` of parts of the value."""


def value_errors(schema: Mapping[str, Any], values: Mapping[str, Any]) -> Errors:
    """Return what is wrong about values; nothing when they fit the schema.

    Raises:
        UnusableSchema: the schema is none, or leads in a circle.
    """
    found: Errors = []
    for problem in problems_of("values", values, schema):
        path = list(problem.absolute_path)
        if problem.validator == "required":
            # The problem is one of the object; a form shows it at the field that is empty.
            missing = [name for name in problem.validator_value if name not in problem.instance]
            path.append(next(name for name in missing if repr(name) in problem.message))
        _add(found, path, problem.message)
    return found


def _add(errors: Errors, path: list[str | int], message: str) -> None:
    if not path:
        errors.append(message)
        return
    key = "index" if isinstance(path[0], int) else "property"
    for part in errors:
        if isinstance(part, dict) and cast("dict[str, Any]", part).get(key) == path[0]:
            _add(cast("dict[str, Any]", part)["errors"], path[1:], message)
            return
    inner: Errors = []
    errors.append({key: path[0], "errors": inner})
    _add(inner, path[1:], message)
