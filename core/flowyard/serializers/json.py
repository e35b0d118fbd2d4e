"""Values as JSON text that people and other languages can read."""

from __future__ import annotations

import builtins
import dataclasses
import importlib
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, cast

from typing_extensions import override

from flowyard.exceptions import RemoteException
from flowyard.serializers.base import Serializer, import_library, import_object

_ENCODER = "flowyard.serializers.flowyard_json_object_encoder"
_DECODER = "flowyard.serializers.flowyard_json_object_decoder"


class JSONSerializer(Serializer):
    """Writes JSON with `jsonlib`, a module with ``dumps`` and ``loads`` (the standard one, or ``orjson``).

    `object_encoder` and `object_decoder` are dotted paths of functions for what JSON does not know; None for none. As
    in JSON, tuples come back as lists and keys of dicts as text.
    """

    type = "json"
    jsonlib: str = "json"
    object_encoder: str | None = _ENCODER
    object_decoder: str | None = _DECODER
    dumps_kwargs: Mapping[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    loads_kwargs: Mapping[str, Any] = dataclasses.field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        if self.jsonlib != "json":
            import_library(self.jsonlib, "jsonlib", "dumps", "loads")
        if "default" in self.dumps_kwargs:
            raise ValueError("dumps_kwargs has the key 'default': set `object_encoder` instead")
        if "object_hook" in self.loads_kwargs:
            raise ValueError("loads_kwargs has the key 'object_hook': set `object_decoder` instead")

    @override
    def dumps(self, obj: Any) -> bytes:
        options = dict(self.dumps_kwargs)
        if self.object_encoder is not None:
            options["default"] = import_object(self.object_encoder, "object_encoder")
        text: str | bytes = importlib.import_module(self.jsonlib).dumps(obj, **options)
        return text.encode() if isinstance(text, str) else text

    @override
    def loads(self, blob: bytes) -> Any:
        options = dict(self.loads_kwargs)
        decoder = None if self.object_decoder is None else import_object(self.object_decoder, "object_decoder")
        if decoder is not None and self.jsonlib != "orjson":
            options["object_hook"] = decoder
            decoder = None
        value = importlib.import_module(self.jsonlib).loads(blob, **options)
        # orjson has no hook: its objects are decoded afterwards
        return value if decoder is None else _decode_objects(value, decoder)


def _decode_objects(value: Any, decoder: Any) -> Any:
    if isinstance(value, list):
        return [_decode_objects(item, decoder) for item in cast("list[Any]", value)]
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value)
        return decoder({key: _decode_objects(item, decoder) for key, item in items.items()})
    return value


def flowyard_json_object_encoder(obj: Any) -> Any:
    """Return something that JSON knows for an exception, or for anything that pydantic can serialize.

    What is not an exception is read back at once: a value that pydantic would refuse is refused while it is there.

    Raises:
        TypeError: pydantic does not know the type either, or could not make the object again.
    """
    if isinstance(obj, BaseException):
        return {
            "__exc_type__": _qualified_name(type(obj)),
            "message": str(obj),
            "args": [arg if isinstance(arg, (str, int, float, bool, type(None))) else repr(arg) for arg in obj.args],
        }
    # slow to import, and only needed for what JSON does not know
    from pydantic_core import PydanticSerializationError, to_jsonable_python  # noqa: PLC0415

    try:
        data = to_jsonable_python(obj)
    except PydanticSerializationError as error:
        raise TypeError(f"{type(obj).__name__} objects cannot be written as JSON: {error}") from error
    # a path's own class is of one platform
    name = "pathlib.Path" if isinstance(obj, PurePath) else _qualified_name(obj.__class__)
    encoded = {"__class__": name, "data": data}
    try:
        flowyard_json_object_decoder(encoded)
    except Exception as error:
        raise TypeError(
            f"{name} cannot be made again from its JSON {data!r:.200} ({type(error).__name__}: {error})"
        ) from error
    return encoded


def flowyard_json_object_decoder(result: dict[str, Any]) -> Any:
    """Return the object that `flowyard_json_object_encoder` got; other dicts come back as they are."""
    if "__class__" in result:
        from pydantic import TypeAdapter  # noqa: PLC0415  slow to import, and only needed for such objects

        return TypeAdapter(_find(result["__class__"])).validate_python(result["data"])
    if "__exc_type__" in result:
        return _restore_exception(result["__exc_type__"], result["message"], result.get("args"))
    return result


prefect_json_object_encoder = flowyard_json_object_encoder
prefect_json_object_decoder = flowyard_json_object_decoder


def _restore_exception(name: str, message: str, args: list[Any] | None) -> BaseException:
    try:
        kind = _find(name)
        restored: BaseException = kind(*([message] if args is None else args))
    except Exception:  # the class is not importable here, or its constructor takes something else
        return RemoteException(name, message)
    return restored if str(restored) == message else RemoteException(name, message)


def _qualified_name(kind: type[Any]) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _find(name: str) -> Any:
    """Return the class of a qualified name, which may be inside another class."""
    parts = name.split(".")
    for split in range(len(parts) - 1, 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:split]))
        except ImportError:
            continue
        for part in parts[split:]:
            found = getattr(found, part)
        return found
    return getattr(builtins, name)
