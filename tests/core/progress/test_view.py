from __future__ import annotations

import sys
import threading
from collections.abc import Generator

import pytest

from flowyard.progress import ProgressView, for_flow
from flowyard.progress.tally import Tally
from flowyard.schemas.states import State, StateType
from flowyard.settings import FLOWYARD_PROGRESS, Settings

PENDING, RUNNING, COMPLETED = (State[None](kind) for kind in ("PENDING", "RUNNING", "COMPLETED"))


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class FakeDrawing:
    def __init__(self, failure: Exception | None = None) -> None:
        self.calls: list[str] = []
        self.shown: dict[str, tuple[int, int]] = {}
        self.failure = failure
        self.failed = threading.Event()

    def open(self) -> None:
        self.calls.append("open")

    def draw(self, tally: Tally, now: float) -> None:
        self.calls.append("draw")
        if self.failure is not None:
            raise self.failure
        self.shown = {name: (task.finished, task.total) for name, task in tally.tasks.items()}

    def close(self, tally: Tally, now: float) -> None:
        if self.failure is None:
            self.draw(tally, now)
        self.calls.append("close")
        self.failed.set()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def drawing() -> FakeDrawing:
    return FakeDrawing()


@pytest.fixture
def view(clock: Clock, drawing: FakeDrawing, monkeypatch: pytest.MonkeyPatch) -> Generator[ProgressView]:
    # The test draws: the thread's pace is no part of what is tested here.
    monkeypatch.setattr(ProgressView, "_run", lambda view: None)
    view = ProgressView(lambda: drawing, clock=clock)
    yield view
    view.close()


def test_a_flow_that_is_done_within_half_a_second_shows_nothing(
    view: ProgressView, clock: Clock, drawing: FakeDrawing
) -> None:
    view.submitted("x")
    view.entered("x", PENDING)
    clock.now = 0.4
    view.tick()
    view.entered("x", COMPLETED, PENDING)
    clock.now = 0.6
    view.tick()
    view.close()
    assert drawing.calls == []


def test_a_flow_that_takes_longer_shows_its_tasks(view: ProgressView, clock: Clock, drawing: FakeDrawing) -> None:
    view.submitted("x", 3)
    view.entered("x", PENDING)
    clock.now = 0.6
    view.tick()
    assert drawing.calls == ["open", "draw"]
    assert drawing.shown == {"x": (0, 3)}


def test_a_flow_that_only_calls_its_tasks_shows_nothing(view: ProgressView, clock: Clock, drawing: FakeDrawing) -> None:
    for _ in range(2000):
        view.entered("x", PENDING)
    clock.now = 5.0
    view.tick()
    assert drawing.calls == []
    assert not view.is_shown


def test_tasks_that_were_called_before_the_first_submit_count(
    view: ProgressView, clock: Clock, drawing: FakeDrawing
) -> None:
    for _ in range(2000):
        view.entered("called", PENDING)
        view.entered("called", COMPLETED, PENDING)
    view.submitted("x")
    clock.now = 1.0
    view.tick()
    assert drawing.shown == {"called": (2000, 2000), "x": (0, 1)}


def test_the_end_is_drawn_once(view: ProgressView, clock: Clock, drawing: FakeDrawing) -> None:
    view.submitted("x")
    clock.now = 1.0
    view.tick()
    view.entered("x", PENDING)
    view.entered("x", COMPLETED, PENDING)
    view.close()
    view.close()
    assert drawing.calls == ["open", "draw", "draw", "close"]
    assert drawing.shown == {"x": (1, 1)}


def test_an_exception_in_the_block_gives_the_terminal_back(
    view: ProgressView, clock: Clock, drawing: FakeDrawing
) -> None:
    view.submitted("x")
    clock.now = 1.0
    view.tick()
    with pytest.raises(KeyboardInterrupt), view:
        raise KeyboardInterrupt
    assert drawing.calls[-1] == "close"


def test_where_another_flow_has_the_terminal_nothing_is_drawn(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    monkeypatch.setattr(ProgressView, "_run", lambda view: None)
    view = ProgressView(lambda: None, clock=clock)
    view.submitted("x")
    clock.now = 1.0
    view.tick()
    assert not view.is_shown
    view.close()


def test_counts_from_many_threads_are_exact(view: ProgressView, clock: Clock, drawing: FakeDrawing) -> None:
    def work() -> None:
        for _ in range(500):
            view.entered("x", PENDING)
            view.entered("x", RUNNING, PENDING)
            view.entered("x", COMPLETED, RUNNING)

    view.submitted("x", 4001)
    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    clock.now = 1.0
    view.tick()
    for thread in threads:
        thread.join()
    view.tick()
    assert drawing.shown == {"x": (4000, 4001)}


def test_a_terminal_that_fails_stops_the_view_and_not_the_run(caplog: pytest.LogCaptureFixture) -> None:
    drawing = FakeDrawing(OSError(5, "Input/output error"))
    times = iter([0.0])
    view = ProgressView(lambda: drawing, clock=lambda: next(times, 10.0))
    view.submitted("x")
    assert drawing.failed.wait(90)
    view.close()
    assert drawing.calls == ["open", "draw", "close"]
    assert "The progress view stopped: OSError: [Errno 5] Input/output error" in caplog.text


def test_the_drawing_thread_ends_with_the_view(drawing: FakeDrawing) -> None:
    view = ProgressView(lambda: drawing)
    view.submitted("x")
    view.close()
    assert "flowyard-progress" not in {thread.name for thread in threading.enumerate()}


class Stream:
    def __init__(self, terminal: bool) -> None:
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


@pytest.mark.parametrize(
    ("stdout", "stderr", "setting", "env", "expected"),
    [
        (False, False, "auto", {}, False),
        (False, False, "always", {}, False),
        (True, False, "auto", {}, True),
        (False, True, "auto", {}, True),
        (True, True, "never", {}, False),
        (True, True, "auto", {"TERM": "dumb"}, False),
        (True, True, "auto", {"CI": "true"}, False),
        (True, True, "always", {"CI": "true"}, True),
    ],
)
def test_there_is_a_view_on_a_terminal_only(
    stdout: bool, stderr: bool, setting: str, env: dict[str, str], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", Stream(stdout))
    monkeypatch.setattr(sys, "stderr", Stream(stderr))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("CI", raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert (for_flow(Settings({FLOWYARD_PROGRESS: setting})) is not None) is expected


def test_states_keep_their_type_beside_their_name() -> None:
    tally = Tally()
    tally.apply(("x", "Skipped", StateType.COMPLETED, None, None), 0.0)
    assert tally.is_finished
