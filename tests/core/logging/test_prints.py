from __future__ import annotations

import asyncio
import builtins
import io
import logging
import sys
import threading

import pytest

from flowyard.context import FlowRunContext, RunContext, TaskRunContext, entered
from flowyard.logging import patch_print, print_as_log, setup_logging

from .conftest import ListRecorder


@pytest.fixture(autouse=True)
def patched() -> None:
    setup_logging()
    patch_print()


def test_a_print_in_a_run_that_wants_it_becomes_a_log_line(
    in_flow: FlowRunContext, recorder: ListRecorder, capsys: pytest.CaptureFixture[str]
) -> None:
    in_flow.log_prints = True
    print("a", 1, None)
    assert [(log.level, log.name, log.message) for log in recorder.logs] == [
        (logging.INFO, "flowyard.flow_runs", "a 1 None")
    ]
    assert capsys.readouterr().out == ""


def test_a_print_in_a_run_that_does_not_want_it_is_printed(
    in_flow: FlowRunContext, recorder: ListRecorder, capsys: pytest.CaptureFixture[str]
) -> None:
    print("a", "b", sep="-", end="!")
    assert capsys.readouterr().out == "a-b!"
    assert recorder.logs == []


def test_a_print_outside_of_runs_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    print("hello")
    print_as_log("again")
    assert capsys.readouterr().out == "hello\nagain\n"


def test_the_task_decides_before_its_flow(
    in_task: TaskRunContext, flow_context: FlowRunContext, recorder: ListRecorder, capsys: pytest.CaptureFixture[str]
) -> None:
    flow_context.log_prints = True
    print("not logged")
    assert recorder.logs == []
    assert capsys.readouterr().out == "not logged\n"


def test_separator_and_end_are_honoured(in_flow: FlowRunContext, recorder: ListRecorder) -> None:
    in_flow.log_prints = True
    print("a", "b", sep="-", end="!\n", flush=True)
    print("c", end="")
    assert recorder.messages == ["a-b!", "c"]


def test_per_cent_signs_in_a_print_are_only_text(in_flow: FlowRunContext, recorder: ListRecorder) -> None:
    in_flow.log_prints = True
    print("100 %s")
    print("%d", 3)
    assert recorder.messages == ["100 %s", "%d 3"]


def test_a_print_to_stderr_is_logged_and_one_to_a_file_is_not(in_flow: FlowRunContext, recorder: ListRecorder) -> None:
    in_flow.log_prints = True
    file = io.StringIO()
    print("to stderr", file=sys.stderr)
    print("to a file", file=file)
    assert recorder.messages == ["to stderr"]
    assert file.getvalue() == "to a file\n"


def test_wrong_arguments_fail_as_always(in_flow: FlowRunContext) -> None:
    in_flow.log_prints = True
    with pytest.raises(TypeError, match="sep must be None or a string"):
        print("a", "b", sep=1)  # pyright: ignore[reportCallIssue, reportArgumentType]


def test_print_is_replaced_once() -> None:
    before = builtins.print
    with patch_print():
        assert builtins.print is before
    assert builtins.print is before


def test_a_handler_that_prints_does_not_come_back_to_itself(
    in_flow: FlowRunContext, recorder: ListRecorder, capsys: pytest.CaptureFixture[str]
) -> None:
    in_flow.log_prints = True

    class Printing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            print("seen:", record.getMessage())

    logging.getLogger("flowyard.flow_runs").addHandler(Printing())
    print("hello")
    assert recorder.messages == ["hello"]
    assert capsys.readouterr().out == "seen: hello\n"


def test_the_record_names_the_line_that_printed(in_flow: FlowRunContext, caplog: pytest.LogCaptureFixture) -> None:
    in_flow.log_prints = True
    print("hello")
    assert caplog.records[-1].funcName == "test_the_record_names_the_line_that_printed"


def test_threads_without_a_context_print(in_flow: FlowRunContext, capsys: pytest.CaptureFixture[str]) -> None:
    in_flow.log_prints = True
    thread = threading.Thread(target=print, args=("free",))
    thread.start()
    thread.join()
    assert capsys.readouterr().out == "free\n"


def test_runs_that_take_turns_in_one_event_loop_do_not_mix(
    in_flow: FlowRunContext, task_context: TaskRunContext, recorder: ListRecorder, capsys: pytest.CaptureFixture[str]
) -> None:
    task_context.log_prints = True

    async def chat(context: RunContext, name: str) -> None:
        with entered(context):
            for turn in range(3):
                print(name, turn)
                await asyncio.sleep(0)

    async def both() -> None:
        await asyncio.gather(chat(RunContext(in_flow, task_context), "loud"), chat(RunContext(in_flow), "quiet"))

    asyncio.run(both())
    assert recorder.messages == ["loud 0", "loud 1", "loud 2"]
    assert capsys.readouterr().out == "quiet 0\nquiet 1\nquiet 2\n"
