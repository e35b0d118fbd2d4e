"""Values that a runner loses after their calls completed, and that are made again."""

from __future__ import annotations

import signal
import sys
from collections.abc import Mapping
from typing import Any

import pytest
from typing_extensions import override

from flowyard import flow, task
from flowyard.exceptions import TerminationSignal, ValueLost
from flowyard.results.handles import UnpersistedResult
from flowyard.schemas.states import StateType
from flowyard.task_runners import SequentialTaskRunner
from flowyard.task_runners.base import Capabilities, Handle, Held, TaskCall
from flowyard.task_runners.outcomes import crashed


class ThereStill(UnpersistedResult[Any]):
    is_on_cluster = True


class ForgetfulRunner(SequentialTaskRunner):
    """Keeps values as a cluster does, and loses the first one that is asked for; `number` is sent at the next call."""

    capabilities = Capabilities(locality=True)

    def __init__(self, number: int | None = None) -> None:
        super().__init__()
        self._number = number
        self._has_lost = False

    @override
    def options(self) -> dict[str, Any]:
        return {"number": self._number}

    @override
    def submit(self, call: TaskCall, upstream: Mapping[int, Handle] | None = None) -> Handle:
        handle = Handle(call.task_run.id)
        if self._has_lost and self._number is not None:
            number, self._number = self._number, None
            signal.raise_signal(number)
        if upstream and not self._has_lost:
            self._has_lost = True
            handle.complete(crashed(call, ValueLost("of the test", "make-0", tuple(upstream))))
            return handle
        found: dict[int, Held] = {}
        for key, other in (upstream or {}).items():
            assert other.outcome is not None
            found[key] = Held("make-0", StateType.COMPLETED, other.outcome.state.data.get())
        call.held = found
        outcome = call.shim.execute(call)
        if outcome.state.is_completed():
            outcome.state.data = ThereStill(outcome.state.data.get())
        handle.complete(outcome)
        return handle


@pytest.fixture
def made() -> list[int]:
    return []


def flow_with(runner: ForgetfulRunner, made: list[int]) -> Any:
    @task(crash_retries=1)
    def make() -> int:
        made.append(1)
        return 20

    @task
    def use(value: int) -> int:
        return value + 1

    @flow(task_runner=runner)
    def loses() -> int:
        return use.submit(make.submit()).result()

    return loses


def test_a_lost_value_is_made_again(made: list[int]) -> None:
    assert flow_with(ForgetfulRunner(), made)() == 21
    assert len(made) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")
@pytest.mark.parametrize(
    ("number", "error"),
    [(signal.SIGTERM, TerminationSignal), (signal.SIGINT, KeyboardInterrupt)],
    ids=["SIGTERM", "Ctrl-C"],
)
def test_a_signal_that_comes_while_a_value_is_made_again_ends_the_flow(
    made: list[int], number: int, error: type[BaseException]
) -> None:
    with pytest.raises(error):
        flow_with(ForgetfulRunner(number), made)()
    assert len(made) == 1
