from __future__ import annotations

import copy
import enum
import sys
import time
from collections import Counter, OrderedDict, defaultdict
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pydantic
import pydantic.v1
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowyard.annotations import allow_failure, quote, unmapped
from flowyard.containers import rebuild, scan


class Wanted:
    def __init__(self, value: Any = None) -> None:
        self.value = value


def found(value):
    result = scan(value, Wanted)
    return [] if result is None else result.items


def replaced(value):
    return rebuild(value, Wanted, lambda wanted, _allowed: wanted.value)


class Point(NamedTuple):
    x: Any
    y: Any


class Pair(tuple):
    label: str


class Names(list):
    owner: str


class Picky(dict):
    def __init__(self, owner):
        super().__init__()
        self.owner = owner


@dataclass
class Plain:
    a: Any
    b: Any = 2
    c: Any = field(init=False, default=3)


@dataclass(frozen=True, slots=True)
class Frozen:
    a: Any


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True, extra="allow", frozen=True)
    a: Any
    n: int = 1


class OldModel(pydantic.v1.BaseModel):
    a: Any
    n: int = 1


W = Wanted("w")

CONTAINERS = {
    "itself": (W, "w"),
    "list": ([1, W], [1, "w"]),
    "tuple": ((W,), ("w",)),
    "named tuple": (Point(1, W), Point(1, "w")),
    "tuple subclass": (Pair((W, 1)), Pair(("w", 1))),
    "list subclass": (Names([W]), Names(["w"])),
    "set": ({1, W}, {1, "w"}),
    "frozenset": (frozenset({1, W}), frozenset({1, "w"})),
    "dict value": ({"a": W}, {"a": "w"}),
    "dict key": ({W: 1, "b": 2}, {"w": 1, "b": 2}),
    "ordered dict": (OrderedDict([(W, 1), ("b", 2)]), OrderedDict([("w", 1), ("b", 2)])),
    "default dict": (defaultdict(list, {"a": W}), defaultdict(list, {"a": "w"})),
    "counter key": (Counter({W: 2}), Counter({"w": 2})),
    "dataclass": (Plain(W), Plain("w")),
    "frozen slots dataclass": (Frozen(W), Frozen("w")),
    "pydantic model": (Model(a=W), Model(a="w")),
    "pydantic extra field": (Model.model_validate({"a": 1, "other": W}), Model.model_validate({"a": 1, "other": "w"})),
    "pydantic 1 model": (OldModel(a=W), OldModel(a="w")),
    "deep": ([{"a": ({"b": [Plain([W])]},)}], [{"a": ({"b": [Plain(["w"])]},)}]),
    "allow_failure": ([allow_failure(W)], ["w"]),
    "unmapped": (unmapped([W]), ["w"]),
}


@pytest.mark.parametrize(("value", "expected"), CONTAINERS.values(), ids=CONTAINERS.keys())
def test_objects_are_found_and_replaced_inside(value, expected):
    before = copy.copy(value)
    assert [wanted for wanted, _ in found(value)] == [W]
    result = replaced(value)
    assert result == expected
    assert type(result) is type(expected)
    assert type(before) is type(value)
    assert len(found(value)) == 1, "the original was changed"


NOTHING_INSIDE = {
    "none": None,
    "text": "abc",
    "bytes": b"abc",
    "list": [1, [2, "x"]],
    "dict": {"a": {"b": (1, 2)}},
    "dataclass": Plain([1]),
    "model": Model(a=[1]),
    "old model": OldModel(a=[1]),
    "struct sequence": time.gmtime(0),
    "class": Wanted,
    "dataclass class": Plain,
    "open object": sys.stdout,
    "enum with tuple mixin": enum.Enum("E", {"A": (1, 2)}, type=tuple).A,
}


@pytest.mark.parametrize("value", NOTHING_INSIDE.values(), ids=NOTHING_INSIDE.keys())
def test_a_value_with_nothing_inside_is_returned_itself(value):
    assert scan(value, Wanted) is None
    assert replaced(value) is value


def test_parts_in_which_nothing_was_replaced_are_not_copied():
    untouched = [1, {"a": 2}]
    result = replaced({"x": untouched, "y": [W]})
    assert result["x"] is untouched


def test_objects_come_in_the_order_of_reading():
    one, two, three = Wanted(1), Wanted(2), Wanted(3)
    assert [wanted.value for wanted, _ in found([one, {"k": (two,)}, three])] == [1, 2, 3]


def test_allow_failure_holds_for_everything_under_it_and_only_there():
    inside, outside = Wanted("in"), Wanted("out")
    value = [outside, allow_failure(unmapped([{"a": inside}]))]
    assert found(value) == [(outside, False), (inside, True)]
    flags = {}
    rebuild(value, Wanted, lambda wanted, allowed: flags.setdefault(wanted.value, allowed))
    assert flags == {"out": False, "in": True}


def test_allow_failure_holds_under_another_annotation():
    assert found(unmapped(allow_failure(W))) == [(W, True)]
    assert found(allow_failure(unmapped(W))) == [(W, True)]


def test_one_list_inside_and_outside_of_allow_failure_is_seen_in_both_ways():
    shared = [W]
    assert found([shared, allow_failure(shared)]) == [(W, False), (W, True)]
    assert rebuild([shared, allow_failure(shared)], Wanted, lambda _w, allowed: allowed) == [[False], [True]]


def test_what_quote_surrounds_is_handed_over_unseen():
    secret = [W, allow_failure(1)]
    result = scan({"a": quote(secret)}, Wanted)
    assert result is not None
    assert result.items == []
    assert result.annotated
    assert replaced({"a": quote(secret)})["a"] is secret


def test_quote_and_another_annotation_both_count():
    assert replaced(quote(unmapped(W))) is W
    assert replaced(unmapped(quote(W))) is W


def test_an_annotation_around_a_plain_value_is_taken_away():
    assert replaced(unmapped([1, 2])) == [1, 2]
    assert replaced([allow_failure(1), 2]) == [1, 2]


def test_a_cycle_is_read_once():
    loop: list[Any] = [1]
    loop.append(loop)
    assert scan(loop, Wanted) is None
    assert replaced(loop) is loop


def test_a_cycle_is_replaced_by_a_cycle():
    loop: dict[str, Any] = {"w": W}
    loop["self"] = [loop]
    result = replaced(loop)
    assert result["w"] == "w"
    assert result["self"][0] is result
    assert loop["w"] is W


def test_an_object_that_knows_itself_is_replaced_by_one_that_knows_itself():
    node = Plain(W)
    node.b = (node,)
    result = replaced(node)
    assert result.a == "w"
    assert result.b[0] is result


def test_what_was_shared_stays_shared():
    shared = [W]
    result = replaced([shared, shared])
    assert result[0] is result[1]


def test_depth_is_no_limit_where_nothing_is_found():
    deep: list[Any] = []
    for _ in range(10_000):
        deep = [deep]
    assert scan(deep, Wanted) is None


def test_attributes_of_subclasses_are_kept():
    names = Names([W])
    names.owner = "me"
    picky = Picky("you")
    picky["a"] = W
    pair = Pair((W,))
    pair.label = "p"
    result = replaced([names, picky, pair])
    assert (result[0].owner, result[1].owner, result[2].label) == ("me", "you", "p")


def test_a_default_dict_keeps_its_factory():
    assert replaced(defaultdict(list, {"a": W}))["missing"] == []


def test_a_dataclass_is_copied_without_running_its_constructor():
    runs = []

    @dataclass
    class Counted:
        a: Any

        def __post_init__(self):
            runs.append(1)

    replaced(Counted(W))
    assert runs == [1]


def test_a_value_that_cannot_stand_in_a_set_is_refused_with_the_way_out():
    with pytest.raises(TypeError, match=r"takes the place of a future in a set cannot be hashed.*in a list"):
        rebuild({W}, Wanted, lambda _w, _a: [1])
    with pytest.raises(TypeError, match="future in a dict"):
        rebuild({W: 1}, Wanted, lambda _w, _a: [1])


def test_arrays_are_not_looked_into():
    class Array:
        def __iter__(self):
            raise AssertionError("looked into")

        def __getattr__(self, name):
            raise AssertionError(f"asked for {name}")

    value = [Array(), W]
    assert len(found(value)) == 1
    assert replaced(value)[1] == "w"


VALUES = st.recursive(
    st.one_of(st.integers(), st.text(max_size=3), st.builds(Wanted, st.integers())),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner, inner),
        st.dictionaries(st.text(max_size=2), inner, max_size=3),
        st.builds(Plain, inner),
        st.builds(allow_failure, inner),
    ),
    max_leaves=12,
)


@given(VALUES)
def test_everything_that_scan_finds_is_replaced_and_nothing_else(value):
    items = found(value)
    calls = []
    result = rebuild(value, Wanted, lambda wanted, allowed: calls.append((wanted, allowed)) or "done")
    assert calls == items
    assert scan(result, Wanted) is None
    if scan(value, Wanted) is None:
        assert result is value
