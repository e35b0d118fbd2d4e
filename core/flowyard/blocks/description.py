"""What a block class says about itself: declared names, docstring, schema, and the block classes in its fields."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from flowyard.blocks.registry import is_concrete
from flowyard.blocks.schema import describe_fields, field_key
from flowyard.rules.block_schemas import checksum_of

if TYPE_CHECKING:
    from flowyard.blocks.core import Block


def declared(kind: type[Any], name: str, *, own: bool = False) -> Any:
    """Return a class attribute whose name begins with an underscore; pydantic makes those private attributes.

    With `own` what a base class declares does not count.
    """
    for base in kind.__mro__[:1] if own else kind.__mro__:
        private = cast("dict[str, Any]", vars(base).get("__private_attributes__") or {})
        if name in private and private[name].default is not PydanticUndefined:
            return private[name].default
        if name in vars(base):
            return vars(base)[name]
    return None


def docstring(kind: type[Any]) -> str:
    """Return the docstring of a class itself, not that of a base."""
    return inspect.cleandoc(vars(kind).get("__doc__") or "")


def fields_of(root: type[Block], kind: type[Block], within: tuple[type[Any], ...] = ()) -> dict[str, Any]:
    """Return the schema of a class; where it contains itself, the inner checksum is None."""
    references: dict[str, Any] = {}
    for name, field in kind.model_fields.items():
        found = [
            {
                "block_type_slug": inner.get_block_type_slug(),
                "block_schema_checksum": None
                if inner is kind or inner in within
                else checksum_of_class(root, inner, (*within, kind)),
            }
            for inner in dict.fromkeys(blocks_in(root, field.annotation))
        ]
        if found:
            references[field_key(name, field)] = found if len(found) > 1 else found[0]
    schema = describe_fields(kind, kind.get_block_type_slug(), references)
    definitions = schema.get("definitions", {})
    for field in kind.model_fields.values():
        for inner in blocks_in(root, field.annotation):
            # Tells the server, which computes the checksum too, that this describes another block.
            if inner.__name__ in definitions:
                definitions[inner.__name__]["block_type_slug"] = inner.get_block_type_slug()
    return schema


def checksum_of_class(root: type[Block], kind: type[Block], within: tuple[type[Any], ...] = ()) -> str:
    """Return the checksum of the schema of a class."""
    titles = frozenset(
        inner.__name__ for field in kind.model_fields.values() for inner in blocks_in(root, field.annotation)
    )
    return checksum_of(fields_of(root, kind, within), titles)


def blocks_in(root: type[Block], annotation: Any) -> Iterator[type[Block]]:
    """Yield the block classes that a type can hold, other models and containers looked through."""
    yield from _blocks_in(root, annotation, ())


def _blocks_in(root: type[Block], annotation: Any, within: tuple[Any, ...]) -> Iterator[type[Block]]:
    if inspect.isclass(annotation) and issubclass(annotation, root):
        if is_concrete(annotation):
            yield annotation
    elif inspect.isclass(annotation) and issubclass(annotation, BaseModel) and annotation not in within:
        for field in annotation.model_fields.values():
            yield from _blocks_in(root, field.annotation, (*within, annotation))
    else:
        for argument in typing.get_args(annotation):
            yield from _blocks_in(root, argument, within)
