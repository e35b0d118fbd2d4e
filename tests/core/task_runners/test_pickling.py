"""Values on their way between processes."""

from __future__ import annotations

import importlib.util
import pickle
import subprocess
import sys
import textwrap
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowyard.exceptions import RemoteException, UnpicklableValue
from flowyard.serializers.buffers import LARGE
from flowyard.task_runners.envelopes import Envelope, put, take
from flowyard.task_runners.packing_errors import describe, pack_error, unpack_error
from flowyard.task_runners.pickling import Pickled, is_importable, pickled, pickled_or_blame


def load_elsewhere(value: Pickled, path: Path, expression: str) -> str:
    """Load a pickle in a fresh interpreter whose `sys.path` has `path`; return the repr of an expression of `value`."""
    (path / "value.pickle").write_bytes(value.data)
    code = f"import pickle; value = pickle.load(open({str(path / 'value.pickle')!r}, 'rb')); print(repr({expression}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=path, timeout=90)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# --- values ---------------------------------------------------------------------------------------------------

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=15,
)


@given(plain)
def test_plain_values_come_back(value: object):
    assert pickled(value).load() == value


def test_a_large_buffer_is_not_copied_into_the_pickle():
    blob = bytearray(10 * LARGE)
    made = pickled({"blob": pickle.PickleBuffer(blob)})
    assert len(made.data) < 200
    (buffer,) = made.buffers
    assert memoryview(buffer).obj is blob
    assert made.size > 10 * LARGE
    assert made.load()["blob"] == blob


def test_small_buffers_stay_in_the_pickle():
    made = pickled(pickle.PickleBuffer(bytearray(10)))
    assert made.buffers == []
    assert made.load() == bytearray(10)


def test_in_one_piece_everything_is_in_the_pickle():
    made = pickled(pickle.PickleBuffer(bytearray(10 * LARGE)), in_one_piece=True)
    assert not made.buffers
    assert made.load() == bytearray(10 * LARGE)


@given(st.lists(st.sampled_from([0, 1, 100, LARGE - 1, LARGE, 3 * LARGE]), max_size=4), st.booleans())
def test_an_envelope_in_one_piece_comes_back(sizes: list[int], as_view: bool):
    buffers: list[Any] = []
    references = [put(Pickled(bytes([number]) * size), buffers) for number, size in enumerate(sizes)]
    data = Envelope(b"control", buffers).to_bytes()
    back = Envelope.from_bytes(memoryview(data) if as_view else data)
    assert bytes(back.control) == b"control"
    for number, (size, reference) in enumerate(zip(sizes, references, strict=True)):
        assert bytes(take(reference, back.buffers).data) == bytes([number]) * size


# --- functions and modules --------------------------------------------------------------------------------------


def test_the_function_of_a_task_is_imported_and_not_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "my_tasks.py").write_text(
        textwrap.dedent(
            """
            import threading

            class Task:
                def __init__(self, fn):
                    self.fn = fn

            lock = threading.Lock()
            seen = []

            @Task
            def work():
                with lock:
                    seen.append(1)
                    return seen
            """
        )
    )
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("my_tasks")
    try:
        with pytest.raises(TypeError, match="lock"):
            cloudpickle.dumps(module.work.fn)
        made = pickled([module.work.fn, module.work])
    finally:
        del sys.modules["my_tasks"]
    assert load_elsewhere(made, tmp_path, "value[0]() is __import__('my_tasks').seen") == "True"


def test_what_an_unimportable_module_holds_is_copied(tmp_path: Path):
    source = tmp_path / "elsewhere" / "script.py"
    source.parent.mkdir()
    source.write_text("BASE = 40\nclass Thing:\n    x = 2\ndef work(thing):\n    return BASE + thing.x\n")
    spec = importlib.util.spec_from_file_location("a_script_by_path", source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["a_script_by_path"] = module
    try:
        spec.loader.exec_module(module)
        assert not is_importable("a_script_by_path")
        made = pickled((module.work, module.Thing()))
        assert cloudpickle.list_registry_pickle_by_value() == set(), "no trace is left in cloudpickle"
    finally:
        del sys.modules["a_script_by_path"]
    assert load_elsewhere(made, tmp_path, "value[0](value[1])") == "42"


@pytest.mark.parametrize("name", ["sys", "json", "json.decoder", "os.path", "flowyard.exceptions", "pickle"])
def test_modules_that_a_fresh_interpreter_finds_are_importable(name: str):
    importlib.import_module(name)
    assert is_importable(name)


@pytest.mark.parametrize("name", ["__main__", "__mp_main__", "no_such_module"])
def test_other_modules_are_not(name: str):
    assert not is_importable(name)


# --- exceptions -----------------------------------------------------------------------------------------------


class OddConstructor(Exception):
    def __init__(self, a: int, b: int) -> None:
        super().__init__(f"{a} and {b}")
        self.a = a


class DoublesItsMessage(Exception):
    def __init__(self, what: str) -> None:
        super().__init__(f"failed with {what}")


class KeywordOnly(ValueError):
    def __init__(self, *, code: int) -> None:
        super().__init__()
        self.code = code


@pytest.mark.parametrize(
    "error",
    [
        ValueError("plain"),
        KeyError("key"),
        OSError(2, "No such file", "name.txt"),
        FileNotFoundError(2, "No such file"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"),
        StopIteration(3),
        SystemExit(4),
        ImportError("no", name="module"),
        ExceptionGroup("several", [ValueError(1), TypeError(2)]),
        UnpicklableValue("argument 'x'", "lock", "because"),
        OddConstructor(1, 2),
        DoublesItsMessage("x"),
        KeywordOnly(code=5),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_exception_keeps_class_arguments_and_attributes(error: BaseException):
    error.add_note("a note")
    back = pickled(error).load()
    assert type(back) is type(error)
    assert str(back) == str(error)
    assert repr(back.args) == repr(error.args)
    assert {k: repr(v) for k, v in vars(back).items()} == {k: repr(v) for k, v in vars(error).items()}
    for name in ("errno", "filename", "start", "reason", "value", "code", "name"):
        assert getattr(back, name, None) == getattr(error, name, None), name


def chained() -> ValueError:
    try:
        try:
            raise LookupError("first")
        except LookupError as first:
            raise TypeError("second") from first
    except TypeError:
        try:
            raise ValueError("third")
        except ValueError as third:
            return third


def through_bytes(error: BaseException) -> BaseException:
    buffers: list[Any] = []
    return unpack_error(pack_error(error, buffers), buffers, "worker 7")


def test_a_chain_of_causes_comes_back_with_the_traceback_as_a_note():
    back = through_bytes(chained())
    assert type(back) is ValueError
    assert back.__cause__ is None
    assert type(back.__context__) is TypeError
    assert type(back.__context__.__cause__) is LookupError
    assert back.__context__.__suppress_context__ is True
    (note,) = back.__notes__
    assert note.startswith("Raised in worker 7:\nTraceback (most recent call last):")
    assert "in chained" in note
    assert "LookupError: first" in note


def test_a_chain_that_bites_its_tail_comes_back():
    one, two = ValueError(1), ValueError(2)
    one.__cause__, two.__cause__ = two, one
    back = through_bytes(one)
    assert back.__cause__ is not None
    assert back.__cause__.__cause__ is back


def test_an_exception_that_cannot_be_pickled_becomes_a_stand_in_among_its_causes():
    error = chained()
    error.lock = threading.Lock()  # type: ignore[attr-defined]
    back = through_bytes(error)
    assert isinstance(back, RemoteException)
    assert str(back) == "ValueError: third"
    assert "in chained" in back.traceback
    assert type(back.__context__) is TypeError
    assert str(pickled(back).load()) == "ValueError: third"


def test_an_exception_whose_str_raises_is_still_described():
    class Rude(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    failure = describe(Rude())
    assert failure.type_name.endswith("Rude")
    assert failure.message == "<its message cannot be read: RuntimeError>"


def test_what_is_told_about_an_exception_is_at_most_64_kb():
    failure = describe(ValueError("x" * 200_000))
    assert len(failure.message) == 65_536
    assert len(failure.traceback) == 65_536
    assert failure.traceback.endswith("x\n")


# --- who is to blame ----------------------------------------------------------------------------------------------


@dataclass
class Config:
    name: str
    connection: Any


class Plain:
    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def method(self) -> None: ...


def _function_with_closure() -> Any:
    lock = threading.Lock()

    def work() -> None:
        with lock:
            pass

    return work


@pytest.mark.parametrize(
    ("value", "where"),
    [
        pytest.param(threading.Lock(), "argument 'x'", id="itself"),
        pytest.param([1, threading.Lock()], "[1] in argument 'x'", id="list"),
        pytest.param({"a": {"b": threading.Lock()}}, "['a']['b'] in argument 'x'", id="dict"),
        pytest.param(Config("c", threading.Lock()), ".connection in argument 'x'", id="dataclass"),
        pytest.param(Plain([Plain(threading.Lock())]), ".inner[0].inner in argument 'x'", id="object"),
        pytest.param(_function_with_closure(), "variable 'lock' in argument 'x'", id="closure"),
        pytest.param(Plain(threading.Lock()).method, ".__self__.inner in argument 'x'", id="method"),
    ],
)
def test_the_part_that_cannot_be_pickled_is_found(value: object, where: str):
    with pytest.raises(UnpicklableValue) as caught:
        pickled_or_blame(value, "argument 'x'")
    assert caught.value.what == where
    assert caught.value.type_name == "_thread.lock"
    assert "lock" in caught.value.cause


def test_a_value_that_contains_itself_and_cannot_be_pickled_is_named():
    endless: list[Any] = [threading.Lock()]
    endless.append(endless)
    with pytest.raises(UnpicklableValue, match="argument 'x'"):
        pickled_or_blame(endless, "argument 'x'")


def test_an_error_of_a_users_own_reduce_is_told():
    class Rude:
        def __reduce__(self) -> Any:
            raise RuntimeError("not today")

    with pytest.raises(UnpicklableValue) as caught:
        pickled_or_blame(Rude(), "argument 'x'")
    assert caught.value.cause == "RuntimeError: not today"


def test_a_reducer_goes_before_what_a_type_says_itself() -> None:
    class Reference:
        def __reduce__(self) -> str:
            raise TypeError("it cannot be pickled")

    packed = pickled({"a": [Reference()]}, reducers={Reference: lambda _: (str, ("instead",))})
    assert packed.load() == {"a": ["instead"]}
