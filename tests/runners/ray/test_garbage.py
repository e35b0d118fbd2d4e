"""The thresholds of Python's search for garbage, without a cluster."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from flowyard_ray.garbage import FewerWalks

DEFAULT = (700, 10, 10)


@pytest.fixture(autouse=True)
def _thresholds() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(*DEFAULT)
    yield
    gc.set_threshold(*before)


def test_python_looks_at_everything_less_often_until_the_last_block_ends() -> None:
    walks = FewerWalks()
    with walks:
        with walks:
            assert gc.get_threshold() == (700, 10, 50)
        assert gc.get_threshold() == (700, 10, 50)
    assert gc.get_threshold() == DEFAULT


def test_thresholds_that_somebody_set_stay() -> None:
    walks = FewerWalks()
    gc.set_threshold(5_000, 20, 20)
    with walks:
        assert gc.get_threshold() == (5_000, 20, 20)
        gc.set_threshold(9, 9, 9)
    assert gc.get_threshold() == (9, 9, 9)
