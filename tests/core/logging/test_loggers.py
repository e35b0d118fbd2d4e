from __future__ import annotations

import logging
from dataclasses import dataclass

import pytest

from flowyard.context import FlowRunContext, TaskRunContext
from flowyard.exceptions import MissingContextError
from flowyard.logging import (
    LogEavesdropper,
    PrefectLogAdapter,
    disable_logger,
    disable_run_logger,
    flow_run_logger,
    get_logger,
    get_run_logger,
    run_log_for_flow,
    run_log_for_task,
    setup_logging,
    task_run_logger,
)
from flowyard.schemas.runs import FlowRun, TaskRun

from .conftest import ListRecorder


@dataclass(frozen=True)
class Named:
    name: str


def _fields(caplog: pytest.LogCaptureFixture) -> dict[str, object]:
    names = ("flow_run_name", "flow_run_id", "flow_name", "task_run_name", "task_run_id", "task_name")
    return {name: caplog.records[-1].__dict__.get(name) for name in names}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (None, "flowyard"),
        ("engine", "flowyard.engine"),
        ("flowyard", "flowyard"),
        ("flowyard.client", "flowyard.client"),
    ],
)
def test_loggers_are_children_of_flowyard(name: str | None, expected: str) -> None:
    assert get_logger(name).name == expected


def test_outside_of_runs_there_is_no_run_logger() -> None:
    with pytest.raises(MissingContextError, match="disable_run_logger"):
        get_run_logger()


def test_something_that_is_no_context_is_refused() -> None:
    with pytest.raises(TypeError, match="context='x' is not the context of a run"):
        get_run_logger("x")  # pyright: ignore[reportArgumentType]


def test_records_of_a_task_run_name_everything(in_task: TaskRunContext, caplog: pytest.LogCaptureFixture) -> None:
    setup_logging()
    get_run_logger(team="blue").info("hello")
    task_run = in_task.task_run
    assert _fields(caplog) == {
        "flow_run_name": "happy-otter",
        "flow_run_id": str(task_run.flow_run_id),
        "flow_name": "my-flow",
        "task_run_name": "x-0",
        "task_run_id": str(task_run.id),
        "task_name": "x",
    }
    assert caplog.records[-1].__dict__["team"] == "blue"
    assert caplog.records[-1].funcName == "test_records_of_a_task_run_name_everything"


def test_the_lines_of_the_engine_name_everything(
    flow_run: FlowRun, task_run: TaskRun, recorder: ListRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    setup_logging()
    run_log_for_task(task_run, recorder, run_log_for_flow(flow_run, "renamed", recorder)).info("hello")
    assert _fields(caplog) == {
        "flow_run_name": "happy-otter",
        "flow_run_id": str(flow_run.id),
        "flow_name": "renamed",
        "task_run_name": "x-0",
        "task_run_id": str(task_run.id),
        "task_name": "x",
    }


def test_a_run_that_is_renamed_is_logged_by_its_new_name(
    task_run: TaskRun, recorder: ListRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    setup_logging()
    log = run_log_for_task(task_run, recorder)
    log.info("before")
    task_run.name = "parse-a.py"
    log.info("after")
    assert _fields(caplog)["task_run_name"] == "parse-a.py"


def test_a_context_can_be_given(
    in_task: TaskRunContext, flow_context: FlowRunContext, caplog: pytest.LogCaptureFixture
) -> None:
    setup_logging()
    get_run_logger(flow_context).info("hello")
    assert _fields(caplog)["task_run_name"] is None
    assert caplog.records[-1].name == "flowyard.flow_runs"


def test_fields_of_one_call_are_added_and_win(in_task: TaskRunContext, caplog: pytest.LogCaptureFixture) -> None:
    setup_logging()
    get_run_logger(team="blue", place="here").info("hello", extra={"team": "red"})
    assert (caplog.records[-1].__dict__["team"], caplog.records[-1].__dict__["place"]) == ("red", "here")


def test_a_child_logs_for_the_same_run(
    in_task: TaskRunContext, recorder: ListRecorder, capsys: pytest.CaptureFixture[str]
) -> None:
    setup_logging()
    logger = get_run_logger()
    assert isinstance(logger, PrefectLogAdapter)
    logger.getChild("part", {"more": 1}).info("hello")
    assert recorder.logs[0][:3] == (in_task.task_run.flow_run_id, in_task.task_run.id, "flowyard.task_runs.part")
    assert "Task run 'x-0' - hello" in capsys.readouterr().err


def test_a_logger_for_another_task_run_names_it(
    flow_run: FlowRun, task_run: TaskRun, caplog: pytest.LogCaptureFixture
) -> None:
    setup_logging()
    task, flow = Named("the-task"), Named("the-flow")
    task_run_logger(task_run, task, flow_run, flow).info("hello", extra={"send_to_api": False})
    assert _fields(caplog)["task_name"] == "the-task"
    assert _fields(caplog)["flow_name"] == "the-flow"
    assert _fields(caplog)["flow_run_name"] == "happy-otter"


def test_a_logger_for_another_flow_run_names_it(flow_run: FlowRun, caplog: pytest.LogCaptureFixture) -> None:
    setup_logging()
    flow_run_logger(flow_run, Named("the-flow")).info("hello", extra={"send_to_api": False})
    assert _fields(caplog)["flow_name"] == "the-flow"


def test_a_disabled_logger_logs_nothing_within_the_block(caplog: pytest.LogCaptureFixture) -> None:
    setup_logging()
    with disable_logger("flowyard.engine"):
        get_logger("engine").warning("within")
    get_logger("engine").warning("after")
    assert caplog.messages == ["after"]


def test_disabled_run_loggers_log_nothing_and_need_no_run(
    task_run: TaskRun, recorder: ListRecorder, capsys: pytest.CaptureFixture[str]
) -> None:
    setup_logging()
    with disable_run_logger():
        get_run_logger().critical("hello")
        run_log_for_task(task_run, recorder).error("hello")
    assert capsys.readouterr().err == ""
    assert recorder.logs == []
    with pytest.raises(MissingContextError):
        get_run_logger()


def test_an_eavesdropper_collects_what_is_logged_in_its_block() -> None:
    logger = logging.getLogger("overheard")
    logger.setLevel(logging.DEBUG)
    with LogEavesdropper("overheard", level=logging.INFO) as ear:
        logger.debug("too quiet")
        logger.getChild("child").info("one")
        logger.warning("two")
    logger.warning("too late")
    assert ear.text() == "[INFO]: one\n[WARNING]: two"


def test_the_fields_of_a_mapping_fill_the_message(in_task: TaskRunContext, recorder: ListRecorder) -> None:
    setup_logging()
    get_run_logger().info("%(a)s and %(b)s", {"a": 1, "b": 2})
    assert recorder.messages == ["1 and 2"]


@pytest.mark.parametrize("made_by", [logging.LogRecord, type("Traced", (logging.LogRecord,), {})])
def test_a_field_that_the_record_has_is_refused(
    in_task: TaskRunContext, monkeypatch: pytest.MonkeyPatch, made_by: type[logging.LogRecord]
) -> None:
    setup_logging()
    monkeypatch.setattr(logging, "_logRecordFactory", made_by)
    with pytest.raises(KeyError, match="extra field 'name' would overwrite"):
        get_run_logger(name="x").info("hello")


@pytest.mark.parametrize("way", ["lean", "with a stack"])
def test_the_record_names_the_line_that_logged(
    way: str, in_task: TaskRunContext, caplog: pytest.LogCaptureFixture
) -> None:
    setup_logging()
    logger = get_run_logger()

    def deeper() -> None:
        logger.info("two", stacklevel=2, stack_info=way != "lean")

    logger.log(logging.INFO, "one", stack_info=way != "lean")
    deeper()
    names = [(record.filename, record.module, record.funcName) for record in caplog.records]
    assert names == [("test_loggers.py", "test_loggers", "test_the_record_names_the_line_that_logged")] * 2
    assert caplog.records[0].lineno > 0
    assert (caplog.records[0].stack_info is not None) == (way != "lean")
