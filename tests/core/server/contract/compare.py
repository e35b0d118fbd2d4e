"""Compare the OpenAPI document that the server serves with the interface of Prefect 2.20's REST API.

    uv run python tests/core/server/contract/compare.py [--missing]

Prints what is missing or incompatible, and how much is there; ends with 1 unless that is everything. Every path and
method of the contract must be there, with its parameters, the fields of its body and of its answer, and what a field
can hold: a body must take at least what the contract's takes, an answer has the contract's fields and kinds of value.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CONTRACT = Path(__file__).with_name("rest-api.json")
_METHODS = ("get", "post", "put", "patch", "delete")
_ANYTHING = "anything"
_DEPTH = 12

Document = dict[str, Any]


@dataclass
class Report:
    """What was compared, and what is not as it should be."""

    checked: dict[str, int] = field(default_factory=lambda: {"operations": 0, "parameters": 0, "fields": 0})
    wrong: dict[str, list[str]] = field(default_factory=lambda: {"operations": [], "parameters": [], "fields": []})

    def check(self, kind: str, what: str, problem: str | None) -> None:
        self.checked[kind] += 1
        if problem is not None:
            self.wrong[kind].append(f"{what}: {problem}")

    @property
    def problems(self) -> list[str]:
        return [problem for problems in self.wrong.values() for problem in problems]

    def __str__(self) -> str:
        return ", ".join(
            f"{self.checked[kind] - len(self.wrong[kind])} of {self.checked[kind]} {kind}" for kind in self.checked
        )


@dataclass(frozen=True)
class Schemas:
    """The named schemas of one document."""

    document: Document

    def resolved(self, schema: Document) -> Document:
        while "$ref" in schema:
            found: Any = self.document
            for part in schema["$ref"].removeprefix("#/").split("/"):
                found = found[part]
            schema = found
        if len(schema.get("allOf", ())) == 1:
            return self.resolved(schema["allOf"][0])
        return schema

    def options(self, schema: Document) -> list[Document]:
        """The kinds of value that a schema takes, but for null."""
        schema = self.resolved(schema)
        options = schema.get("anyOf") or schema.get("oneOf")
        if options is None:
            return [] if schema.get("type") == "null" else [schema]
        return [one for option in options for one in self.options(option)]

    def fields(self, schema: Document) -> dict[str, Document]:
        """The fields of an object; of a choice of objects those of all."""
        return {name: value for option in self.options(schema) for name, value in option.get("properties", {}).items()}


def _kinds(schemas: Schemas, schema: Document) -> set[str]:
    """Short names of what a schema takes: `string/uuid`, `integer`, `array`, `object`, `anything`."""
    kinds: set[str] = set()
    for option in schemas.options(schema):
        kind = option.get("type")
        if kind is None:
            kind = type(option["const"]).__name__ if "const" in option else _ANYTHING
            kind = {"str": "string", "int": "integer"}.get(kind, kind)
        form = option.get("format")
        kinds.add(f"{kind}/{form}" if form in ("uuid", "date-time") else kind)
    return kinds


def _takes(kinds: set[str], wanted: str) -> bool:
    if kinds & {_ANYTHING, wanted} or wanted == _ANYTHING:
        return True
    # A text of any form takes one of a certain form; a number takes an integer; a body's number may be a duration.
    return wanted.split("/")[0] in kinds or (wanted == "integer" and "number" in kinds)


def _differences(
    ours: Schemas, our: Document, theirs: Schemas, their: Document, at: str
) -> Iterator[tuple[str, str | None]]:
    """Yield every field of the contract's schema with what is wrong about ours, or None."""
    seen: set[tuple[str, str]] = set()
    todo = [(our, their, at, 0)]
    while todo:
        our, their, at, depth = todo.pop()
        our_kinds, their_kinds = _kinds(ours, our), _kinds(theirs, their)
        lacking = sorted(kind for kind in their_kinds if not _takes(our_kinds, kind))
        yield at, f"is {sorted(our_kinds)}, not {lacking}" if lacking else None
        their_values = {value for option in theirs.options(their) for value in option.get("enum", ())}
        our_values = {
            value
            for option in ours.options(our)
            for value in (*option.get("enum", ()), *([option["const"]] if "const" in option else ()))
        }
        if our_values and not their_values <= our_values:
            yield at, f"does not know {sorted(their_values - our_values)}"
        name = (json.dumps(our, sort_keys=True), json.dumps(their, sort_keys=True))
        if name in seen or depth > _DEPTH:
            continue
        seen.add(name)
        our_fields, their_fields = ours.fields(our), theirs.fields(their)
        for field_name, their_field in their_fields.items():
            if field_name not in our_fields:
                yield f"{at}.{field_name}", "is missing"
            else:
                todo.append((our_fields[field_name], their_field, f"{at}.{field_name}", depth + 1))
        our_items = [option["items"] for option in ours.options(our) if "items" in option]
        todo.extend(
            (our_items[0], option["items"], f"{at}[]", depth + 1)
            for option in theirs.options(their)
            if "items" in option and our_items
        )


def _json_schema(content: Document) -> Document | None:
    return content.get("content", {}).get("application/json", {}).get("schema")


def _shape(path: str) -> str:
    return re.sub(r"\{[^}]*\}", "{}", path)


def compare(served: Document, contract: Document, *, is_partial: bool = False) -> Report:
    """Compare a served document with the contract.

    Args:
        served: the OpenAPI document of the server.
        contract: the one it must be compatible with.
        is_partial: leave out operations that are not served at all.
    """
    report = Report()
    ours, theirs = Schemas(served), Schemas(contract)
    operations = {
        (_shape(path), method): item for path, items in served["paths"].items() for method, item in items.items()
    }
    for path, items in contract["paths"].items():
        for method in _METHODS:
            if method not in items:
                continue
            what = f"{method.upper()} {path}"
            our = operations.get((_shape(path), method))
            if our is None and is_partial:
                continue
            report.check("operations", what, None if our else "is missing")
            if our is not None:
                _compare_operation(report, what, ours, our, theirs, items[method])
    return report


def _compare_operation(
    report: Report, what: str, ours: Schemas, our: Document, theirs: Schemas, their: Document
) -> None:
    our_parameters = [ours.resolved(parameter) for parameter in our.get("parameters", ())]
    for parameter in (theirs.resolved(parameter) for parameter in their.get("parameters", ())):
        name = parameter["name"]
        # The name of a path parameter is not on the wire.
        there = parameter["in"] == "path" or any(
            (found["in"], found["name"].lower()) == (parameter["in"], name.lower()) for found in our_parameters
        )
        report.check("parameters", f"{what} {name}", None if there else "is missing")
    body = _json_schema(their.get("requestBody", {}))
    if body is not None:
        our_body = _json_schema(our.get("requestBody", {}))
        if our_body is None:
            report.check("fields", f"{what} body", "is missing")
        else:
            for at, problem in _differences(ours, our_body, theirs, body, f"{what} body"):
                report.check("fields", at, problem)
        if our.get("requestBody", {}).get("required") and not their["requestBody"].get("required"):
            report.check("fields", f"{what} body", "is required")
    for status, answer in their["responses"].items():
        schema = _json_schema(theirs.resolved(answer))
        if schema is None or not status.startswith("2"):
            continue
        answers = [_json_schema(ours.resolved(found)) for code, found in our["responses"].items() if code[0] == "2"]
        found = next((answer for answer in answers if answer is not None), None)
        if found is None:
            report.check("fields", f"{what} answer", None if not schema else "is missing")
            continue
        for at, problem in _differences(ours, found, theirs, schema, f"{what} answer"):
            report.check("fields", at, problem)


def main() -> int:
    """Compare, print, and say whether all is there."""
    from flowyard.server.app import create_app
    from flowyard.settings import get_current_settings

    parser = argparse.ArgumentParser(description="How much of Prefect 2.20's REST API is served.")
    parser.add_argument("--partial", action="store_true", help="leave out operations that are not served at all")
    arguments = parser.parse_args()
    served = create_app(get_current_settings()).openapi()
    report = compare(served, json.loads(CONTRACT.read_text()), is_partial=arguments.partial)
    for problem in report.problems:
        print(problem)
    print(report)
    return bool(report.problems)


if __name__ == "__main__":
    sys.exit(main())
