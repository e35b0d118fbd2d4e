from __future__ import annotations

import io
import json
import logging
import re
import subprocess
import sys

import pytest

from flowyard.context import TaskRunContext
from flowyard.logging import get_logger, get_run_logger, run_log_for_flow, run_log_for_task, setup_logging
from flowyard.logging.formatters import (
    FLOW_RUN_FORMAT,
    STANDARD_FORMAT,
    TASK_RUN_FORMAT,
    TIME_FORMAT,
    ConsoleFormatter,
    FlowyardFormatter,
    JsonFormatter,
)
from flowyard.logging.handlers import FlowyardConsoleHandler
from flowyard.logging.highlighters import FlowyardConsoleHighlighter
from flowyard.schemas.runs import FlowRun, TaskRun
from flowyard.settings import (
    FLOWYARD_LOGGING_COLORS,
    FLOWYARD_LOGGING_EXTRA_LOGGERS,
    FLOWYARD_LOGGING_MARKUP,
    temporary_settings,
)

from .conftest import ListRecorder, Terminal

CLOCK = r"\d\d:\d\d:\d\d\.\d\d\d"


def test_a_line_of_a_flow_run_names_the_run(
    flow_run: FlowRun, recorder: ListRecorder, capsys: pytest.CaptureFixture[str]
) -> None:
    setup_logging()
    run_log_for_flow(flow_run, None, recorder).info("Created flow run %r", "happy-otter")
    assert re.fullmatch(
        CLOCK + r" \| INFO    \| Flow run 'happy-otter' - Created flow run 'happy-otter'\n", capsys.readouterr().err
    )


def test_a_line_of_a_task_run_names_the_run(
    task_run: TaskRun, recorder: ListRecorder, capsys: pytest.CaptureFixture[str]
) -> None:
    setup_logging()
    run_log_for_task(task_run, recorder).error("Finished in state Failed()")
    assert re.fullmatch(
        CLOCK + r" \| ERROR   \| Task run 'x-0' - Finished in state Failed\(\)\n", capsys.readouterr().err
    )


def test_a_line_of_another_logger_names_the_logger(capsys: pytest.CaptureFixture[str]) -> None:
    setup_logging()
    get_logger("engine").warning("look")
    assert re.fullmatch(CLOCK + r" \| WARNING \| flowyard\.engine - look\n", capsys.readouterr().err)


def test_a_traceback_follows_its_line(task_run: TaskRun, capsys: pytest.CaptureFixture[str]) -> None:
    setup_logging()
    try:
        raise ValueError("boo")
    except ValueError as error:
        run_log_for_task(task_run, ListRecorder()).error("Encountered exception during execution:", exc_info=error)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].endswith("Encountered exception during execution:")
    assert lines[1] == "Traceback (most recent call last):"
    assert lines[-1] == "ValueError: boo"


def _records() -> list[logging.LogRecord]:
    plain = logging.makeLogRecord({"name": "flowyard.engine", "levelname": "INFO", "msg": "hi %s", "args": ("you",)})
    flow = logging.makeLogRecord(
        {"name": "flowyard.flow_runs", "levelname": "WARNING", "msg": "m", "flow_run_name": "it's"}
    )
    task = logging.makeLogRecord(
        {"name": "flowyard.task_runs.child", "levelname": "CRITICAL", "msg": "a\nb", "task_run_name": "x-0"}
    )
    nameless = logging.makeLogRecord({"name": "flowyard.task_runs", "levelname": "DEBUG", "msg": "m"})
    failed = logging.makeLogRecord({"name": "a", "levelname": "ERROR", "msg": "m", "exc_text": "Traceback"})
    return [plain, flow, task, nameless, failed]


@pytest.mark.parametrize("record", _records(), ids=["plain", "flow", "task", "nameless", "failed"])
def test_the_fast_formatter_writes_what_the_configurable_one_does(record: logging.LogRecord) -> None:
    configurable = FlowyardFormatter(
        STANDARD_FORMAT, TIME_FORMAT, flow_run_fmt=FLOW_RUN_FORMAT, task_run_fmt=TASK_RUN_FORMAT
    )
    assert ConsoleFormatter().format(record) == configurable.format(record)


def test_the_json_formatter_writes_one_object_a_line(task_run: TaskRun, recorder: ListRecorder) -> None:
    stream = io.StringIO()
    handler = FlowyardConsoleHandler(stream)
    handler.setFormatter(JsonFormatter())
    logging.getLogger("flowyard.task_runs").addHandler(handler)
    logging.getLogger("flowyard").setLevel(logging.INFO)
    log = run_log_for_task(task_run, recorder)
    log.info("two\nlines %s", object)
    try:
        raise KeyError("k")
    except KeyError as error:
        log.error("bad", exc_info=error)
    first, second = (json.loads(line) for line in stream.getvalue().splitlines())
    assert first["message"] == "two\nlines <class 'object'>"
    assert first["task_run_id"] == str(task_run.id)
    assert second["exc_info"]["type"] == "KeyError"


def test_an_unknown_json_format_is_refused() -> None:
    with pytest.raises(ValueError, match=r"fmt='xml'.*'pretty'"):
        JsonFormatter("xml")


def test_colours_are_used_on_a_terminal_only() -> None:
    record = logging.makeLogRecord({"name": "flowyard", "levelname": "ERROR", "levelno": 40, "msg": "state Failed"})
    terminal, pipe = Terminal(), io.StringIO()
    FlowyardConsoleHandler(terminal).emit(record)
    FlowyardConsoleHandler(pipe).emit(record)
    assert "\x1b[38;5;160mERROR\x1b[0m" in terminal.getvalue()
    assert "\x1b[38;5;160mFailed\x1b[0m" in terminal.getvalue()
    assert "\x1b" not in pipe.getvalue()
    assert re.sub(r"\x1b\[[\d;]*m", "", terminal.getvalue()) == pipe.getvalue()


def test_colours_can_be_switched_off() -> None:
    terminal = Terminal()
    with temporary_settings({FLOWYARD_LOGGING_COLORS: False}):
        handler = FlowyardConsoleHandler(terminal)
    handler.emit(logging.makeLogRecord({"name": "flowyard", "levelname": "ERROR", "msg": "m"}))
    assert "\x1b" not in terminal.getvalue()


def test_a_word_in_a_message_is_not_painted_as_a_level() -> None:
    assert FlowyardConsoleHighlighter().highlight("no ERROR here") == "no ERROR here"


def test_addresses_and_run_names_are_painted() -> None:
    line = FlowyardConsoleHighlighter({"log.web_url": "bold red"}).highlight(
        "Flow run 'a b' - View at http://x.y/z?q=1"
    )
    assert line == "Flow run \x1b[35m'a b'\x1b[0m - View at \x1b[1;31mhttp://x.y/z?q=1\x1b[0m"


def test_an_unknown_style_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'log.web_url': 'sparkling' is unknown"):
        FlowyardConsoleHighlighter({"log.web_url": "sparkling"})


def test_markup_is_literal_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    setup_logging()
    get_logger("engine").warning("[bold]x[/bold] [y]")
    assert capsys.readouterr().err.endswith("[bold]x[/bold] [y]\n")


def test_markup_is_rendered_when_it_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    with temporary_settings({FLOWYARD_LOGGING_MARKUP: True}):
        setup_logging()
        get_logger("engine").warning("[bold]x[/bold]")
        get_logger("engine").warning("unbalanced [/bold]")
    first, second = capsys.readouterr().err.splitlines()
    assert first.endswith("- x")
    assert second.endswith("- unbalanced [/bold]")


def test_arguments_that_do_not_fit_lose_no_line(
    in_task: TaskRunContext, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.root, "handlers", [])  # pytest's raises for such a line
    setup_logging()
    get_run_logger().info("%d apples and %d pears", 3)
    err = capsys.readouterr().err
    assert "%d apples and %d pears (3,) [the arguments do not fit the message: TypeError" in err
    assert "--- " not in err


def test_a_failing_stream_is_reported_once_and_fails_nobody(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Full(io.StringIO):
        def write(self, text: str, /) -> int:
            raise OSError(28, "No space left on device")

    setup_logging()
    logger = logging.getLogger("flowyard.engine")
    handler = next(h for h in logging.getLogger("flowyard").handlers if isinstance(h, FlowyardConsoleHandler))
    handler.stream = Full()
    for _ in range(3):
        logger.warning("line")
    assert capsys.readouterr().err.count("could not handle a record of 'flowyard.engine'") == 1


def test_a_handler_that_users_attach_sees_every_attribute_of_a_record(
    task_run: TaskRun, recorder: ListRecorder
) -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    attributes = [key for key in logging.makeLogRecord({}).__dict__ if key not in ("message", "asctime")]
    handler.setFormatter(logging.Formatter("|".join(f"%({key})s" for key in attributes) + "|%(task_run_name)s"))
    logging.getLogger("flowyard.task_runs").addHandler(handler)
    setup_logging()
    run_log_for_task(task_run, recorder).info("hello")
    assert stream.getvalue().endswith("|x-0\n")
    assert "hello" in stream.getvalue()


def test_filters_of_users_see_the_lines_of_the_engine(task_run: TaskRun, recorder: ListRecorder) -> None:
    setup_logging()
    logger = logging.getLogger("flowyard.task_runs")
    secret = logging.Filter()
    secret.filter = lambda record: "secret" not in record.getMessage()  # pyright: ignore[reportAttributeAccessIssue]
    logger.addFilter(secret)
    try:
        log = run_log_for_task(task_run, recorder)
        log.info("a secret")
        log.info("no such thing")
    finally:
        logger.removeFilter(secret)
    assert recorder.messages == ["no such thing"]


def test_a_record_factory_of_users_makes_the_lines_of_the_engine_too(
    task_run: TaskRun, recorder: ListRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    class Traced(logging.LogRecord):
        trace_id = 7

    setup_logging()
    logging.setLogRecordFactory(Traced)
    try:
        run_log_for_task(task_run, recorder).info("hello")
    finally:
        logging.setLogRecordFactory(logging.LogRecord)
    assert [record.__dict__["task_run_id"] for record in caplog.records if isinstance(record, Traced)] == [
        str(task_run.id)
    ]
    assert recorder.messages == ["hello"]


def test_caplog_sees_the_lines_of_the_engine(
    task_run: TaskRun, recorder: ListRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    setup_logging()
    log = run_log_for_task(task_run, recorder)
    with caplog.at_level(logging.DEBUG, logger="flowyard.task_runs"):
        log.debug("hello")
    assert [(record.name, record.levelname, record.getMessage()) for record in caplog.records] == [
        ("flowyard.task_runs", "DEBUG", "hello")
    ]


def test_a_root_logger_that_writes_to_the_console_repeats_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    setup_logging()
    handler = logging.StreamHandler()
    logging.root.addHandler(handler)
    try:
        get_logger("engine").warning("once")
    finally:
        logging.root.removeHandler(handler)
    assert capsys.readouterr().err.count("once") == 1


def test_a_warning_of_any_library_looks_like_all_lines(tmp_path: object) -> None:
    code = (
        "import logging; from flowyard.logging import setup_logging; setup_logging()\n"
        "logging.getLogger('lib').warning('mind'); logging.getLogger('lib').info('not')\n"
        "logging.basicConfig(level=logging.INFO, format='mine %(message)s'); logging.getLogger('lib').info('now')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"FLOWYARD_HOME": str(tmp_path)},
    )
    first, second = done.stderr.splitlines()
    assert re.fullmatch(CLOCK + r" \| WARNING \| lib - mind", first)
    assert second == "mine now"


def test_rich_is_not_imported_for_plain_lines(tmp_path: object) -> None:
    code = (
        "import sys; from flowyard.logging import setup_logging, get_logger; setup_logging()\n"
        "get_logger('x').warning('y'); print(sorted({'rich', 'logging.config', 'sqlalchemy'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"FLOWYARD_HOME": str(tmp_path)}
    )
    assert done.stdout == "[]\n"


def test_an_extra_logger_writes_to_the_console(capsys: pytest.CaptureFixture[str]) -> None:
    with temporary_settings({FLOWYARD_LOGGING_EXTRA_LOGGERS: ["some_library"]}):
        setup_logging()
        logger = logging.getLogger("some_library")
        for handler in logger.handlers:  # the journal would warn: there is no run
            if not isinstance(handler, FlowyardConsoleHandler):
                logger.removeHandler(handler)
        logger.info("hello")
    assert re.fullmatch(CLOCK + r" \| INFO    \| some_library - hello\n", capsys.readouterr().err)
