"""The process pool: what cannot travel to a process and back, and what does."""

from __future__ import annotations

import importlib
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flowyard.exceptions import RemoteException, UnpicklableValue
from flowyard.schemas.events import LogEmitted
from flowyard.schemas.states import StateType
from flowyard.task_runners.base import Outcome
from flowyard.task_runners.process import ProcessPoolTaskRunner
from flowyard.testing.runners import RecordedCall, make_call, outcome_of, outcomes_of
from flowyard.testing.workloads import identity


@pytest.fixture
def runner() -> Iterator[ProcessPoolTaskRunner]:
    made = ProcessPoolTaskRunner(max_workers=2)
    with made.start():
        yield made


@pytest.fixture
def one_worker() -> Iterator[ProcessPoolTaskRunner]:
    made = ProcessPoolTaskRunner(max_workers=1)
    with made.start():
        yield made


def run(runner: ProcessPoolTaskRunner, fn: Any, **arguments: Any) -> Outcome:
    return outcome_of(runner.submit(make_call(fn, **arguments).call))


def test_an_argument_that_cannot_be_pickled_is_named(runner: ProcessPoolTaskRunner):
    made = make_call(identity, x={"deep": [threading.Lock()]})
    outcome = outcome_of(runner.submit(made.call))
    assert outcome.state.type is StateType.FAILED
    error = outcome.state.result(raise_on_failure=False)
    assert isinstance(error, UnpicklableValue)
    assert error.what == "['deep'][0] in argument 'x' of task 'identity'"
    assert error.type_name == "_thread.lock"
    assert "ConcurrentTaskRunner" in str(error)
    assert made.states(outcome) == ["Failed"]
    assert outcome.lost_worker is None


def test_a_function_that_cannot_be_pickled_names_what_it_uses(runner: ProcessPoolTaskRunner):
    lock = threading.Lock()

    def guarded() -> None:
        with lock:
            pass

    error = run(runner, guarded).state.result(raise_on_failure=False)
    assert isinstance(error, UnpicklableValue)
    assert error.what == "variable 'lock' in the function of task 'guarded'"


def test_a_result_that_cannot_be_pickled_fails_its_task_by_name(runner: ProcessPoolTaskRunner):
    def make_lock() -> Any:
        return {"lock": threading.Lock()}

    made = make_call(make_lock)
    outcome = outcome_of(runner.submit(made.call))
    assert outcome.state.type is StateType.FAILED
    error = outcome.state.result(raise_on_failure=False)
    assert isinstance(error, UnpicklableValue)
    assert error.what == "['lock'] in result of task 'make_lock'"
    assert made.states(outcome) == ["Running", "Failed"], "Completed must not reach the journal"
    assert outcome.task_run.state_name == "Failed"


def test_an_exception_that_cannot_be_pickled_is_described(runner: ProcessPoolTaskRunner):
    def explode() -> None:
        try:
            raise LookupError("the cause")
        except LookupError as cause:
            error = ValueError("no way")
            error.lock = threading.Lock()  # type: ignore[attr-defined]
            raise error from cause

    state = run(runner, explode).state
    error = state.result(raise_on_failure=False)
    assert isinstance(error, RemoteException)
    assert (error.type_name, error.message) == ("ValueError", "no way")
    assert "explode" in error.traceback
    assert type(error.__cause__) is LookupError
    assert "ValueError: no way" in (state.message or "")


def test_a_module_that_workers_cannot_import_is_named(
    one_worker: ProcessPoolTaskRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    assert run(one_worker, identity, x=1).state.is_completed(), "the worker starts before the module can be found"
    (tmp_path / "only_here.py").write_text("class Thing:\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    thing = importlib.import_module("only_here").Thing()
    try:
        error = run(one_worker, identity, x=thing).state.result(raise_on_failure=False)
    finally:
        del sys.modules["only_here"]
    assert isinstance(error, UnpicklableValue)
    assert error.what == "argument 'x' of task 'identity'"
    assert "No module named 'only_here'" in error.cause


def test_large_values_come_back_whole(runner: ProcessPoolTaskRunner):
    blob = bytearray(os.urandom(1 << 20) * 20)
    handles = [runner.submit(make_call(identity, x=[blob, number]).call) for number in range(3)]
    for number, outcome in enumerate(outcomes_of(handles)):
        back, same_number = outcome.state.result()
        assert same_number == number
        assert back == blob


def test_log_lines_of_a_task_are_never_dropped(one_worker: ProcessPoolTaskRunner):
    def chatter(lines: int) -> None:
        from flowyard import get_run_logger

        logger = get_run_logger()
        for line in range(lines):
            logger.info("line %s", line)

    made: RecordedCall = make_call(chatter, lines=3000)
    outcome = outcome_of(one_worker.submit(made.call))
    texts = [event.message for event in [*made.recorder, *outcome.events] if isinstance(event, LogEmitted)]
    assert [text for text in texts if text.startswith("line ")] == [f"line {line}" for line in range(3000)]
    assert len(outcome.events) < 1200, "what a task records does not pile up until it ends"
