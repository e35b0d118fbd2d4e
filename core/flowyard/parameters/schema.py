"""The JSON schema of a function's parameters, as forms and the REST API show them."""

from __future__ import annotations

import dataclasses
import inspect
import re
import warnings
from collections.abc import Callable
from typing import Annotated, Any

from flowyard.parameters.binding import is_pydantic_field
from flowyard.parameters.validation import resolve_annotations


@dataclasses.dataclass(slots=True)
class ParameterSchema:
    """The parameters of a flow as a JSON schema (draft 7 with ``definitions``, as Prefect 2 writes it)."""

    title: str = "Parameters"
    type: str = "object"
    properties: dict[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    required: list[str] | None = None
    definitions: dict[str, Any] | None = None

    def to_record(self) -> dict[str, Any]:
        """Return the schema as JSON; what is None is left out."""
        record = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: value for name, value in record.items() if value is not None}

    dict = to_record
    model_dump_for_openapi = to_record


def parameter_schema(fn: Callable[..., Any]) -> ParameterSchema:
    """Return the schema of a function's parameters.

    Each property has its ``title``, its ``position`` in the signature and, if the docstring has one, its
    ``description``. A type that JSON cannot describe gets a property without a type. Loads pydantic.
    """
    parameters = inspect.signature(fn).parameters
    descriptions = parameter_docstrings(inspect.getdoc(fn))
    schema = ParameterSchema(definitions={})
    annotations = resolve_annotations(fn)
    described = _describe_types(fn, annotations)
    schema.definitions = described.get("$defs", {})
    types: dict[str, dict[str, Any]] = described.get("properties", {})
    for position, name in enumerate(parameters):
        described_here = types.get(name, {})
        # `title`, `position` and `description` first and always ours: a reader's order, not pydantic's
        entry: dict[str, Any] = {"title": name, "position": position}
        if name in descriptions:
            entry["description"] = descriptions[name]
        entry.update({key: value for key, value in described_here.items() if key != "title" and key not in entry})
        schema.properties[name] = entry
    schema.required = described.get("required")
    return schema


def _describe_types(fn: Callable[..., Any], annotations: dict[str, Any]) -> dict[str, Any]:
    """Return pydantic's schema of a model that has the parameters as fields; empty without parameters."""
    parameters = inspect.signature(fn).parameters
    if not parameters:
        return {}
    # slow to import, and schemas are made when a flow is registered or shown, not when it is called
    import pydantic  # noqa: PLC0415
    from pydantic.json_schema import GenerateJsonSchema  # noqa: PLC0415

    class Lenient(GenerateJsonSchema):
        """Describes what JSON cannot carry as "anything" instead of giving up."""

        def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> dict[str, Any]:
            del schema, error_info
            return {}

        def get_title_from_name(self, name: str) -> str:
            return name

    fields: dict[str, Any] = {}
    for index, (name, parameter) in enumerate(parameters.items()):
        annotation = annotations[name]
        if annotation is inspect.Parameter.empty:
            annotation = Any
        default: Any = ... if parameter.default is inspect.Parameter.empty else parameter.default
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            annotation, default = list[annotation], []
        elif parameter.kind is inspect.Parameter.VAR_KEYWORD:
            annotation, default = dict[str, annotation], {}
        elif is_pydantic_field(default):
            annotation = Annotated[annotation, default]
            default = ... if default.is_required() else default.get_default(call_default_factory=True)
        # numbered: a parameter's own name may be one that pydantic does not allow
        fields[f"p{index}"] = (annotation, pydantic.Field(default, alias=name))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about defaults that JSON cannot carry: they are left out
        model = pydantic.create_model(
            "Parameters", __config__=pydantic.ConfigDict(arbitrary_types_allowed=True), **fields
        )
        return model.model_json_schema(
            by_alias=True, ref_template="#/definitions/{model}", schema_generator=Lenient, mode="validation"
        )


_SPHINX = re.compile(r"^:(?:param|parameter|arg|argument|key|keyword)\s+(?:[^:]*\s)?\*{0,2}(\w+)\s*:\s*(.*)$")
_GOOGLE = re.compile(r"^\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)$")
_NUMPY = re.compile(r"^\*{0,2}(\w+(?:\s*,\s*\w+)*)\s*(?::.*)?$")
_GOOGLE_SECTIONS = frozenset({"args:", "arguments:", "parameters:", "params:", "keyword args:", "keyword arguments:"})


def parameter_docstrings(docstring: str | None) -> dict[str, str]:
    """Return the descriptions of parameters in a docstring of Google, numpy or Sphinx form."""
    if not docstring:
        return {}
    lines = inspect.cleandoc(docstring).splitlines()
    found: dict[str, list[str]] = {}
    index = 0
    while index < len(lines):
        line = lines[index]
        below = lines[index + 1].strip() if index + 1 < len(lines) else ""
        if line.strip().lower() in _GOOGLE_SECTIONS:
            index = _read_indented(lines, index + 1, found, _GOOGLE, indent=_indent(line))
        elif line.strip().lower() in ("parameters", "other parameters") and below and set(below) == {"-"}:
            index = _read_numpy(lines, index + 2, found)
        elif match := _SPHINX.match(line.strip()):
            text = [match[2]]
            index += 1
            while index < len(lines) and lines[index].strip() and _indent(lines[index]) > _indent(line):
                text.append(lines[index].strip())
                index += 1
            found[match[1]] = text
        else:
            index += 1
    return {name: " ".join(filter(None, text)) for name, text in found.items() if any(text)}


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _read_indented(
    lines: list[str], index: int, found: dict[str, list[str]], pattern: re.Pattern[str], *, indent: int
) -> int:
    """Read a Google section: entries one level in, their continuation lines deeper. Returns where it ends."""
    level: int | None = None
    text: list[str] | None = None
    while index < len(lines):
        line = lines[index]
        if line.strip():
            here = _indent(line)
            if here <= indent:
                break
            level = here if level is None else level
            match = pattern.match(line.strip()) if here <= level else None
            if match:
                text = found[match[1]] = [match[2]]
            elif text is not None:
                text.append(line.strip())
        index += 1
    return index


def _read_numpy(lines: list[str], index: int, found: dict[str, list[str]]) -> int:
    """Read a numpy section: entries flush left, descriptions indented. Returns where it ends."""
    texts: list[list[str]] = []
    while index < len(lines):
        line = lines[index]
        below = lines[index + 1].strip() if index + 1 < len(lines) else ""
        if line.strip() and _indent(line) == 0:
            match = _NUMPY.match(line.strip())
            if (below and set(below) == {"-"}) or not match:
                break
            texts = [found.setdefault(name.strip(), []) for name in match[1].split(",")]
        elif line.strip():
            for text in texts:
                text.append(line.strip())
        index += 1
    return index
