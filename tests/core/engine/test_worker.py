"""What the shim of a worker does for a call, and what it leaves."""

from __future__ import annotations

import pytest

from flowyard.engine.worker import WorkerScope, WorkerShim
from flowyard.testing.runners import make_call


def double(x: int) -> int:
    return 2 * x


def test_for_a_task_that_calls_no_other_nothing_is_made_that_only_those_need(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    whole = WorkerScope._make_whole  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(WorkerScope, "_make_whole", lambda scope, used: (made.append(scope), whole(scope, used)))
    outcome = WorkerShim().execute(make_call(double, x=21).call)
    assert outcome.state.result() == 42
    assert not made
