"""Another serializer's bytes, compressed."""

from __future__ import annotations

import dataclasses
import importlib
from typing import Any

from typing_extensions import override

from flowyard.serializers.base import Serializer, import_library
from flowyard.serializers.json import JSONSerializer
from flowyard.serializers.pickle import PickleSerializer


class CompressedSerializer(Serializer):
    """Compresses what another serializer writes, with `compressionlib`: lzma, bz2, zlib or any with their functions."""

    type = "compressed"
    serializer: Serializer
    compressionlib: str = "lzma"

    def __post_init__(self) -> None:
        if isinstance(self.serializer, str):  # pyright: ignore[reportUnnecessaryIsInstance]  Prefect 2 takes names
            kind = {"pickle": PickleSerializer, "json": JSONSerializer}.get(self.serializer)
            if kind is None:
                raise ValueError(
                    f"serializer={self.serializer!r} of a CompressedSerializer is neither 'pickle' nor 'json': "
                    "pass a serializer object"
                )
            self.serializer = kind()
        import_library(self.compressionlib, "compressionlib", "compress", "decompress")

    @override
    def dumps(self, obj: Any) -> bytes:
        return importlib.import_module(self.compressionlib).compress(self.serializer.dumps(obj))

    @override
    def loads(self, blob: bytes) -> Any:
        return self.serializer.loads(importlib.import_module(self.compressionlib).decompress(blob))


class CompressedPickleSerializer(CompressedSerializer):
    """Compressed pickles."""

    type = "compressed/pickle"
    serializer: Serializer = dataclasses.field(default_factory=PickleSerializer)


class CompressedJSONSerializer(CompressedSerializer):
    """Compressed JSON."""

    type = "compressed/json"
    serializer: Serializer = dataclasses.field(default_factory=JSONSerializer)
