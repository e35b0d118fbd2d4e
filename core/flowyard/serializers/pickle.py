"""Any Python object, by cloudpickle."""

from __future__ import annotations

import base64
import importlib
import io
import pickle
import warnings
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from typing_extensions import override

from flowyard.serializers.base import Part, Serializer, import_library
from flowyard.serializers.buffers import LargeBuffers

_PICKLE_START = b"\x80"  # the PROTOCOL opcode, with which every pickle of protocol 2 and later begins
_PROTOCOL = 5
_SCALARS = frozenset({bool, int, float, str, bytes})


class PickleSerializer(Serializer):
    """Pickles with `picklelib`, a module with ``dumps`` and ``loads``.

    The library's version is recorded with the bytes; reading them with another version warns. Pickles in base64, as
    Prefect 2 writes them, are read too. With cloudpickle large buffers (arrays, data frames) stay out of the pickle and
    are written as they are.
    """

    type = "pickle"
    picklelib: str = "cloudpickle"
    picklelib_version: str | None = None

    def __post_init__(self) -> None:
        if self.picklelib != "cloudpickle":  # which is slow to import, and has both
            import_library(self.picklelib, "picklelib", "dumps", "loads")

    @override
    def dumps(self, obj: Any) -> bytes:
        if self.picklelib == "cloudpickle" and obj.__class__ in _SCALARS:
            return pickle.dumps(obj, _PROTOCOL)  # the same bytes, 20 times as fast
        return _imported(self.picklelib).dumps(obj)

    @override
    def loads(self, blob: bytes) -> Any:
        return self._library().loads(blob if blob.startswith(_PICKLE_START) else base64.b64decode(blob))

    @override
    def dump_parts(self, obj: Any) -> Sequence[Part]:
        if self.picklelib != "cloudpickle" or obj.__class__ in _SCALARS:
            return [self.dumps(obj)]
        buffers = LargeBuffers()
        file = io.BytesIO()
        library = _imported(self.picklelib)
        library.Pickler(file, protocol=_PROTOCOL, buffer_callback=buffers.keep).dump(obj)
        return [file.getvalue(), *buffers]

    @override
    def load_parts(self, parts: Sequence[Any]) -> Any:
        if len(parts) == 1:
            return self.loads(parts[0])
        return self._library().loads(parts[0], buffers=parts[1:])

    def _library(self) -> Any:
        """Return the library, after a warning if it is not the version that wrote."""
        library = _imported(self.picklelib)
        installed = getattr(library, "__version__", None)
        if self.picklelib_version is not None and self.picklelib_version != installed:
            warnings.warn(
                f"this was pickled with {self.picklelib} {self.picklelib_version}, and {installed} is installed here: "
                f"reading it may fail or give something else",
                RuntimeWarning,
                stacklevel=4,
            )
        return library

    @override
    def to_record(self) -> dict[str, Any]:
        version = self.picklelib_version or _version_of(self.picklelib)
        return {"type": self.type, "picklelib": self.picklelib, "picklelib_version": version}


@lru_cache(16)
def _imported(library: str) -> Any:
    return importlib.import_module(library)


@lru_cache(16)
def _version_of(library: str) -> str | None:
    return getattr(_imported(library), "__version__", None)
