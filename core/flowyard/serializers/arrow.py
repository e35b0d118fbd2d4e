"""Tables and data frames as Arrow's IPC files, which R, Julia, DuckDB and the rest of the world read."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, cast

from typing_extensions import override

from flowyard.serializers.base import Part, Serializer

_KIND = b"flowyard.type"


class ArrowSerializer(Serializer):
    """Writes what has rows and columns: tables of pyarrow, data frames of pandas or polars, series of pandas.

    They come back as what they were. `compression` is ``"lz4"``, ``"zstd"`` or None. Needs pyarrow, which
    ``pip install "flowyard[arrow]"`` brings.
    """

    type = "arrow"
    compression: str | None = None

    def __post_init__(self) -> None:
        _pyarrow()
        if self.compression not in (None, "lz4", "zstd"):
            raise ValueError(f"compression={self.compression!r} is not known to Arrow files: 'lz4', 'zstd' or None")

    @override
    def dumps(self, obj: Any) -> bytes:
        return bytes(self.dump_parts(obj)[0])

    @override
    def dump_parts(self, obj: Any) -> Sequence[Part]:
        pyarrow = _pyarrow()
        kind, table = _to_table(obj)
        known: dict[bytes, bytes] = table.schema.metadata or {}
        table = table.replace_schema_metadata({**known, _KIND: kind.encode()})
        ipc = importlib.import_module("pyarrow.ipc")
        sink = pyarrow.BufferOutputStream()
        with ipc.new_file(sink, table.schema, options=ipc.IpcWriteOptions(compression=self.compression)) as writer:
            writer.write_table(table)
        return [memoryview(sink.getvalue())]

    @override
    def loads(self, blob: bytes) -> Any:
        pyarrow = _pyarrow()
        table = importlib.import_module("pyarrow.ipc").open_file(pyarrow.py_buffer(blob)).read_all()
        metadata: dict[bytes, bytes] = dict(table.schema.metadata or {})
        kind = metadata.pop(_KIND, b"").decode()
        return _from_table(table.replace_schema_metadata(metadata or None), kind)


def _pyarrow() -> Any:
    try:
        return importlib.import_module("pyarrow")
    except ImportError as error:
        raise ValueError(
            f"the serializer 'arrow' needs pyarrow: {error}; install it with `pip install \"flowyard[arrow]\"`"
        ) from error


def _to_table(value: Any) -> tuple[str, Any]:
    """Return what a value is and its content as a table.

    Raises:
        TypeError: it has no columns.
    """
    pyarrow = _pyarrow()
    kind = cast("type[Any]", type(value))
    library = kind.__module__.partition(".")[0]
    if isinstance(value, pyarrow.Table):
        return "table", value
    if isinstance(value, pyarrow.RecordBatch):
        return "batch", pyarrow.Table.from_batches([value])
    if library == "pandas" and kind.__name__ == "DataFrame":
        return "pandas", pyarrow.Table.from_pandas(value)
    if library == "pandas" and kind.__name__ == "Series":
        # A frame needs a name for its column, and a series has not always one.
        marked = "pandas-series" if value.name is not None else "pandas-series-unnamed"
        return marked, pyarrow.Table.from_pandas(value.to_frame("value" if value.name is None else value.name))
    if library == "polars" and kind.__name__ == "DataFrame":
        return "polars", value.to_arrow()
    raise TypeError(
        f"a {kind.__module__}.{kind.__qualname__} has no columns: Arrow files hold tables of pyarrow, data frames of "
        "pandas or polars, and series of pandas"
    )


def _from_table(table: Any, kind: str) -> Any:
    if kind == "batch":
        return table.combine_chunks().to_batches()[0] if table.num_rows else _empty_batch(table)
    if kind == "pandas":
        return table.to_pandas()
    if kind in ("pandas-series", "pandas-series-unnamed"):
        series = table.to_pandas().iloc[:, 0]
        return series.rename(None) if kind.endswith("unnamed") else series
    if kind == "polars":
        return importlib.import_module("polars").from_arrow(table)
    return table


def _empty_batch(table: Any) -> Any:
    return _pyarrow().RecordBatch.from_pylist([], schema=table.schema)
