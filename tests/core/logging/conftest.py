"""A run that executes nowhere, and loggers that are as a fresh process has them."""

from __future__ import annotations

import builtins
import io
import logging
from collections.abc import Generator
from pathlib import Path

import pytest

from flowyard.context import FlowRunContext, RunContext, TaskRunContext, entered
from flowyard.schemas.events import JournalEvent, LogEmitted
from flowyard.schemas.ids import new_id
from flowyard.schemas.runs import FlowRun, TaskRun
from flowyard.settings import FLOWYARD_HOME, temporary_settings


class ListRecorder:
    def __init__(self) -> None:
        self.events: list[JournalEvent] = []

    def append(self, event: JournalEvent) -> None:
        self.events.append(event)

    @property
    def logs(self) -> list[LogEmitted]:
        return [event for event in self.events if isinstance(event, LogEmitted)]

    @property
    def messages(self) -> list[str]:
        return [log.message for log in self.logs]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def recorder() -> ListRecorder:
    return ListRecorder()


@pytest.fixture
def flow_run() -> FlowRun:
    return FlowRun(new_id(), "happy-otter", flow_name="my-flow")


@pytest.fixture
def task_run(flow_run: FlowRun) -> TaskRun:
    return TaskRun("key", "0", "x-0", "x", flow_run_id=flow_run.id)


@pytest.fixture
def flow_context(flow_run: FlowRun, recorder: ListRecorder) -> FlowRunContext:
    return FlowRunContext(flow=None, flow_run=flow_run, recorder=recorder)


@pytest.fixture
def task_context(task_run: TaskRun, recorder: ListRecorder) -> TaskRunContext:
    return TaskRunContext(task=None, task_run=task_run, parameters={}, recorder=recorder)


@pytest.fixture
def in_flow(flow_context: FlowRunContext) -> Generator[FlowRunContext]:
    with entered(RunContext(flow_context)):
        yield flow_context


@pytest.fixture
def in_task(flow_context: FlowRunContext, task_context: TaskRunContext) -> Generator[TaskRunContext]:
    with entered(RunContext(flow_context, task_context)):
        yield task_context


@pytest.fixture(autouse=True)
def fresh_logging(tmp_path: Path) -> Generator[None]:
    """Take everything that earlier tests configured away, and everything this one does."""
    last_resort, original_print = logging.lastResort, builtins.print
    state = {
        name: (logger.level, list(logger.handlers), logger.propagate)
        for name, logger in logging.root.manager.loggerDict.items()
        if isinstance(logger, logging.Logger)
    }
    for name in state:
        if name.startswith("flowyard"):
            _reset(name, 0, [], True)
    with temporary_settings({FLOWYARD_HOME: tmp_path}):
        yield
    for name, logger in logging.root.manager.loggerDict.items():
        if isinstance(logger, logging.Logger):
            _reset(name, *state.get(name, (0, [], True)))
    logging.lastResort, builtins.print = last_resort, original_print


def _reset(name: str, level: int, handlers: list[logging.Handler], propagate: bool) -> None:
    logger = logging.getLogger(name)
    logger.setLevel(level)
    logger.handlers[:] = handlers
    logger.propagate = propagate
