"""Plain data as msgpack: small, quick, and read by other languages."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, cast

import msgpack  # pyright: ignore[reportMissingTypeStubs]
from typing_extensions import override

from flowyard.serializers.base import Serializer
from flowyard.serializers.json import flowyard_json_object_decoder, flowyard_json_object_encoder

_msgpack = cast("Any", msgpack)  # it has hints for half of what it returns
_EXCEPTION = "__exc_type__"


class MsgpackSerializer(Serializer):
    """Writes msgpack: None, booleans, numbers, text, bytes, lists and dicts of those, and times, which come back aware.

    With `strict_types`, the default, whatever would come back as something else is refused: a tuple, which would become
    a list, a naive time, and every other type.
    """

    type = "msgpack"
    strict_types: bool = True

    @override
    def dumps(self, obj: Any) -> bytes:
        if isinstance(obj, BaseException):
            obj = flowyard_json_object_encoder(obj)
        lax = not self.strict_types
        return _msgpack.packb(obj, datetime=lax, strict_types=self.strict_types, default=self._unknown)

    @override
    def loads(self, blob: bytes) -> Any:
        value = _msgpack.unpackb(blob, timestamp=3, strict_map_key=False)
        is_exception = isinstance(value, dict) and _EXCEPTION in value
        return flowyard_json_object_decoder(cast("dict[str, Any]", value)) if is_exception else cast("Any", value)

    def _unknown(self, value: object) -> Any:
        if type(value) is datetime and value.tzinfo is not None:
            # The format keeps the moment, not the zone: it comes back in UTC, and equal.
            return _msgpack.Timestamp.from_datetime(value.astimezone(UTC))
        if type(value) is datetime:
            raise TypeError(f"{value!r} has no time zone and would come back in UTC: use an aware datetime")
        raise TypeError(f"msgpack has no {type(value).__name__}, and nothing that would come back as one")
