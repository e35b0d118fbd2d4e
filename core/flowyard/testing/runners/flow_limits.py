"""Concurrency limits of tasks, wherever they execute."""

# ruff: noqa: D102  the name of a test says what it checks

from __future__ import annotations

from typing import Any

import pytest

from flowyard.concurrency.sync import concurrency
from flowyard.flows import flow
from flowyard.process.control import control_plane
from flowyard.schemas.limits import ConcurrencyLimit
from flowyard.task_runners.base import TaskRunner
from flowyard.tasks import task
from flowyard.testing.runners.fixtures import FlowsUnderTest
from flowyard.testing.workloads import note, notes


class FlowLimitsContract(FlowsUnderTest):
    """Tags with a limit, and limits that tasks name themselves."""

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _limits(cls, _backend: None) -> None:
        for name in ("tag:one-at-a-time", "one-holder"):
            control_plane().limits.create(ConcurrencyLimit(name=name, limit=1))

    @pytest.mark.timeout(120)
    def test_a_chain_under_one_tag_with_one_slot_ends(self, runner: TaskRunner, folder: str) -> None:
        @task(tags=["one-at-a-time"])
        def step(folder: str, before: int) -> int:
            note(folder, "step")
            note(folder, "step")
            return before + 1

        @flow(task_runner=runner)
        def chains() -> list[int]:
            # All are submitted at once, the last ones first in the queue if they could.
            ends: list[Any] = [0, 0]
            for number in (0, 1):
                for _ in range(4):
                    ends[number] = step.submit(folder, ends[number])
            return [end.result() for end in ends]

        assert chains() == [4, 4]
        assert notes(folder) == ["begin step", "end step"] * 16
        assert control_plane().limits.read("tag:one-at-a-time").active_slots == 0

    @pytest.mark.timeout(120)
    def test_a_limit_is_kept_across_workers(self, runner: TaskRunner, folder: str) -> None:
        @task
        def hold(folder: str, number: int) -> int:
            with concurrency("one-holder", timeout_seconds=60):
                note(folder, str(number))
                note(folder, str(number))
            return number

        @flow(task_runner=runner)
        def holds() -> list[int]:
            return [future.result() for future in hold.map(folder, range(6))]

        assert holds() == list(range(6))
        order = [line.split()[1] for line in notes(folder)]
        assert order == [number for number in order[::4] for _ in range(4)]
        assert control_plane().limits.read("one-holder").active_slots == 0
