"""The serializers for tables, for plain data, and for what has large buffers."""

from __future__ import annotations

import pickle
import sys
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowyard.exceptions import RemoteException
from flowyard.serializers import ArrowSerializer, MsgpackSerializer, PickleSerializer, resolve_serializer

FRAMES = {
    "table": pa.table({"a": [1, 2], "b": ["x", None]}),
    "batch": pa.RecordBatch.from_pylist([{"a": 1}]),
    "batch without rows": pa.RecordBatch.from_pylist([], schema=pa.schema([("a", pa.int64())])),
    "frame": pd.DataFrame({"x": [1, 2, 3], "y": list("abc")}, index=[5, 6, 7]),
    "series": pd.Series([1.5, 2.5], name="degrees"),
    "series without a name": pd.Series([1, 2]),
}


class TestArrow:
    @pytest.mark.parametrize("value", FRAMES.values(), ids=FRAMES.keys())
    @pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
    def test_what_has_columns_comes_back_as_what_it_was(self, value, compression):
        serializer = ArrowSerializer(compression=compression)
        back = serializer.loads(serializer.dumps(value))
        assert type(back) is type(value)
        assert back.equals(value)
        assert getattr(back, "name", None) == getattr(value, "name", None)

    def test_the_file_is_an_arrow_file_that_others_can_read(self):
        content = ArrowSerializer().dumps(pd.DataFrame({"x": [1, 2]}))
        assert pa.ipc.open_file(content).read_all().column("x").to_pylist() == [1, 2]

    def test_what_has_no_columns_is_refused(self):
        with pytest.raises(TypeError, match=r"a builtins\.list has no columns"):
            ArrowSerializer().dumps([1, 2])

    def test_an_unknown_compression_is_refused(self):
        with pytest.raises(ValueError, match="compression='gzip'.*'lz4', 'zstd' or None"):
            ArrowSerializer(compression="gzip")

    def test_without_pyarrow_it_says_what_to_install(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "pyarrow", None)
        with pytest.raises(ValueError, match=r'pip install "flowyard\[arrow\]"'):
            resolve_serializer("arrow")


NAIVE = datetime(2024, 1, 1)  # noqa: DTZ001  it is what is refused
plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=5))])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(0, 9), inner),
    max_leaves=10,
)


class TestMsgpack:
    @given(plain)
    def test_plain_data_comes_back_equal(self, value):
        serializer = MsgpackSerializer()
        assert serializer.loads(serializer.dumps(value)) == value

    @pytest.mark.parametrize("value", [(1, 2), {1, 2}, NAIVE, object(), 1j], ids=lambda v: type(v).__name__)
    def test_what_would_come_back_as_something_else_is_refused(self, value):
        with pytest.raises(TypeError):
            MsgpackSerializer().dumps([value])

    def test_tuples_become_lists_if_asked_for(self):
        serializer = MsgpackSerializer(strict_types=False)
        assert serializer.loads(serializer.dumps((1, (2,)))) == [1, [2]]

    def test_exceptions_come_back(self):
        serializer = MsgpackSerializer()
        back = serializer.loads(serializer.dumps(ValueError("no", 3)))
        assert type(back) is ValueError
        assert back.args == ("no", 3)

    def test_an_exception_of_an_unknown_class_comes_back_as_a_stand_in(self):
        class Local(Exception):
            pass

        serializer = MsgpackSerializer()
        assert type(serializer.loads(serializer.dumps(Local("gone")))) is RemoteException


class TestParts:
    def test_large_arrays_stay_out_of_the_pickle_and_are_not_copied(self):
        array = np.arange(100_000)
        pickled, buffer = PickleSerializer().dump_parts({"a": array})
        assert len(pickled) < 1000
        assert np.shares_memory(np.frombuffer(buffer, array.dtype), array)

    @pytest.mark.parametrize(
        "value",
        [
            np.arange(10),
            np.arange(100_000).reshape(2, -1),
            np.arange(100_000).reshape(2, -1).T,
            np.arange(200_000)[::2],
        ],
        ids=["small", "large", "transposed", "not contiguous"],
    )
    def test_arrays_come_back_from_their_parts(self, value):
        serializer = PickleSerializer()
        parts = serializer.dump_parts(value)
        back = serializer.load_parts([bytes(parts[0]), *(bytearray(part) for part in parts[1:])])
        assert (back == value).all()
        back[0] = 7  # whoever reads a result may change it

    def test_a_pickle_library_of_the_users_is_used_as_it_is(self):
        serializer = PickleSerializer(picklelib="pickle")
        (part,) = serializer.dump_parts(np.arange(100_000))
        assert (pickle.loads(part) == np.arange(100_000)).all()

    def test_another_version_of_the_pickle_library_warns(self):
        serializer = PickleSerializer(picklelib_version="0.1")
        with pytest.warns(RuntimeWarning, match=r"cloudpickle 0\.1, and .* is installed"):
            serializer.load_parts(serializer.dump_parts([1]))
