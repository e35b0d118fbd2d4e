"""The contract of serializers."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, ClassVar, dataclass_transform

Part = bytes | bytearray | memoryview
"""A piece of a serialized value."""


@dataclass_transform(kw_only_default=True)
class Serializer(ABC):
    """Turns values into bytes and back.

    A subclass declares its options as annotated fields, as in a dataclass (which it becomes), and sets `type`, the
    name under which it is registered in the entry-point group ``flowyard.serializers``. Options must be JSON values:
    they are written beside the bytes, so that any process can read them again.
    """

    type: ClassVar[str] = ""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # `type: str = "mine"`, as it is written for Prefect 2, names the class and is no option.
        annotations: dict[str, Any] = inspect.get_annotations(cls)
        if "type" in annotations:
            cls.__annotations__ = {**annotations, "type": ClassVar[str]}
        dataclasses.dataclass(kw_only=True)(cls)

    @abstractmethod
    def dumps(self, obj: Any) -> bytes:
        """Return the value as bytes.

        Raises:
            Exception: whatever tells that this value cannot be serialized; the caller adds what it was for.
        """

    @abstractmethod
    def loads(self, blob: bytes) -> Any:
        """Return the value that `dumps` got."""

    def dump_parts(self, obj: Any) -> Sequence[Part]:
        """Return the value in pieces, which are written one after another: large buffers need no copy.

        Raises:
            Exception: as `dumps` does.
        """
        return [self.dumps(obj)]

    def load_parts(self, parts: Sequence[Any]) -> Any:
        """Return the value that `dump_parts` got: the first piece is `bytes`, the others are writable buffers."""
        return self.loads(parts[0])

    def to_record(self) -> dict[str, Any]:
        """Return the name and the options as JSON values: what `serializer_from_record` needs to read bytes again."""
        record: dict[str, Any] = {"type": self.type}
        for field in dataclasses.fields(self):  # pyright: ignore[reportArgumentType]  every subclass is a dataclass
            value = getattr(self, field.name)
            record[field.name] = value.to_record() if isinstance(value, Serializer) else _plain(value)
        return record


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else value  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]


def import_library(name: str, option: str, *functions: str) -> ModuleType:
    """Import a library that is named by an option, and check that it has the functions it must have.

    Raises:
        ValueError: it is not installed, or lacks a function.
    """
    try:
        library = importlib.import_module(name)
    except ImportError as error:
        raise ValueError(f"{option}={name!r} cannot be imported: {error}; install it or choose another") from error
    if missing := [function for function in functions if not callable(getattr(library, function, None))]:
        raise ValueError(
            f"{option}={name!r} has no function {' and no '.join(map(repr, missing))}; choose another library"
        )
    return library


def import_object(path: str, option: str) -> Any:
    """Return the object at a dotted path.

    Raises:
        ValueError: it is not there.
    """
    module_name, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"{option}={path!r} cannot be imported: {error}; give the dotted path of a function"
        ) from error
