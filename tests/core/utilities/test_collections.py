"""Small tools for collections."""

from __future__ import annotations

import collections
import dataclasses
import io
import itertools
from typing import Any, NamedTuple

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowyard.annotations import allow_failure, quote, unmapped
from flowyard.utilities.collections import (
    AutoEnum,
    StopVisiting,
    batched_iterable,
    dict_to_flatdict,
    distinct,
    ensure_iterable,
    extract_instances,
    flatdict_to_dict,
    get_from_dict,
    isiterable,
    listrepr,
    remove_nested_keys,
    visit_collection,
)


class Colour(AutoEnum):
    RED = AutoEnum.auto()
    BLUE = AutoEnum.auto()


def test_the_values_of_an_auto_enum_are_its_names() -> None:
    assert [each.value for each in Colour] == ["RED", "BLUE"]
    assert Colour("RED") is Colour.RED == "RED"
    assert repr(Colour.BLUE) == "Colour.BLUE"


# --- flat dicts --------------------------------------------------------------------------------------

NESTED = st.recursive(
    st.integers(), lambda inner: st.dictionaries(st.text(max_size=2), inner, max_size=3), max_leaves=8
)


def test_a_flat_dict_has_paths_as_keys() -> None:
    assert dict_to_flatdict({"a": {"b": 1, "c": {}}, "d": 2}) == {("a", "b"): 1, ("a", "c"): {}, ("d",): 2}


@given(st.dictionaries(st.text(max_size=2), NESTED, max_size=3))
def test_a_dict_made_flat_can_be_made_deep_again(dct: dict[str, Any]) -> None:
    assert flatdict_to_dict(dict_to_flatdict(dct)) == dct


def test_making_a_dict_deep_does_not_write_into_its_values() -> None:
    value: dict[str, int] = {}
    assert flatdict_to_dict({("a",): value, ("a", "b"): {"c": 1}}) == {"a": {"b": {"c": 1}}}
    assert value == {}


@pytest.mark.parametrize("flat", [{(): 1}, {("a",): 1, ("a", "b"): 2}], ids=["empty path", "behind a value"])
def test_paths_that_make_no_dict_are_refused(flat: Any) -> None:
    with pytest.raises(ValueError, match="path"):
        flatdict_to_dict(flat)


# --- iterables ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "obj",
    [[], (), set[int](), {}, range(2), iter([1]), (x for x in "a")],
    ids=["list", "tuple", "set", "dict", "range", "iterator", "generator"],
)
def test_a_collection_is_iterable(obj: Any) -> None:
    assert isiterable(obj)
    assert ensure_iterable(obj) is obj


@pytest.mark.parametrize(
    "obj",
    ["text", b"bytes", bytearray(b"x"), io.StringIO("a"), io.BytesIO(), 5, None],
    ids=["str", "bytes", "bytearray", "text file", "file", "int", "None"],
)
def test_text_bytes_files_and_scalars_are_single_things(obj: Any) -> None:
    assert not isiterable(obj)
    assert ensure_iterable(obj) == [obj]


def test_listrepr_joins_the_reprs() -> None:
    assert listrepr(["a", 1]) == "'a' 1"
    assert listrepr(["a", 1], sep=", ") == "'a', 1"


def test_the_objects_of_one_type_are_a_list() -> None:
    assert extract_instances([1, "a", 2, None], int) == [1, 2]
    assert extract_instances([1, "a"]) == [1, "a"]


def test_the_objects_of_several_types_are_lists_by_type() -> None:
    assert extract_instances([1, "a", 2.5, "b"], (int, str, bytes)) == {int: [1], str: ["a", "b"]}


def test_an_object_of_several_of_the_types_is_listed_once() -> None:
    assert extract_instances([True, 2], (bool, int)) == {bool: [True], int: [2]}


@given(st.lists(st.integers()), st.integers(1, 10))
def test_batches_hold_all_items_in_order(items: list[int], size: int) -> None:
    batches = list(batched_iterable(items, size))
    assert [item for batch in batches for item in batch] == items
    assert all(len(batch) == size for batch in batches[:-1])
    assert all(batches)


def test_batches_are_made_as_they_are_needed() -> None:
    assert next(batched_iterable(itertools.count(), 3)) == (0, 1, 2)


def test_a_batch_of_no_items_is_refused() -> None:
    with pytest.raises(ValueError, match="size=0"):
        batched_iterable([1], 0)


def test_distinct_keeps_the_first_of_each() -> None:
    assert list(distinct([3, 1, 3, 2, 1])) == [3, 1, 2]
    assert list(distinct(["Ab", "aB", "c"], key=str.lower)) == ["Ab", "c"]


# --- nested dicts ------------------------------------------------------------------------------------


def test_keys_are_removed_at_every_level_of_a_copy() -> None:
    original = {"a": 1, "b": {"a": 2, "c": {"a": 3, "d": 4}}, "e": [{"a": 5}]}
    assert remove_nested_keys(["a"], original) == {"b": {"c": {"d": 4}}, "e": [{"a": 5}]}
    assert original["a"] == 1


@pytest.mark.parametrize("obj", [5, "a", [{"a": 1}]], ids=repr)
def test_what_is_no_dict_is_returned_as_it_is(obj: Any) -> None:
    assert remove_nested_keys(["a"], obj) is obj


DATA = {"a": {"b": [10, {"c": 20}], "0": "zero"}, "none": None}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("a.b[0]", 10),
        ("a.b[1].c", 20),
        ("a.b.1.c", 20),
        (["a", "b", 1, "c"], 20),
        ("a.0", "zero"),
        ("none", None),
        ("a.x", "default"),
        ("a.b[7]", "default"),
        ("a.b.c", "default"),
        ("a.b[0].c", "default"),
        ("none.x", "default"),
    ],
)
def test_a_path_finds_what_is_there_or_the_default(path: Any, value: Any) -> None:
    assert get_from_dict(DATA, path, default="default") == value


# --- visiting ----------------------------------------------------------------------------------------


@dataclasses.dataclass
class Point:
    x: Any
    y: Any = 0


@dataclasses.dataclass(frozen=True)
class Frozen:
    x: Any
    made: list[int] = dataclasses.field(init=False, default_factory=list[int])


class Pair(NamedTuple):
    left: Any
    right: Any


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow", frozen=True)
    x: int
    y: Any = None


class Names(list[Any]):
    pass


def negate(value: Any) -> Any:
    return -value if isinstance(value, int) else value


def replaced(value: Any, **options: Any) -> Any:
    return visit_collection(value, negate, return_data=True, **options)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (1, -1),
        ([1, [2]], [-1, [-2]]),
        ((1, "a"), (-1, "a")),
        ({1, 2}, {-1, -2}),
        (frozenset({1}), frozenset({-1})),
        ({1: 2, "k": {3: [4]}}, {-1: -2, "k": {-3: [-4]}}),
        (Point(1, [2]), Point(-1, [-2])),
        (Frozen(1), Frozen(-1)),
        (Pair(1, 2), Pair(-1, -2)),
        (Names([1]), Names([-1])),
        (Model(x=1, y=[2], more=3), Model(x=-1, y=[-2], more=-3)),  # pyright: ignore[reportCallIssue]
        (unmapped(allow_failure(1)), unmapped(allow_failure(-1))),
        ("text", "text"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_everything_in_a_container_is_replaced_and_the_container_keeps_its_type(before: Any, after: Any) -> None:
    found = replaced(before)
    assert found == after
    assert type(found) is type(after)


def test_a_defaultdict_keeps_its_factory() -> None:
    found = replaced(collections.defaultdict(list, {"a": 1}))
    assert found == {"a": -1}
    assert found["new"] == []


@pytest.mark.parametrize("value", [["a", ("b",)], {"a": "b"}, Point("a"), Model(x=0), quote("a"), {"a"}], ids=repr)
def test_a_container_in_which_nothing_changes_is_not_copied(value: Any) -> None:
    assert replaced(value) is value


def test_originals_are_not_touched() -> None:
    model, point = Model(x=1), Point([1])
    replaced([model, point])
    assert (model.x, point.x) == (1, [1])


def test_without_return_data_the_function_is_only_called() -> None:
    seen: list[Any] = []
    assert visit_collection([1, {"k": (2,)}], seen.append) is None
    assert seen == [[1, {"k": (2,)}], 1, {"k": (2,)}, "k", (2,), 2]


def test_what_the_function_returns_is_looked_into() -> None:
    def expand(value: Any) -> Any:
        return [1, 2] if value == "both" else negate(value)

    assert visit_collection(["both"], expand, return_data=True) == [[-1, -2]]


@pytest.mark.parametrize(("depth", "after"), [(0, [1, [2, [3]]]), (1, [-1, [2, [3]]]), (2, [-1, [-2, [3]]])])
def test_the_depth_can_be_limited(depth: int, after: Any) -> None:
    assert replaced([1, [2, [3]]], max_depth=depth) == after


def test_a_visit_can_be_stopped_in_one_branch() -> None:
    def visit(value: Any) -> Any:
        if isinstance(value, tuple):
            raise StopVisiting
        return negate(value)

    assert visit_collection([1, (2, [3]), 4], visit, return_data=True) == [-1, (2, [3]), -4]


def test_stop_visiting_is_not_caught_by_except_exception() -> None:
    assert not issubclass(StopVisiting, Exception)


def test_what_a_visit_writes_into_the_context_is_seen_further_inside_only() -> None:
    seen: list[tuple[Any, int]] = []

    def visit(value: Any, context: dict[str, Any]) -> Any:
        context["depth"] += 1
        if isinstance(value, int):
            seen.append((value, context["depth"]))
        return value

    given_context = {"depth": 0}
    visit_collection([1, [2, [3]], 4], visit, context=given_context)
    assert seen == [(1, 2), (2, 3), (3, 4), (4, 2)]
    assert given_context == {"depth": 0}


def test_the_context_names_the_annotation_around_an_object() -> None:
    seen: dict[Any, Any] = {}

    def visit(value: Any, context: dict[str, Any]) -> Any:
        if isinstance(value, int):
            seen[value] = type(context.get("annotation"))
        return value

    visit_collection([1, quote([2]), unmapped(allow_failure(3))], visit, context={})
    assert seen == {1: type(None), 2: quote, 3: allow_failure}


def test_annotations_can_be_taken_away() -> None:
    assert replaced([unmapped(1), {"k": allow_failure(quote("a"))}], remove_annotations=True) == [-1, {"k": "a"}]


def test_a_container_inside_itself_is_visited_once() -> None:
    endless: list[Any] = [1]
    endless.append(endless)
    calls: list[Any] = []
    visit_collection(endless, calls.append)
    assert len(calls) == 3
