"""Hashes of text, files and objects."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any
from uuid import UUID

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowyard.utilities.hashing import file_hash, hash_objects, stable_hash


@dataclasses.dataclass
class Point:
    x: Any
    y: Any = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    x: Any


class Model(pydantic.BaseModel):
    x: Any
    y: int = 0


class OtherModel(pydantic.BaseModel):
    x: Any
    y: int = 0


@pytest.mark.parametrize("text", ["hello", b"hello"])
def test_the_hash_of_one_text_is_its_plain_md5(text: str | bytes) -> None:
    assert stable_hash(text) == hashlib.md5(b"hello", usedforsecurity=False).hexdigest()


def test_another_algorithm_can_be_named() -> None:
    assert stable_hash("hello", hash_algo=hashlib.sha256) == hashlib.sha256(b"hello").hexdigest()


@given(st.lists(st.text(), min_size=1, max_size=4), st.lists(st.text(), min_size=1, max_size=4))
def test_texts_hash_equal_only_when_they_are(one: list[str], other: list[str]) -> None:
    assert (stable_hash(*one) == stable_hash(*other)) == (one == other)


def test_it_matters_where_one_text_ends() -> None:
    assert stable_hash("ab", "c") != stable_hash("a", "bc")


def test_the_hash_of_a_file_is_the_hash_of_its_content(tmp_path: Path) -> None:
    content = os.urandom(1 << 20)
    path = tmp_path / "data.bin"
    path.write_bytes(content)
    assert file_hash(path) == hashlib.md5(content, usedforsecurity=False).hexdigest()
    assert file_hash(str(path), hash_algo=hashlib.sha1) == hashlib.sha1(content).hexdigest()


def test_a_file_that_is_not_there_cannot_be_hashed(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        file_hash(tmp_path / "nothing")


LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5) | st.binary(max_size=5)
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


def exactly(value: Any) -> Any:
    """Return a form of a plain value that compares with its types."""
    if isinstance(value, (list, tuple)):
        return (type(value).__name__, [exactly(item) for item in value])
    if isinstance(value, dict):
        return ("dict", sorted((key, exactly(item)) for key, item in value.items()))
    return (type(value).__name__, repr(value))


@given(VALUES, VALUES)
def test_plain_values_hash_equal_only_when_they_are(one: Any, other: Any) -> None:
    assert (hash_objects(one) == hash_objects(other)) == (exactly(one) == exactly(other))


DIFFERENT: list[Any] = [
    *(None, True, 1, 1.0, "1", b"1", "True", -1, 10**5000),
    *([1], (1,), {1}, frozenset({1}), {1: 1}, {"1": 1}, [[1]], [1, [2]], [[1], 2], [], (), {}, set()),
    *(Point(1), Point(2), Frozen(1), Model(x=1), Model(x=1, y=2), OtherModel(x=1), {"x": 1, "y": 0}),
    *(UUID(int=1), Path("a"), Path("b"), len, Point, range(3)),
]


def test_values_of_different_types_or_shapes_hash_differently() -> None:
    hashes = [hash_objects(value) for value in DIFFERENT]
    assert None not in hashes
    assert len(set(hashes)) == len(DIFFERENT)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({"a", "b", "c", "d"}, {"d", "c", "b", "a"}),
        (Point({"a": 1, "b": 2}), Point({"b": 2, "a": 1})),
        (Frozen([1]), Frozen([1])),
        (Model(x=1), Model(x=1, y=0)),
        (Path("a"), Path("a")),
    ],
    ids=["dict", "set", "dataclass", "slots", "model", "pickled"],
)
def test_equal_values_hash_equal(one: Any, other: Any) -> None:
    assert hash_objects(one) == hash_objects(other)


def test_positions_and_names_of_arguments_matter() -> None:
    assert len({hash_objects(1, 2), hash_objects(2, 1), hash_objects(1, b=2), hash_objects(a=1, b=2)}) == 4
    assert hash_objects(a=1, b=2) == hash_objects(b=2, a=1)


def test_another_algorithm_makes_another_hash() -> None:
    found = hash_objects(1, hash_algo=hashlib.sha256)
    assert found is not None
    assert len(found) == 64


def endless() -> list[Any]:
    inside: list[Any] = []
    inside.append(inside)
    return inside


@pytest.mark.parametrize("value", [threading.Lock(), [threading.Lock()], endless()], ids=["lock", "nested", "cycle"])
def test_what_cannot_be_hashed_has_no_hash(value: Any) -> None:
    assert hash_objects(1, value) is None


ELSEWHERE = """
import pydantic
from flowyard.utilities.hashing import hash_objects

class Model(pydantic.BaseModel):
    alpha: set[str]
    beta: int = 0
    gamma: int = 0

value = Model(alpha={"a", "bc", "def"}, beta=1, gamma=2)
print(hash_objects({"x", "yz", "zzz"}, value, {"k": frozenset("hello")}))
"""


def test_the_hash_is_the_same_in_every_process() -> None:
    found = {
        subprocess.run(
            [sys.executable, "-c", ELSEWHERE],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(found) == 1
    assert len(found.pop().strip()) == 32
