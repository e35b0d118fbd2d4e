from __future__ import annotations

import logging
import pickle
import threading
from datetime import UTC, datetime, timedelta

import pytest

from flowyard.context import FlowRunContext, RunContext, TaskRunContext, entered
from flowyard.exceptions import LeaseLost, MissingContextError
from flowyard.logging import (
    flow_run_logger,
    get_logger,
    get_run_logger,
    run_log_for_flow,
    run_log_for_task,
    setup_logging,
    task_run_logger,
)
from flowyard.logging.handlers import cut
from flowyard.schemas.events import JournalEvent
from flowyard.schemas.ids import new_id
from flowyard.schemas.runs import FlowRun, TaskRun
from flowyard.settings import (
    FLOWYARD_LOGGING_EXTRA_LOGGERS,
    FLOWYARD_LOGGING_TO_API_ENABLED,
    FLOWYARD_LOGGING_TO_API_MAX_LOG_SIZE,
    FLOWYARD_LOGGING_TO_API_WHEN_MISSING_FLOW,
    temporary_settings,
)

from .conftest import ListRecorder


def test_a_line_of_a_task_run_is_recorded_with_its_run(
    flow_run: FlowRun, task_run: TaskRun, recorder: ListRecorder
) -> None:
    setup_logging()
    before = datetime.now(UTC)
    run_log_for_task(task_run, recorder).info("Finished in state %s", "Completed()")
    (log,) = recorder.logs
    assert log[:5] == (flow_run.id, task_run.id, "flowyard.task_runs", logging.INFO, "Finished in state Completed()")
    assert timedelta(0) <= log.timestamp - before + timedelta(microseconds=2) < timedelta(minutes=1)


def test_a_line_of_a_flow_run_has_no_task_run(flow_run: FlowRun, recorder: ListRecorder) -> None:
    setup_logging()
    run_log_for_flow(flow_run, None, recorder).warning("Crash detected!")
    assert recorder.logs[0][:4] == (flow_run.id, None, "flowyard.flow_runs", logging.WARNING)


def test_a_line_below_the_level_is_not_recorded(flow_run: FlowRun, recorder: ListRecorder) -> None:
    setup_logging()
    log = run_log_for_flow(flow_run, None, recorder)
    log.debug("not this")
    log.log(logging.INFO, "this")
    assert recorder.messages == ["this"]


def test_users_lines_belong_to_the_task_run_that_executes(in_task: TaskRunContext, recorder: ListRecorder) -> None:
    setup_logging()
    get_run_logger().info("hello %s", "you")
    assert recorder.logs[0][:3] == (in_task.task_run.flow_run_id, in_task.task_run.id, "flowyard.task_runs")
    assert recorder.messages == ["hello you"]


def test_a_logger_works_in_a_thread_without_a_context(in_task: TaskRunContext, recorder: ListRecorder) -> None:
    setup_logging()
    logger = get_run_logger()
    thread = threading.Thread(target=logger.info, args=("from afar",))
    thread.start()
    thread.join()
    assert [(log.task_run_id, log.message) for log in recorder.logs] == [(in_task.task_run.id, "from afar")]


def test_a_logger_of_the_flow_used_in_a_task_logs_for_the_flow(
    in_flow: FlowRunContext, task_context: TaskRunContext, recorder: ListRecorder
) -> None:
    setup_logging()
    logger = get_run_logger()
    with entered(RunContext(in_flow, task_context)):
        logger.info("whose?")
    assert recorder.logs[0].task_run_id is None


def test_a_log_that_was_pickled_records_where_it_arrives(
    task_run: TaskRun, in_flow: FlowRunContext, recorder: ListRecorder
) -> None:
    setup_logging()
    log = pickle.loads(pickle.dumps(run_log_for_task(task_run, ListRecorder())))
    log.info("arrived")
    assert [(event.task_run_id, event.message) for event in recorder.logs] == [(task_run.id, "arrived")]


def test_records_can_be_pickled_for_a_queue_handler(task_run: TaskRun, recorder: ListRecorder) -> None:
    setup_logging()
    caught: list[logging.LogRecord] = []

    class Catching(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            caught.append(record)

    logging.getLogger("flowyard.task_runs").addHandler(Catching())
    run_log_for_task(task_run, recorder).info("hello")
    copy = pickle.loads(pickle.dumps(caught[0]))
    assert copy.getMessage() == "hello"
    assert copy.flowyard_run.task_run_id == task_run.id


def test_a_record_can_be_kept_out(in_task: TaskRunContext, recorder: ListRecorder) -> None:
    setup_logging()
    get_run_logger().info("private", extra={"send_to_api": False})
    assert recorder.logs == []


def test_recording_can_be_switched_off(in_task: TaskRunContext, recorder: ListRecorder) -> None:
    with temporary_settings({FLOWYARD_LOGGING_TO_API_ENABLED: False}):
        setup_logging()
        get_run_logger().info("hello")
    assert recorder.logs == []


def test_the_traceback_is_recorded_with_its_line(in_task: TaskRunContext, recorder: ListRecorder) -> None:
    setup_logging()
    try:
        raise ValueError("boo")
    except ValueError:
        get_run_logger().exception("failed")
    assert recorder.messages[0].startswith("failed\nTraceback (most recent call last):")
    assert recorder.messages[0].endswith("ValueError: boo")


def test_loggers_that_belong_to_no_run_are_not_recorded(in_task: TaskRunContext, recorder: ListRecorder) -> None:
    setup_logging()
    get_logger("engine").warning("for the console")
    assert recorder.logs == []


def test_extra_loggers_are_recorded_with_the_run_that_executes(in_task: TaskRunContext, recorder: ListRecorder) -> None:
    with temporary_settings({FLOWYARD_LOGGING_EXTRA_LOGGERS: ["some_lib.part", "some_lib"]}):
        setup_logging()
        logging.getLogger("some_lib.part").info("mine")
    assert [(log.name, log.task_run_id, log.message) for log in recorder.logs] == [
        ("some_lib.part", in_task.task_run.id, "mine")
    ]


def test_the_level_of_an_extra_logger_is_left_where_it_was_set() -> None:
    logger = logging.getLogger("chatty_lib")
    logger.setLevel(logging.ERROR)
    with temporary_settings({FLOWYARD_LOGGING_EXTRA_LOGGERS: ["chatty_lib"]}):
        setup_logging()
    assert logger.level == logging.ERROR


def test_outside_of_runs_a_warning_says_that_nothing_is_stored() -> None:
    setup_logging()
    with pytest.warns(UserWarning, match="'flowyard.flow_runs' was used outside of a flow or task") as caught:
        logging.getLogger("flowyard.flow_runs").info("hello")
    assert caught[0].filename == __file__


def test_outside_of_runs_an_error_can_be_asked_for() -> None:
    with temporary_settings({FLOWYARD_LOGGING_TO_API_WHEN_MISSING_FLOW: "error"}):
        setup_logging()
        with pytest.raises(MissingContextError, match="WHEN_MISSING_FLOW=ignore"):
            logging.getLogger("flowyard.flow_runs").info("hello")


def test_outside_of_runs_nothing_is_said_when_that_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    with temporary_settings({FLOWYARD_LOGGING_TO_API_WHEN_MISSING_FLOW: "ignore"}):
        setup_logging()
        logging.getLogger("flowyard.flow_runs").info("hello")
    assert capsys.readouterr().err.endswith("flowyard.flow_runs - hello\n")


def test_a_run_that_is_named_by_hand_owns_the_record(in_flow: FlowRunContext, recorder: ListRecorder) -> None:
    setup_logging()
    flow_run_id = new_id()
    logging.getLogger("flowyard.flow_runs").info("hello", extra={"flow_run_id": str(flow_run_id)})
    assert recorder.logs[0].flow_run_id == flow_run_id


def test_a_message_that_is_too_long_is_cut_and_says_by_how_much(
    in_task: TaskRunContext, recorder: ListRecorder
) -> None:
    with temporary_settings({FLOWYARD_LOGGING_TO_API_MAX_LOG_SIZE: 100}):
        setup_logging()
        get_run_logger().info("ü" * 1000)
    (message,) = recorder.messages
    kept = message.count("ü")
    assert message == "ü" * kept + f"... [truncated: {2000 - 2 * kept:,} of 2,000 bytes left out]"
    assert 90 < len(message.encode()) <= 100


@pytest.mark.parametrize("message", ["a" * 100, "ü" * 50], ids=["ascii", "two bytes each"])
def test_a_message_that_just_fits_is_not_cut(message: str) -> None:
    assert cut(message, 100) == message


def test_a_recorder_that_fails_is_reported_once_and_fails_nobody(
    task_run: TaskRun, capsys: pytest.CaptureFixture[str]
) -> None:
    class Lost:
        def append(self, event: JournalEvent) -> None:
            raise LeaseLost(str(task_run.id))

    setup_logging()
    log = run_log_for_task(task_run, Lost())
    log.info("one")
    log.info("two")
    err = capsys.readouterr().err
    assert err.count("JournalLogHandler could not handle a record") == 1
    assert err.count("Task run 'x-0' - ") == 2


def test_a_logger_for_the_run_that_executes_records(in_task: TaskRunContext, recorder: ListRecorder) -> None:
    setup_logging()
    flow_run_logger(FlowRunContext.get().flow_run, name_="x").info("flow")  # pyright: ignore[reportOptionalMemberAccess]
    task_run_logger(in_task.task_run).info("task")
    assert [(log.task_run_id, log.message) for log in recorder.logs] == [
        (None, "flow"),
        (in_task.task_run.id, "task"),
    ]
