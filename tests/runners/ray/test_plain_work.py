"""A piece of work whose calls differ in their arguments only: packed as one, and its outcomes as short arrays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from flowyard import flow, task
from flowyard.task_runners import plain_outcomes
from flowyard.task_runners.envelopes import Envelope
from flowyard.testing.utilities import flowyard_test_harness
from flowyard_ray import RayTaskRunner, dispatch

pytestmark = [pytest.mark.timeout(400), pytest.mark.usefixtures("ray_driver", "_backend")]


@pytest.fixture(scope="module")
def _backend() -> Iterator[None]:
    with flowyard_test_harness():
        yield


@task
def plus_one(x: Any) -> Any:
    return x + 1


@task
def fail_at_3(x: int) -> list[int]:
    if x == 3:
        raise ValueError("three")
    return [x] * x


@pytest.fixture
def kinds(monkeypatch: pytest.MonkeyPatch) -> Counter[type]:
    """What kinds of outcomes arrived."""
    counted: Counter[type] = Counter()
    unpack = plain_outcomes.unpack_either

    def counting(packed: Any, *rest: Any) -> Any:
        counted[type(packed)] += 1
        return unpack(packed, *rest)

    monkeypatch.setattr(dispatch, "unpack_either", counting)
    return counted


def test_calls_of_a_map_and_their_outcomes_go_in_one_piece(kinds: Counter[type]) -> None:
    @flow(task_runner=RayTaskRunner())
    def mapped() -> list[Any]:
        return plus_one.map([1, 2.5, 2**70, True], batch_size=4).result()

    assert mapped() == [2, 3.5, 2**70 + 1, 2]
    assert kinds == {list: 4}


def test_what_fails_among_them_goes_the_general_way(kinds: Counter[type]) -> None:
    @flow(task_runner=RayTaskRunner())
    def mapped() -> list[Any]:
        futures = fail_at_3.map(range(5), batch_size=5)
        return [future.result(raise_on_failure=False) for future in futures]

    *before, error, after = mapped()
    assert (before, after) == ([[], [1], [2, 2]], [4] * 4)
    assert str(error) == "three"
    assert kinds == {list: 4, Envelope: 1}
