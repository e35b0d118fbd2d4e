from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from contextvars import copy_context
from pathlib import Path
from typing import Any

import pytest

from flowyard.context import FlowRunContext, TaskRunContext
from flowyard.flows import flow
from flowyard.logging import disable_run_logger, setup_logging
from flowyard.process.backends import PROCESS
from flowyard.schemas.filters import LogFilter
from flowyard.settings import FLOWYARD_LOGGING_EXTRA_LOGGERS, FLOWYARD_LOGGING_LEVEL, temporary_settings
from flowyard.tasks import task
from flowyard.testing.utilities import flowyard_test_harness

from .conftest import ListRecorder


def _show(
    message: Any, category: type[Warning], filename: str, lineno: int, _file: Any = None, line: Any = None
) -> None:
    sys.stderr.write(warnings.formatwarning(message, category, filename, lineno, line))


@pytest.fixture(autouse=True)
def shown() -> Iterator[None]:
    """Show warnings on stderr, as it is in a program, where pytest does not record them."""
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = _show
        setup_logging()
        yield


def test_a_warning_in_a_run_is_logged_once_with_category_and_place(
    in_task: TaskRunContext, recorder: ListRecorder, capsys: pytest.CaptureFixture[str]
) -> None:
    warnings.warn("it is old", DeprecationWarning, stacklevel=1)
    [log] = recorder.logs
    assert (log.level, log.name, log.task_run_id) == (logging.WARNING, "py.warnings", in_task.task_run.id)
    assert log.message.startswith(f"{__file__}:")
    assert log.message.endswith(": DeprecationWarning: it is old")
    assert capsys.readouterr().err.splitlines() == [
        log.message,
        '  warnings.warn("it is old", DeprecationWarning, stacklevel=1)',
    ]


def test_a_warning_outside_of_runs_is_only_shown(recorder: ListRecorder, capsys: pytest.CaptureFixture[str]) -> None:
    warnings.warn("nobody runs", UserWarning, stacklevel=1)
    assert recorder.logs == []
    assert capsys.readouterr().err.count("UserWarning: nobody runs") == 1


def test_what_a_block_records_or_filters_refuse_is_not_logged(in_flow: FlowRunContext, recorder: ListRecorder) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.warn("recorded", UserWarning, stacklevel=1)
    with pytest.warns(UserWarning, match="expected"):
        warnings.warn("expected", UserWarning, stacklevel=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.warn("ignored", UserWarning, stacklevel=1)
        warnings.simplefilter("error")
        with pytest.raises(UserWarning):
            warnings.warn("raised", UserWarning, stacklevel=1)
    assert [str(each.message) for each in caught] == ["recorded"]
    assert recorder.logs == []
    warnings.warn("logged", UserWarning, stacklevel=1)
    assert len(recorder.logs) == 1


def test_a_block_around_the_runs_has_what_it_records_and_undoes_the_rest(
    in_flow: FlowRunContext, recorder: ListRecorder
) -> None:
    before = warnings.showwarning
    with warnings.catch_warnings(record=True) as caught:
        setup_logging()
        warnings.warn("both", UserWarning, stacklevel=1)
    assert [str(each.message) for each in caught] == ["both"]
    assert len(recorder.logs) == 1
    assert warnings.showwarning is before


def test_threads_log_for_their_own_runs(in_flow: FlowRunContext, recorder: ListRecorder) -> None:
    def warn(word: str) -> None:
        warnings.warn(word, UserWarning, stacklevel=1)

    threads = [
        threading.Thread(target=copy_context().run, args=(warn, "of the run")),
        threading.Thread(target=warn, args=("of nobody",)),
    ]
    for thread in threads:
        thread.start()
        thread.join()
    assert [message.rpartition(": ")[2] for message in recorder.messages] == ["of the run"]


@pytest.mark.parametrize(
    ("extra", "is_first"),
    [([], True), (["py.warnings"], True), (["py.warnings"], False)],
    ids=["captured", "by an extra logger", "by an extra logger, while a flow runs"],
)
def test_capturing_by_logging_leaves_one_line(
    in_flow: FlowRunContext, recorder: ListRecorder, extra: list[str], is_first: bool
) -> None:
    if is_first:
        logging.captureWarnings(True)
    try:
        with temporary_settings({FLOWYARD_LOGGING_EXTRA_LOGGERS: extra}):
            setup_logging()
            logging.captureWarnings(True)
            warnings.warn("once", UserWarning, stacklevel=1)
    finally:
        logging.captureWarnings(False)
    assert [log.level for log in recorder.logs] == [logging.WARNING]
    assert "UserWarning: once" in recorder.messages[0]


def test_a_function_of_the_user_around_this_one_logs_once(in_flow: FlowRunContext, recorder: ListRecorder) -> None:
    inner: Any = warnings.showwarning
    warnings.showwarning = lambda *args: inner(*args)  # pyright: ignore[reportAttributeAccessIssue]
    setup_logging()
    warnings.warn("once", UserWarning, stacklevel=1)
    assert len(recorder.logs) == 1


def test_a_handler_that_warns_does_not_come_back_to_itself(in_flow: FlowRunContext, recorder: ListRecorder) -> None:
    class Warns(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            warnings.warn(f"seen {record.levelname}", UserWarning, stacklevel=1)

    logging.getLogger("flowyard.flow_runs").addHandler(Warns())
    warnings.warn("first", UserWarning, stacklevel=1)
    assert len(recorder.logs) == 1


def test_levels_and_disabled_loggers_hold_for_warnings(in_flow: FlowRunContext, recorder: ListRecorder) -> None:
    with temporary_settings({FLOWYARD_LOGGING_LEVEL: "ERROR"}):
        setup_logging()
        warnings.warn("too low", UserWarning, stacklevel=1)
    setup_logging()
    with disable_run_logger():
        warnings.warn("disabled", UserWarning, stacklevel=1)
    assert recorder.logs == []


def test_flows_and_tasks_outside_of_any_have_their_warnings_in_the_log() -> None:
    @task
    def alone() -> None:
        warnings.warn("alone", UserWarning, stacklevel=1)

    @flow
    def around() -> None:
        warnings.warn("in the flow", UserWarning, stacklevel=1)
        alone.submit().wait()

    with flowyard_test_harness():
        around()
        alone()
        logs = PROCESS.backend().control.read_logs(LogFilter())
    found = [log for log in logs if log.name == "py.warnings"]
    assert sorted(log.message.rpartition(": ")[2] for log in found) == ["alone", "alone", "in the flow"]
    assert sorted((log.flow_run_id is None, log.task_run_id is None) for log in found) == [
        (False, False),
        (False, True),
        (True, False),
    ]


SCRIPT = """
import warnings
from flowyard import flow

def warn():
    warnings.warn("in main", DeprecationWarning)

@flow
def calls():
    warn()

if __name__ == "__main__":
    warn()
    warnings.resetwarnings()
    calls()
"""


@pytest.mark.parametrize(("options", "code"), [([], 0), (["-W", "error"], 1)], ids=["shown", "error"])
def test_a_program_shows_its_warnings_as_ever(tmp_path: Path, options: list[str], code: int) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "FLOWYARD_HOME": str(tmp_path), "PYTHONWARNINGS": ""}
    done = subprocess.run(
        [sys.executable, *options, str(script)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    shown = f'{script}:6: DeprecationWarning: in main\n  warnings.warn("in main", DeprecationWarning)\n'
    assert done.stderr.count(shown) == (0 if code else 2), done.stderr
