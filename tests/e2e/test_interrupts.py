"""Ctrl-C and SIGTERM on real processes: what is on disk, and how soon the process is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowyard.process.backends import PROCESS, close_backends
from flowyard.settings import FLOWYARD_HOME, temporary_settings

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")

PRELUDE = """
import asyncio, os, sys, threading, time
from flowyard import flow, task
from flowyard.task_runners import ConcurrentTaskRunner, SequentialTaskRunner

def ready():
    print("ready", flush=True)
"""

SCRIPTS = {
    "sync flow": """
@flow(name="interrupted")
def run():
    ready()
    time.sleep(60)
run()
""",
    "direct task": """
@task
def work():
    ready()
    time.sleep(60)
@flow(name="interrupted")
def run():
    work()
run()
""",
    "direct task whose state is wanted": """
@task
def work():
    ready()
    time.sleep(60)
@flow(name="interrupted")
def run():
    work(return_state=True)
run()
""",
    "task submitted to a sequential runner": """
@task
def work(n):
    ready()
    time.sleep(60)
@flow(name="interrupted", task_runner=SequentialTaskRunner())
def run():
    for n in range(10):
        work.submit(n)
run()
""",
    "waiting for a future": """
@task
def work():
    ready()
    time.sleep(60)
@flow(name="interrupted")
def run():
    work.submit().result()
run()
""",
    "200 threads in sleeps at the end of the flow": """
gate = threading.Barrier(200)
@task
def work(n):
    if gate.wait() == 0:
        ready()
    time.sleep(60)
@flow(name="interrupted", task_runner=ConcurrentTaskRunner(max_workers=200))
def run():
    work.map(range(200))
run()
""",
    "subflow": """
@task
def work():
    ready()
    time.sleep(60)
@flow(name="child")
def child():
    work.submit()
@flow(name="interrupted")
def run():
    child()
run()
""",
    "garbage collection, whose exceptions are only printed": """
import gc
def collected(phase, info):
    gc.callbacks.remove(collected)
    ready()
    time.sleep(60)
@flow(name="interrupted")
def run():
    gc.callbacks.append(collected)
    gc.collect()
    time.sleep(60)
run()
""",
    "flow with a timeout": """
@flow(name="interrupted", timeout_seconds=100)
def run():
    ready()
    time.sleep(60)
run()
""",
    "async task of a sync flow": """
@task
async def work():
    ready()
    await asyncio.sleep(60)
@flow(name="interrupted")
def run():
    work()
run()
""",
    "async flow": """
@flow(name="interrupted")
async def run():
    ready()
    await asyncio.sleep(60)
asyncio.run(run())
""",
    "async tasks gathered and submitted": """
@task
async def work(n):
    if n == 9:
        ready()
    await asyncio.sleep(60)
@flow(name="interrupted")
async def run():
    work.submit(1)
    await asyncio.gather(*[work(n) for n in range(10)])
asyncio.run(run())
""",
    "async flow on uvloop": """
import uvloop
@flow(name="interrupted")
async def run():
    ready()
    await asyncio.sleep(60)
with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(run())
""",
}

MESSAGES = {
    signal.SIGINT: "Execution was aborted by an interrupt signal.",
    signal.SIGTERM: "Execution was aborted by a termination signal.",
}


@pytest.fixture
def records(home: Path) -> Iterator[object]:
    with temporary_settings({FLOWYARD_HOME: home}):
        yield PROCESS
        close_backends()


def start(tmp_path: Path, body: str) -> subprocess.Popen[str]:
    """Start a script and return when it says that it is ready."""
    script = tmp_path / "script.py"
    script.write_text(PRELUDE + body)
    environment = {**os.environ, "FLOWYARD_LOGGING_LEVEL": "CRITICAL"}
    process = subprocess.Popen(
        [sys.executable, script], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line == "ready\n", process.communicate()[1]
    return process


def finish(process: subprocess.Popen[str]) -> str:
    """Wait for the end of a process, less long than anything sleeps in the scripts; return what it wrote as errors."""
    try:
        _, errors = process.communicate(timeout=90)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    return errors


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
@pytest.mark.parametrize("body", SCRIPTS.values(), ids=list(SCRIPTS))
def test_a_signal_ends_the_run_as_crashed_and_the_process_at_once(records, tmp_path, body, number):
    process = start(tmp_path, body)
    process.send_signal(number)
    errors = finish(process)
    # Read before anybody looks for dead runs: the process itself must have recorded this.
    control = records.backend().control
    run = next(run for run in control.read_flow_runs() if run.flow_name == "interrupted")
    assert (run.state.name, run.state.message) == ("Crashed", MESSAGES[number]), errors
    assert {one.state.type.value for one in control.read_task_runs(limit=1000)} <= {"CRASHED"}
    assert {one.state.type.value for one in control.read_flow_runs()} == {"CRASHED"}
    assert process.returncode != 0


OUTSIDE = {
    "sync": """
@task
def work():
    ready()
    time.sleep(60)
work()
""",
    "async": """
@task
async def work():
    ready()
    await asyncio.sleep(60)
asyncio.run(work())
""",
}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
@pytest.mark.parametrize("body", OUTSIDE.values(), ids=list(OUTSIDE))
def test_a_signal_ends_a_task_outside_of_flows_as_crashed(records, tmp_path, body, number):
    process = start(tmp_path, body)
    process.send_signal(number)
    errors = finish(process)
    [run] = records.backend().control.read_task_runs()
    assert run.state.name == "Crashed", errors
    assert ("KeyboardInterrupt" if number == signal.SIGINT else "TerminationSignal") in errors.splitlines()[-1]
    assert process.returncode != 0


def test_a_second_ctrl_c_leaves_at_once(records, tmp_path):
    process = start(
        tmp_path,
        """
@flow(name="interrupted")
def run():
    try:
        ready()
        time.sleep(60)
    finally:
        ready()
        time.sleep(60)
run()
""",
    )
    process.send_signal(signal.SIGINT)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    errors = finish(process)
    assert process.returncode == 130
    assert "Interrupted twice" in errors
    # The next look finds it.
    [run] = records.backend().control.read_flow_runs()
    assert run.state.name == "Crashed"


def test_an_ignored_ctrl_c_stays_ignored(records, tmp_path):
    process = start(
        tmp_path,
        """
import signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
@flow(name="interrupted")
def run():
    ready()
    sys.stdin.readline()
    return 1
import subprocess
os.kill(os.getpid(), signal.SIGINT)
run()
""".replace("sys.stdin.readline()", "os.kill(os.getpid(), signal.SIGINT)"),
    )
    finish(process)
    assert process.returncode == 0
    [run] = records.backend().control.read_flow_runs()
    assert run.state.name == "Completed"


def test_handlers_are_put_back_after_the_flow(records, tmp_path):
    process = start(
        tmp_path,
        """
import signal
before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
@flow
def run():
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) != before
run()
assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
ready()
""",
    )
    finish(process)
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("body", "code"),
    [
        pytest.param("@flow\ndef run():\n    ready()\n    sys.exit(3)\nrun()\n", 3, id="in the flow"),
        pytest.param(
            "@task\ndef work():\n    ready()\n    sys.exit(3)\n@flow\ndef run():\n    work()\nrun()\n",
            3,
            id="in a task",
        ),
        pytest.param(
            "@task\ndef work():\n    ready()\n    sys.exit(3)\n@flow\ndef run():\n    work.submit()\nrun()\n",
            3,
            id="in a submitted task",
        ),
    ],
)
def test_a_system_exit_of_user_code_is_a_crash_that_ends_the_process_with_its_code(records, tmp_path, body, code):
    process = start(tmp_path, body)
    finish(process)
    assert process.returncode == code
    [run] = records.backend().control.read_flow_runs()
    assert (run.state.name, run.state.message) == ("Crashed", "Execution was aborted by Python system exit call.")
