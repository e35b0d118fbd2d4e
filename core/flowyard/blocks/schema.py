"""The schema of a block class: its fields as JSON schema, and which of them are secret."""

from __future__ import annotations

import dataclasses
import inspect
import typing
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, cast

from pydantic import BaseModel, Secret, SecretBytes, SecretStr
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema
from typing_extensions import override

SECRET_TYPES: tuple[type[Any], ...] = (SecretStr, SecretBytes, Secret)
_REFERENCES = "block_schema_references"


class _Lenient(GenerateJsonSchema):
    """Describes what JSON cannot carry as "anything" instead of giving up."""

    @override
    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> dict[str, Any]:
        del schema, error_info
        return {}


def describe_fields(model: type[BaseModel], slug: str, references: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON schema of a block class, in Prefect 2's form.

    Args:
        model: the class.
        slug: of its block type.
        references: field -> slug and checksum of the block class it holds, or a list of them.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about defaults that JSON cannot carry: they are left out
        schema = model.model_json_schema(
            by_alias=True, ref_template="#/definitions/{model}", schema_generator=_Lenient, mode="validation"
        )
    definitions = schema.pop("$defs", None)
    if definitions:
        schema["definitions"] = definitions
    schema = cast("dict[str, Any]", _without_null(schema))
    schema["block_type_slug"] = slug
    schema["secret_fields"] = [".".join(pattern) for pattern in dict.fromkeys(secret_patterns(model))]
    schema[_REFERENCES] = dict(references)
    return schema


def field_key(name: str, field: FieldInfo) -> str:
    """Return under which key a field stands in saved data."""
    return field.serialization_alias or field.alias or name


def secret_patterns(model: type[BaseModel]) -> Iterator[tuple[str, ...]]:
    """Yield where the secrets of a model are: paths of keys, `*` for every item, `**` where it contains itself."""
    yield from _of_model(model, (), ())


def declared_secrets(model: type[BaseModel]) -> Iterator[tuple[str, ...]]:
    """Yield the patterns that a class itself declares in `_block_secret_fields`, besides those of its types."""
    for base in model.__mro__:
        for text in cast("tuple[str, ...]", vars(base).get("_block_secret_fields") or ()):
            yield tuple(text.split("."))


def patterns_of_type(annotation: Any) -> Iterator[tuple[str, ...]]:
    """Yield where the secrets of values of a type are."""
    yield from _of_type(annotation, (), ())


def _of_model(
    model: type[BaseModel], path: tuple[str, ...], within: tuple[type[Any], ...]
) -> Iterator[tuple[str, ...]]:
    if model in within:
        yield (*path, "**")
        return
    for declared in declared_secrets(model):
        yield (*path, *declared)
    for name, field in model.model_fields.items():
        for key in dict.fromkeys((field_key(name, field), name)):
            yield from _of_type(field.annotation, (*path, key), (*within, model))


def _of_type(annotation: Any, path: tuple[str, ...], within: tuple[type[Any], ...]) -> Iterator[tuple[str, ...]]:
    if hasattr(annotation, "__value__"):  # a `type` statement
        yield from _of_type(annotation.__value__, path, within)
        return
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        yield from _of_type(arguments[0], path, within)
    elif inspect.isclass(annotation) and issubclass(annotation, SECRET_TYPES):
        yield (*path, "*") if annotation.__name__ == "SecretDict" else path
    elif inspect.isclass(origin) and issubclass(origin, SECRET_TYPES):
        yield path
    elif inspect.isclass(origin) and issubclass(origin, Mapping):
        yield from _of_type(arguments[-1] if arguments else Any, (*path, "*"), within)
    elif inspect.isclass(origin) and issubclass(origin, (list, tuple, set, frozenset, Iterable)):
        for argument in arguments:
            yield from _of_type(argument, (*path, "*"), within)
    elif arguments:  # unions
        for argument in arguments:
            yield from _of_type(argument, path, within)
    elif inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        yield from _of_model(annotation, path, within)
    elif inspect.isclass(annotation) and (dataclasses.is_dataclass(annotation) or typing.is_typeddict(annotation)):
        if annotation in within:
            yield (*path, "**")
            return
        for name, hint in typing.get_type_hints(annotation, include_extras=True).items():
            yield from _of_type(hint, (*path, name), (*within, annotation))


def _without_null(schema: Any) -> Any:
    """Return a schema in which "a string or null" is a string that is not required, as pydantic 1 had it."""
    if isinstance(schema, list):
        return [_without_null(item) for item in cast("list[Any]", schema)]
    if not isinstance(schema, dict):
        return schema
    found = {key: _without_null(value) for key, value in cast("dict[str, Any]", schema).items()}
    choices = found.get("anyOf")
    if isinstance(choices, list) and {"type": "null"} in choices:
        others = [choice for choice in cast("list[Any]", choices) if choice != {"type": "null"}]
        if len(others) == 1:
            del found["anyOf"]
            found = {**others[0], **found}
        else:
            found["anyOf"] = others
        if found.get("default", ...) is None:
            del found["default"]
    return found
