"""What is saved of a block: JSON data with secrets in the open, and where they are.

A block that was saved itself is a reference; one that was not is part of the data, under its `block_type_slug`.
"""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast
from uuid import UUID

from pydantic import BaseModel, Secret, SecretBytes, SecretStr
from pydantic_core import to_jsonable_python

from flowyard.blocks.schema import SECRET_TYPES, field_key
from flowyard.schemas.blocks import reference_to, referred_id

Path = tuple[str, ...]
_BYTES = "$bytes"


class Dump:
    """Turns one block into data. `secret_paths` fills while it does."""

    def __init__(self, identify: Callable[[BaseModel], tuple[str | None, UUID | None]]) -> None:
        """Take the function that returns slug and document id of a model; None for what is no block or not saved."""
        self._identify = identify
        self.secret_paths: list[Path] = []

    def model(self, model: BaseModel, path: Path = ()) -> dict[str, Any]:
        """Return the data of a model, by alias; fields with `exclude=True` are left out."""
        slug, _ = self._identify(model)
        data: dict[str, Any] = {} if slug is None else {"block_type_slug": slug}
        fields = {name: each for name, each in type(model).model_fields.items() if not each.exclude}
        values = {name: getattr(model, name) for name in fields}
        # What pydantic can write alone it writes, so that the serializers of fields are obeyed.
        plain = {name for name, value in values.items() if not self._is_special(value)}
        written = model.model_dump(mode="json", by_alias=True, include=plain, warnings=False)
        for name, field in fields.items():
            key = field_key(name, field)
            data[key] = written.get(key) if name in plain else self.value(values[name], (*path, key))
        for key, value in (model.__pydantic_extra__ or {}).items():
            data[key] = self.value(value, (*path, key))
        return data

    def value(self, value: Any, path: Path) -> Any:
        """Return the data of any value."""
        if isinstance(value, BaseModel):
            slug, document_id = self._identify(value)
            if slug is not None and document_id is not None:
                return reference_to(document_id)
            return self.model(value, path)
        if isinstance(value, SECRET_TYPES):
            self.secret_paths.append(path)
            return self._hidden(cast("Secret[Any]", value).get_secret_value(), path)
        if isinstance(value, Mapping):
            items = cast("Mapping[Any, Any]", value).items()
            return {str(key): self.value(item, (*path, str(key))) for key, item in items}
        if isinstance(value, (list, tuple, set, frozenset)):
            entries = cast("Iterable[Any]", value)
            return [self.value(item, (*path, str(index))) for index, item in enumerate(entries)]
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            names = [field.name for field in dataclasses.fields(value)]
            return {name: self.value(getattr(value, name), (*path, name)) for name in names}
        return to_jsonable_python(value)

    def _hidden(self, value: Any, path: Path) -> Any:
        if isinstance(value, bytes):
            try:
                return value.decode()
            except UnicodeDecodeError:
                return {_BYTES: base64.b64encode(value).decode()}
        return self.value(value, path)

    def _is_special(self, value: Any) -> bool:
        """Say whether a value is or holds a secret or a block."""
        if isinstance(value, SECRET_TYPES):
            return True
        if isinstance(value, BaseModel):
            if self._identify(value)[0] is not None:
                return True
            held = [getattr(value, name) for name in type(value).model_fields]
            return any(self._is_special(item) for item in [*held, *(value.__pydantic_extra__ or {}).values()])
        if isinstance(value, Mapping):
            return any(self._is_special(item) for item in cast("Mapping[Any, Any]", value).values())
        if isinstance(value, (list, tuple, set, frozenset)):
            return any(self._is_special(item) for item in cast("Iterable[Any]", value))
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return any(self._is_special(getattr(value, field.name)) for field in dataclasses.fields(value))
        return False


def restore(data: Any, resolve: Callable[[UUID], Any]) -> Any:
    """Return saved data with its bytes as bytes, and what `resolve` returns in the place of references."""
    target = referred_id(data)
    if target is not None:
        return resolve(target)
    if isinstance(data, dict):
        found = cast("dict[str, Any]", data)
        if set(found) == {_BYTES}:
            return base64.b64decode(found[_BYTES])
        return {key: restore(value, resolve) for key, value in found.items()}
    if isinstance(data, list):
        return [restore(value, resolve) for value in cast("list[Any]", data)]
    return data


def hide(data: Any, path: Iterable[str]) -> None:
    """Wrap the value that a path leads to as a secret, in place; for fields whose type does not do that."""
    *above, last = path
    holder = data
    for key in above:
        holder = _item(holder, key)
    value = _item(holder, last)
    if isinstance(value, str):
        hidden: Any = SecretStr(value)
    elif isinstance(value, bytes):
        hidden = SecretBytes(value)
    else:
        hidden = value if isinstance(value, SECRET_TYPES) else Secret[Any](value)
    if isinstance(holder, list):
        cast("list[Any]", holder)[int(last)] = hidden
    else:
        holder[last] = hidden


def _item(holder: Any, key: str) -> Any:
    return cast("list[Any]", holder)[int(key)] if isinstance(holder, list) else holder[key]
