"""How often the garbage collector looks while many calls are under way."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from flowyard.process.collecting import Collecting

USUAL = (700, 10, 10)


@pytest.fixture(autouse=True)
def thresholds() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(*USUAL)
    yield
    gc.set_threshold(*before)


def test_the_collector_looks_seldom_until_the_last_block_is_left() -> None:
    collecting = Collecting()
    with collecting.seldom():
        first = gc.get_threshold()
        with collecting.seldom():
            pass
        assert gc.get_threshold() == first
        assert first[0] > USUAL[0]
        assert first[1] == USUAL[1]
    assert gc.get_threshold() == USUAL


@pytest.mark.parametrize("chosen", [0, 50_000], ids=["switched off", "higher"])
def test_what_somebody_has_chosen_stays(chosen: int) -> None:
    gc.set_threshold(chosen, *USUAL[1:])
    with Collecting().seldom():
        assert gc.get_threshold()[0] == chosen
    assert gc.get_threshold()[0] == chosen


def test_what_is_chosen_in_the_block_stays() -> None:
    with Collecting().seldom():
        gc.set_threshold(1234, *USUAL[1:])
    assert gc.get_threshold()[0] == 1234
