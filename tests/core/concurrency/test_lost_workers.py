"""Slots that are held in a worker come back when it is lost, whoever holds them there."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flowyard import flow, task
from flowyard.concurrency.sync import concurrency
from flowyard.process.control import control_plane
from flowyard.schemas.ids import new_id
from flowyard.schemas.limits import ConcurrencyLimit
from flowyard.task_runners import ProcessPoolTaskRunner


def die_once(mark: Path) -> str:
    """End the process, the first time."""
    if mark.exists():
        return "lives"
    mark.touch()
    os._exit(3)


def _by_itself(name: str, mark: Path) -> str:
    with concurrency(name):
        return die_once(mark)


def _in_a_task_that_it_calls(name: str, mark: Path) -> str:
    return task(_by_itself)(name, mark)


def _by_the_tag_of_a_task_that_it_calls(name: str, mark: Path) -> str:
    return task(tags=[name])(die_once)(mark)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("hold", [_by_itself, _in_a_task_that_it_calls, _by_the_tag_of_a_task_that_it_calls])
def test_the_next_attempt_gets_the_slots_of_the_one_that_was_lost(
    records: Any, tmp_path: Path, hold: Callable[[str, Path], str]
) -> None:
    name = f"lost-{new_id()}"
    limits = control_plane().limits
    for limit in (name, f"tag:{name}"):
        limits.create(ConcurrencyLimit(name=limit, limit=1))

    @flow(task_runner=ProcessPoolTaskRunner(max_workers=1))
    def loses() -> str:
        return task(crash_retries=1)(hold).submit(name, tmp_path / "mark").result()

    assert loses() == "lives"
    assert [limits.read(limit).active_slots for limit in (name, f"tag:{name}")] == [0, 0]
