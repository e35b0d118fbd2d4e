"""Values held to JSON schemas: the parameters of flow runs, the job variables of work pools."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from referencing import Registry
from referencing.exceptions import Unresolvable

from flowyard.exceptions import InvalidValues, UnusableSchema

_MOST_PROBLEMS = 20


def check(what: str, values: Mapping[str, Any], schema: Mapping[str, Any], *, ignore_required: bool = False) -> None:
    """Hold values to a schema. What is not required may be null, as Prefect 2 has it.

    Args:
        what: the plural noun for the message, such as `parameters`.
        values: an object.
        schema: of an object; no reference in it is fetched from anywhere.
        ignore_required: values that are missing are no problem: they come later.

    Raises:
        InvalidValues: they do not fit.
        UnusableSchema: the schema is none, or leads in a circle.
    """
    found = problems_of(what, values, schema, prepared=_prepared(schema, ignore_required=ignore_required))
    if found:
        found.sort(key=lambda problem: list(map(str, problem.absolute_path)))
        raise InvalidValues(what, tuple(_described(problem) for problem in found))


def problems_of(
    what: str, values: Mapping[str, Any], schema: Mapping[str, Any], *, prepared: Mapping[str, Any] | None = None
) -> list[Any]:
    """Return what is wrong about values, at most 20 errors of `jsonschema`.

    Args:
        what: the plural noun for the message about a schema, such as `parameters`.
        values: an object.
        schema: of an object, which is checked itself; no reference in it is fetched from anywhere.
        prepared: hold the values to this form of it.

    Raises:
        UnusableSchema: the schema is none, or leads in a circle.
    """
    try:
        # Without a registry of our own the library fetches what a schema refers to from the network.
        validator: Any = cast("Any", Draft202012Validator)(
            schema if prepared is None else prepared, registry=cast("Any", Registry)()
        )
        Draft202012Validator.check_schema(schema)
        found: list[Any] = []
        for problem in validator.iter_errors(values):
            found.append(problem)
            if len(found) == _MOST_PROBLEMS:
                break
    except SchemaError as error:
        raise UnusableSchema(what, error.message) from error
    except Unresolvable as error:
        raise UnusableSchema(what, f"it refers to {error.ref!r}, which is not in it") from error
    except RecursionError as error:
        raise UnusableSchema(what, "it has circular references") from error
    except re.error as error:
        raise UnusableSchema(what, f"it has a pattern that is no regular expression: {error}") from error
    return found


def _described(problem: Any) -> str:
    place = ".".join(map(str, problem.absolute_path))
    return f"{place}: {problem.message}" if place else f"{problem.message}"


def _prepared(schema: Mapping[str, Any], *, ignore_required: bool) -> dict[str, Any]:
    prepared = dict(schema)
    required = cast("list[str]", prepared.get("required") or [])
    if ignore_required:
        prepared.pop("required", None)
    properties = prepared.get("properties")
    if isinstance(properties, dict):
        prepared["properties"] = {
            name: prop if name in required or not isinstance(prop, dict) else _nullable(cast("dict[str, Any]", prop))
            for name, prop in cast("dict[str, Any]", properties).items()
        }
    return prepared


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    kept = {name: schema[name] for name in ("title", "description", "default", "position") if name in schema}
    return {**kept, "anyOf": [schema, {"type": "null"}]}


def defaults_of(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that a schema gives to properties that are left out."""
    properties = cast("dict[str, Any]", schema.get("properties") or {})
    return {name: prop["default"] for name, prop in properties.items() if isinstance(prop, dict) and "default" in prop}
