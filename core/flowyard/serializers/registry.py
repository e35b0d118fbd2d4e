"""Serializers by name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, cast

from flowyard.exceptions import UnknownPlugin
from flowyard.serializers.arrow import ArrowSerializer
from flowyard.serializers.base import Serializer
from flowyard.serializers.compressed import CompressedJSONSerializer, CompressedPickleSerializer, CompressedSerializer
from flowyard.serializers.json import JSONSerializer
from flowyard.serializers.msgpack import MsgpackSerializer
from flowyard.serializers.pickle import PickleSerializer

ENTRY_POINT_GROUP = "flowyard.serializers"
# Registered in the group like any other; known here too, because a search through all installed packages takes 20 ms.
_OWN: Mapping[str, type[Serializer]] = {
    kind.type: kind
    for kind in (
        PickleSerializer,
        JSONSerializer,
        CompressedSerializer,
        CompressedPickleSerializer,
        CompressedJSONSerializer,
        ArrowSerializer,
        MsgpackSerializer,
    )
}


def resolve_serializer(serializer: Serializer | str) -> Serializer:
    """Return a serializer object, made by its name if a name is given.

    Raises:
        UnknownPlugin: no serializer of that name is installed.
        TypeError: it is neither a name nor a serializer, or it needs options.
    """
    if isinstance(serializer, Serializer):
        return serializer
    if inspect.isclass(serializer) and issubclass(serializer, Serializer):
        raise TypeError(f"result_serializer={serializer!r} is a class: did you mean to call it?")
    if not isinstance(serializer, str):  # pyright: ignore[reportUnnecessaryIsInstance]  users may pass anything
        raise TypeError(
            f"result_serializer={serializer!r} is neither a name such as 'pickle' nor a "
            "`flowyard.serializers.Serializer`"
        )
    kind = _find(serializer)
    try:
        return kind()
    except TypeError as error:
        raise TypeError(f"serializer {serializer!r} needs options: pass {kind.__name__}(...) ({error})") from error


def serializer_from_record(record: Mapping[str, Any]) -> Serializer:
    """Return the serializer that `Serializer.to_record` describes.

    Raises:
        UnknownPlugin: no serializer of that name is installed.
    """
    options: dict[str, Any] = {
        name: serializer_from_record(cast("Mapping[str, Any]", value))
        if isinstance(value, Mapping) and name == "serializer"
        else value
        for name, value in record.items()
        if name != "type"
    }
    return _find(record["type"])(**options)


def _find(name: str) -> type[Serializer]:
    if name in _OWN:
        return _OWN[name]
    from importlib.metadata import entry_points  # noqa: PLC0415  slow to import, and only needed for add-ons

    found = {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}
    if name in found:
        return found[name].load()
    if in_process := _subclass_named(Serializer, name):
        return in_process
    raise UnknownPlugin(
        "serializer",
        name,
        tuple(sorted({*_OWN, *found})),
        f"an add-on registers its own in the entry-point group {ENTRY_POINT_GROUP!r}; pass your own as an object",
    )


def _subclass_named(base: type[Serializer], name: str) -> type[Serializer] | None:
    """Return a serializer class that this process has defined or imported."""
    for kind in base.__subclasses__():
        found = kind if kind.type == name else _subclass_named(kind, name)
        if found is not None:
            return found
    return None
