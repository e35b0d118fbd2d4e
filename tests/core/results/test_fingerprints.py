from __future__ import annotations

import enum
import functools
import subprocess
import sys
import textwrap
import threading
from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowyard.annotations import quote, unmapped
from flowyard.results import fingerprint, fingerprint_of
from flowyard.tasks import task_input_hash


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


@dataclass
class Plain:
    a: Any


@dataclass
class Other:
    a: Any


class Model(pydantic.BaseModel):
    a: Any


Pair = namedtuple("Pair", "a")  # pyright: ignore[reportUntypedNamedTuple]

DIFFERENT = [
    *(None, True, False, 0, 1, -1, 10**5000, 1.0, 0.0, -0.0, float("nan"), 1j, "", "1", "None", b"", b"1", "\ud800"),
    *([], (), {}, set(), [1], (1,), {1}, [[1]], [1, 2], [2, 1], ["12"], ["1", "2"], {"a": 1}, {"a": 2}, {"b": 1}),
    *({1: 2}, {2: 1}, {"a": {"b": 1}}, [{"a": 1}], {1, 2}, {1, 3}),
    *(Decimal(1), Decimal("1.0"), UUID(int=1), date(2020, 1, 1), datetime(2020, 1, 1, tzinfo=UTC), timedelta(1)),
    *(Colour.RED, Colour.BLUE, Plain(1), Plain(2), Other(1), Model(a=1), Model(a=2), Pair(1), Path("a"), Path("b")),
    *(quote(1), unmapped(1), OrderedDict(a=1), len, max, int, Plain, lambda: 1, lambda: 2),
]


def test_different_inputs_have_different_hashes():
    hashes = [fingerprint_of({"x": value}) for value in DIFFERENT]
    assert None not in hashes
    assert len(set(hashes)) == len(DIFFERENT)
    assert fingerprint_of({"x": 1}) != fingerprint_of({"y": 1})
    assert fingerprint_of({"x": 1}) != fingerprint_of({"x": 1, "y": None})


def test_a_set_and_a_frozenset_of_the_same_items_are_one_input():
    assert fingerprint_of({"x": {1, 2}}) == fingerprint_of({"x": frozenset({2, 1})})


def test_the_order_of_arguments_and_of_keys_does_not_count():
    assert fingerprint_of({"x": 1, "y": 2}) == fingerprint_of({"y": 2, "x": 1})
    assert fingerprint_of({"x": {"a": 1, "b": 2}}) == fingerprint_of({"x": {"b": 2, "a": 1}})


def test_equal_objects_have_equal_hashes_whatever_their_identity():
    def make():
        text = "".join(["a", "b"])
        return {"x": [Plain([text, "ab"]), Model(a={"ab", "c"}), Colour.RED, Pair("ab")]}

    assert fingerprint_of(make()) == fingerprint_of(make())


VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=4), st.binary(max_size=3)
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner),
        st.dictionaries(st.text(max_size=2), inner, max_size=3),
        st.builds(Plain, inner),
    ),
    max_leaves=8,
)


@given(VALUES, VALUES)
def test_hashes_are_equal_exactly_when_the_written_values_are(one, two):
    same = repr(one) == repr(two) or (one == two and repr(sorted_keys(one)) == repr(sorted_keys(two)))
    assert (fingerprint_of({"x": one}) == fingerprint_of({"x": two})) == same


def sorted_keys(value):
    if isinstance(value, dict):
        return {key: sorted_keys(value[key]) for key in sorted(value)}
    if isinstance(value, (list, tuple)):
        return type(value)(map(sorted_keys, value))
    if isinstance(value, Plain):
        return Plain(sorted_keys(value.a))
    return value


def test_what_cannot_be_hashed_is_none_with_a_reason_that_names_the_argument():
    found = fingerprint({"x": 1, "lock": [threading.Lock()]})
    assert found.value is None
    assert found.reason is not None
    assert "argument 'lock' (a list) cannot be hashed" in found.reason


def test_a_value_that_contains_itself_is_not_hashed():
    loop: list[Any] = []
    loop.append(loop)
    assert fingerprint({"x": loop}).value is None


def test_hashes_are_the_same_in_another_process():
    script = """
        from datetime import date
        from pathlib import Path
        from flowyard.results import fingerprint_of
        class Mine:
            def __init__(self, a): self.a = a
        print(fingerprint_of({"x": [1, "a", {"b", "c", "d"}, {"k": date(2020, 1, 1)}, Path("p")], "y": Mine(5)}))
    """
    hashes = {
        subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script)],
            check=True,
            capture_output=True,
            env={"PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(hashes) == 1
    assert hashes != {b"None\n"}


# --- task_input_hash ----------------------------------------------------------------------------------------


def context(fn, task_key="t"):
    return SimpleNamespace(task=SimpleNamespace(fn=fn, task_key=task_key))


def test_a_cache_key_depends_on_task_code_and_arguments():
    def one(x):
        return x + 1

    def two(x):
        return x + 2

    def same(x):
        return x + 1

    def other_name(x):
        return x.a

    def other_name_too(x):
        return x.b

    key = task_input_hash(context(one), {"x": 1})
    assert key is not None
    assert task_input_hash(context(one), {"x": 1}) == key
    assert task_input_hash(context(same), {"x": 1}) == key
    assert task_input_hash(context(two), {"x": 1}) != key, "a changed constant is changed code"
    assert task_input_hash(context(other_name), {"x": 1}) != task_input_hash(context(other_name_too), {"x": 1})
    assert task_input_hash(context(one), {"x": 2}) != key
    assert task_input_hash(context(one, "u"), {"x": 1}) != key


def test_a_cache_key_sees_changes_in_inner_functions():
    def one():
        return [lambda: 1]

    def two():
        return [lambda: 2]

    assert task_input_hash(context(one), {}) != task_input_hash(context(two), {})


def test_arguments_that_cannot_be_hashed_have_no_cache_key():
    assert task_input_hash(context(len), {"x": threading.Lock()}) is None


@pytest.mark.parametrize("fn", [len, functools.partial(max, 1)], ids=["builtin", "partial"])
def test_a_function_without_code_has_a_cache_key_too(fn):
    assert task_input_hash(context(fn), {"x": 1}) is not None
