"""Any Python object, by cloudpickle."""

from __future__ import annotations

import base64
import importlib
import warnings
from typing import Any

from typing_extensions import override

from flowyard.serializers.base import Serializer, import_library

_PICKLE_START = b"\x80"  # the PROTOCOL opcode, with which every pickle of protocol 2 and later begins


class PickleSerializer(Serializer):
    """Pickles with `picklelib`, a module with ``dumps`` and ``loads``.

    The library's version is recorded with the bytes; reading them with another version warns. Pickles in base64, as
    Prefect 2 writes them, are read too.
    """

    type = "pickle"
    picklelib: str = "cloudpickle"
    picklelib_version: str | None = None

    def __post_init__(self) -> None:
        if self.picklelib != "cloudpickle":  # which is slow to import, and has both
            import_library(self.picklelib, "picklelib", "dumps", "loads")

    @override
    def dumps(self, obj: Any) -> bytes:
        return importlib.import_module(self.picklelib).dumps(obj)

    @override
    def loads(self, blob: bytes) -> Any:
        library = importlib.import_module(self.picklelib)
        installed = getattr(library, "__version__", None)
        if self.picklelib_version is not None and self.picklelib_version != installed:
            warnings.warn(
                f"this was pickled with {self.picklelib} {self.picklelib_version}, and {installed} is installed here: "
                f"reading it may fail or give something else",
                RuntimeWarning,
                stacklevel=3,
            )
        return library.loads(blob if blob.startswith(_PICKLE_START) else base64.b64decode(blob))

    @override
    def to_record(self) -> dict[str, Any]:
        version = self.picklelib_version or getattr(importlib.import_module(self.picklelib), "__version__", None)
        return {"type": self.type, "picklelib": self.picklelib, "picklelib_version": version}
