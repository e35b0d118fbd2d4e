"""Where a block class comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from flowyard.blocks import registry
from flowyard.blocks.core import Block


class Mine(Block):
    """Of a module that no installed package has the name of."""


@pytest.fixture
def searches(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What was searched among all that is installed: one entry for each time."""
    made: list[str] = []

    def search() -> Mapping[str, list[str]]:
        made.append("search")
        return {"tests": ["pytest"]}

    monkeypatch.setattr(registry, "packages_distributions", search)
    registry._distributions.cache_clear()
    monkeypatch.setattr(Mine, "__module__", "tests.mine")
    yield made
    registry._distributions.cache_clear()


def test_the_origin_names_the_package_that_has_the_module(searches: list[str]) -> None:
    assert registry.origin_of(Mine) == f"tests.mine:Mine (pytest {pytest.__version__})"


def test_what_is_installed_is_searched_once_in_a_process(searches: list[str]) -> None:
    registry.origin_of(Mine)
    registry.origin_of(Mine)
    assert searches == ["search"]
