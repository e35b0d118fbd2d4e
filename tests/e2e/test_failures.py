"""What goes wrong in a user's hands ends with a sentence that helps, an exit code, and everything else recorded."""

from __future__ import annotations

import contextlib
import json
import os
import re
import runpy
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

WORKLOADS = Path(__file__).parent / "workloads"
problems_of: Callable[[Path], list[str]] = runpy.run_path(str(WORKLOADS / "audit.py"))["problems_of"]
GOOD = """
    from flowyard import flow, task

    @task
    def one(x):
        return x

    @flow
    def good():
        return one(1)

    if __name__ == "__main__":
        print(good())
"""


class Done:
    """What a process left: its exit code, its output, and the line that says what went wrong."""

    def __init__(self, *command: str | Path, **environment: str) -> None:
        done = subprocess.run(
            [sys.executable, *map(str, command)],
            env={**os.environ, "FLOWYARD_JOURNAL_GIVE_UP_SECONDS": "0.2", **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        self.code = done.returncode
        self.out = done.stdout
        self.err = done.stderr
        self.last = ((done.stderr if "-m" not in command else done.stdout).strip().splitlines() or [""])[-1]


class Scripts:
    """Writes scripts and runs them, as a user does."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, source: str, name: str = "script.py") -> Path:
        path = self._folder / name
        path.write_text(textwrap.dedent(source))
        return path

    def __call__(self, source: str, **environment: str) -> Done:
        return Done(self.write(source), **environment)


@pytest.fixture
def script(tmp_path: Path, home: Path) -> Scripts:
    return Scripts(tmp_path)


def cli(*words: str, **environment: str) -> Done:
    return Done("-m", "flowyard.cli", *words, NO_COLOR="1", COLUMNS="500", **environment)


def states(home: Path, table: str = "flow_run") -> list[tuple[str, str]]:
    """Return name and state of all runs; for task runs of the names before the counter."""
    name = "task_name" if table == "task_run" else "(SELECT name FROM flow WHERE flow.id = flow_id)"
    with contextlib.closing(sqlite3.connect(home / "flowyard.db", timeout=90)) as connection:
        return connection.execute(f"SELECT {name}, state_name FROM {table} ORDER BY id").fetchall()


# --- bad input -------------------------------------------------------------------------------------------------------

PROCESS_RUNNER = "from flowyard.task_runners.process import ProcessPoolTaskRunner\n"


@pytest.mark.parametrize(
    ("source", "message", "runs", "tasks"),
    [
        pytest.param(
            """
            import threading
            from flowyard import flow, task
            from flowyard.task_runners.process import ProcessPoolTaskRunner

            @task
            def one(x): return x

            @task
            def use(name, connection): return name

            @flow(task_runner=ProcessPoolTaskRunner(max_workers=1))
            def bad():
                before = one.submit(1).result()
                use.submit("a", connection={"lock": threading.Lock()}).result()

            if __name__ == "__main__":
                bad()
            """,
            r"UnpicklableValue: .*'connection'.*cannot be sent to another process: .*lock.*; pass something picklable",
            [("bad", "Failed")],
            [("one", "Completed"), ("use", "Failed")],
            id="an argument that cannot be pickled",
        ),
        pytest.param(
            """
            import threading
            from flowyard import flow, task
            from flowyard.task_runners.process import ProcessPoolTaskRunner

            @task
            def one(x): return x

            @task
            def make(): return [threading.Lock()]

            @flow(task_runner=ProcessPoolTaskRunner(max_workers=1))
            def bad():
                one.submit(1).result()
                make.submit().result()

            if __name__ == "__main__":
                bad()
            """,
            r"UnpicklableValue: .*result of.*make.*cannot be sent to another process: .*lock",
            [("bad", "Failed")],
            [("one", "Completed"), ("make", "Failed")],
            id="a result that cannot be pickled",
        ),
        pytest.param(
            """
            from flowyard import flow, task

            @flow
            def bad(number: int, other: list[int]): ...

            if __name__ == "__main__":
                bad(number="seven", other=[1])
            """,
            r"ParameterTypeError: 'bad' received invalid parameters:\n.*number: .*'seven'",
            [("bad", "Failed")],
            [],
            id="a parameter of the wrong type",
        ),
        pytest.param(
            """
            from flowyard import flow, task

            @task
            def one(x): return x

            @flow
            def bad():
                one(1)
                one(1, colour="red")

            if __name__ == "__main__":
                bad()
            """,
            r"ParameterBindError: .*colour",
            [("bad", "Failed")],
            [("one", "Completed")],
            id="an argument that the task does not know",
        ),
        pytest.param(
            """
            from flowyard import flow

            @flow
            def bad(x): ...

            if __name__ == "__main__":
                bad(1, 2, 3)
            """,
            r"ParameterBindError: .*too many positional arguments",
            None,
            None,
            id="too many arguments for a flow",
        ),
        pytest.param(
            """
            from flowyard import flow

            @flow
            def bad(x, return_state=True): ...
            """,
            r"ReservedArgumentError: .*return_state",
            None,
            None,
            id="a reserved parameter of a flow",
        ),
        pytest.param(
            """
            from flowyard import task

            @task
            def bad(x, wait_for=()): ...
            """,
            r"ReservedArgumentError: .*wait_for",
            None,
            None,
            id="a reserved parameter of a task",
        ),
        pytest.param(
            """
            from flowyard import task

            @task(retries="three")
            def bad(x): ...
            """,
            r"(Type|Value)Error: .*retries.*'three'",
            None,
            None,
            id="an option of a task that has the wrong type",
        ),
        pytest.param(
            """
            from flowyard import flow

            @flow(timeout_seconds="soon")
            def bad(x): ...
            """,
            r"(Type|Value)Error: .*timeout_seconds.*'soon'",
            None,
            None,
            id="an option of a flow that has the wrong type",
        ),
        pytest.param(
            """
            from flowyard import flow

            @flow(task_runner="warp drive")
            def bad(): ...

            if __name__ == "__main__":
                bad()
            """,
            r"'warp drive'.*(concurrent|sequential)",
            None,
            None,
            id="a task runner that is not there",
        ),
        pytest.param(
            """
            from flowyard import flow, task

            @task
            def add(x, y): return x + y

            @flow
            def bad():
                add(1, 2)
                add.map([1, 2, 3], [1, 2])

            if __name__ == "__main__":
                bad()
            """,
            r"MappingLengthMismatch: .*x.*3.*y.*2",
            [("bad", "Failed")],
            [("add", "Completed")],
            id="a map over unequal lengths",
        ),
        pytest.param(
            """
            from flowyard import flow, task

            @task
            def one(x): return x

            @flow
            def bad():
                one(1)
                one.map(5)

            if __name__ == "__main__":
                bad()
            """,
            r"MappingMissingIterable: task 'one' cannot be mapped: none of its arguments is iterable",
            [("bad", "Failed")],
            [("one", "Completed")],
            id="a map over nothing",
        ),
        pytest.param(
            """
            import threading
            from flowyard import flow, task

            @task
            def one(x): return x

            @task(persist_result=True)
            def make(): return threading.Lock()

            @flow
            def bad():
                one(1)
                make()

            if __name__ == "__main__":
                bad()
            """,
            r"SerializationError: .*lock.*persist.*'pickle'",
            [("bad", "Failed")],
            [("one", "Completed"), ("make", "Failed")],
            id="a result that cannot be persisted",
        ),
        pytest.param(
            """
            from flowyard import flow, task
            from flowyard.serializers import JSONSerializer

            @task(persist_result=True, result_serializer="json")
            def make(): return object()

            @flow
            def bad():
                make()

            if __name__ == "__main__":
                bad()
            """,
            r"SerializationError: .*object.*'json'",
            [("bad", "Failed")],
            [("make", "Failed")],
            id="a result that its serializer does not know",
        ),
        pytest.param(
            """
            import pydantic
            from flowyard import flow, task

            class Order(pydantic.BaseModel):
                amount: int = pydantic.Field(gt=0)

            @task
            def one(x): return x

            @task(persist_result=True, result_serializer="json")
            def order(): return Order.model_construct(amount=-7)

            @flow
            def bad():
                one(1)
                order()

            if __name__ == "__main__":
                bad()
            """,
            r"(?s)SerializationError: .*Order.*'json'.*cannot be made again from its JSON \{'amount': -7\}"
            r".*greater than 0.*choose another `result_serializer`",
            [("bad", "Failed")],
            [("one", "Completed"), ("order", "Failed")],
            id="a result that its serializer could not make again",
        ),
        pytest.param(
            """
            import pydantic
            from flowyard import flow, task

            class Order(pydantic.BaseModel):
                amount: int = pydantic.Field(gt=0)

            @task
            def one(x): return x

            @flow(persist_result=True)
            def bad() -> Order:
                one(1)
                return Order(amount=-7)

            if __name__ == "__main__":
                bad()
            """,
            r"(?s)ValidationError: 1 validation error for Order\namount\n.*greater than 0.*input_value=-7",
            [("bad", "Failed")],
            [("one", "Completed")],
            id="a result that its model refuses",
        ),
    ],
)
def test_bad_input_is_named_and_the_rest_is_recorded(
    script: Scripts, home: Path, source: str, message: str, runs: Any, tasks: Any
) -> None:
    done = script(source)
    assert done.code == 1
    assert re.search(message, done.err), done.err[-3000:]
    if runs is None:
        # Nothing began, so nothing is recorded.
        assert not (home / "flowyard.db").exists() or states(home) == []
        return
    assert states(home) == runs
    assert states(home, "task_run") == tasks
    assert problems_of(home / "flowyard.db") == []


def test_a_flow_file_that_fails_to_import_is_named_with_its_error(script: Scripts) -> None:
    flow_file = script.write("import flowyard\nimport numpie\n", "etl.py")
    done = script(
        f"""
        from flowyard.entrypoints import load_flow_from_entrypoint
        load_flow_from_entrypoint({str(flow_file) + ":nightly"!r})
        """
    )
    assert done.code == 1
    assert re.search(r"ScriptError: .*etl\.py.*ModuleNotFoundError.*'numpie'", done.last), done.last
    assert 'etl.py", line 2' in done.err, "the traceback shows the line"


def test_a_flow_file_without_the_flow_lists_those_it_has(script: Scripts) -> None:
    flow_file = script.write(GOOD, "etl.py")
    done = script(
        f"""
        from flowyard.entrypoints import load_flow_from_entrypoint
        load_flow_from_entrypoint({str(flow_file) + ":nightly"!r})
        """
    )
    assert done.code == 1
    assert re.search(r"MissingFlowError: .*etl\.py.*'nightly'.*good", done.last)


# --- the home and the database -------------------------------------------------------------------------------------


def check_refusal(done: Done, *parts: str) -> None:
    assert done.code == 1
    for part in parts:
        assert re.search(part, done.last), done.out + done.err


def check_both_doors(script: Scripts, *parts: str, **environment: str) -> None:
    """Hold a script and the command line to the same message."""
    done = script(GOOD, **environment)
    check_refusal(done, "BackendUnavailable: cannot use the state backend", *parts)
    listed = cli("flow-run", "ls", **environment)
    check_refusal(listed, "^cannot use the state backend", *parts)
    assert listed.err == "", "no traceback: it is not a defect of the program"


@pytest.mark.parametrize("deeper", ["", "/deeper/down"])
def test_a_file_where_the_home_should_be_is_named(script: Scripts, tmp_path: Path, deeper: str) -> None:
    (tmp_path / "occupied").touch()
    check_both_doors(
        script, "occupied.* cannot be a folder: a file is there", "move that file away, or set FLOWYARD_HOME",
        FLOWYARD_HOME=f"{tmp_path}/occupied{deeper}",
    )  # fmt: skip


def test_a_database_file_that_cannot_be_made_is_named(script: Scripts, home: Path) -> None:
    (home / "flowyard.db").mkdir()
    check_both_doors(script, r"flowyard\.db.*unable to open database file", "set FLOWYARD_HOME")


def test_a_database_of_a_newer_version_is_left_alone(script: Scripts, home: Path) -> None:
    assert script(GOOD).code == 0
    with contextlib.closing(sqlite3.connect(home / "flowyard.db", isolation_level=None)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0999'")
    check_both_doors(script, "'0999'", "upgrade Flowyard to the release that wrote it")
    assert states(home) == [("good", "Completed")]


def test_random_bytes_in_the_header_are_called_damage(script: Scripts, home: Path) -> None:
    assert script(GOOD).code == 0
    with (home / "flowyard.db").open("r+b") as file:
        file.write(bytes(range(1, 101)))
    check_both_doors(script, r"flowyard\.db", "not a database", "move it away", r"\.recover")


def test_an_overwritten_page_is_called_damage_whoever_meets_it(script: Scripts, home: Path) -> None:
    assert script(GOOD).code == 0
    with contextlib.closing(sqlite3.connect(home / "flowyard.db")) as connection:
        [(page,)] = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'task_run'")
        [(size,)] = connection.execute("PRAGMA page_size")
    with (home / "flowyard.db").open("r+b") as file:
        file.seek(size * (page - 1))
        file.write(b"\xa5" * size)
    done = script(GOOD)
    check_refusal(done, "not on disk", "malformed", r"flowyard\.db", r"\.recover")
    listed = cli("task-run", "ls")
    check_refusal(listed, "malformed", r"flowyard\.db", r"\.recover")
    assert "Traceback" not in listed.err
    assert cli("flow-run", "ls").code == 0, "what is not damaged can be read"


def test_a_lock_that_another_program_holds_for_a_while_only_delays(script: Scripts, home: Path) -> None:
    assert script(GOOD).code == 0
    with contextlib.closing(sqlite3.connect(home / "flowyard.db", isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        running = subprocess.Popen(
            [sys.executable, script.write(GOOD)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        listing = subprocess.Popen(
            [sys.executable, "-m", "flowyard.cli", "flow-run", "ls", "-o", "json"], stdout=subprocess.PIPE, text=True
        )
        time.sleep(3.0)
        assert running.poll() is None, "it waits"
        connection.execute("COMMIT")
    out, err = running.communicate(timeout=90)
    assert (running.returncode, out) == (0, "1\n"), err
    assert "locked" not in err
    assert listing.communicate(timeout=90)[0].startswith("[")
    assert listing.returncode == 0
    assert states(home) == [("good", "Completed")] * 2


# --- a full disk ------------------------------------------------------------------------------------------------------


def check_a_full_disk(done: Done, home: Path) -> str:
    """Check what a run on a full disk says and leaves; return its id."""
    run_id = re.findall("^run (.*)$", done.out, re.MULTILINE)[0]
    assert done.code == 1
    lines = [line for line in done.err.splitlines() if "RecordsNotDurable: " in line]
    sentence = (
        rf"\d+ records of flow run\(s\) {run_id} are not on disk: .*{re.escape(str(home))}.*make room on the disk"
    )
    assert re.search(sentence, lines[-1]), lines
    assert "nothing that was committed before is touched" in lines[-1]
    assert done.err.count("| ERROR   | flowyard.journal") <= 2, "once when it happens, and once at exit"
    # What was on disk before is, and nothing half-done with it.
    assert problems_of(home / "flowyard.db") == []
    assert states(home, "task_run")[0] == ("write", "Completed")
    return run_id


@pytest.mark.parametrize("kind", ["file-size", "pages"])
def test_a_full_disk_ends_the_flow_with_the_number_of_records_that_are_missing(home: Path, kind: str) -> None:
    done = Done(WORKLOADS / "fill_disk.py", kind)
    check_a_full_disk(done, home)
    listed = cli("flow-run", "ls", "-o", "json")
    assert listed.code == 0
    assert '"state_name": "Crashed"' in listed.out
    again = Done(WORKLOADS / "fill_disk.py", "none")
    assert again.code == 0, again.err[-2000:]
    assert states(home) == [("filling", "Crashed"), ("filling", "Completed")]


def test_when_there_is_room_again_the_same_process_runs_the_flow_again(home: Path) -> None:
    done = Done(WORKLOADS / "fill_disk.py", "pages", "--again")
    assert done.code == 0, done.err[-2000:]
    records, runs = re.findall(r"^refused (\d+) \('(.*)',\)$", done.out, re.MULTILINE)[0]
    assert int(records) > 100
    assert runs in done.out
    assert done.out.endswith("\n45\n")
    assert "can be written again; nothing that was accepted is missing" in done.err
    assert problems_of(home / "flowyard.db") == []
    # The run that was given up is not Running for as long as the process lives.
    assert states(home) == [("filling", "Crashed"), ("filling", "Completed")]
    [crashed] = [run for run in json.loads(cli("flow-run", "ls", "-o", "json").out) if run["state_name"] == "Crashed"]
    assert "its records could not be written (OperationalError: database or disk is full" in crashed["state"]["message"]


def test_a_full_disk_that_a_task_runs_into_is_told_with_one_traceback(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWYARD_JOURNAL_GIVE_UP_SECONDS", "0.1")
    done = Done(WORKLOADS / "fill_disk.py", "pages")
    check_a_full_disk(done, home)
    assert "Encountered exception during execution" in done.err, "the flow's function saw it first"
    assert done.err.count("Traceback (most recent call last)") == 1, done.err


@pytest.fixture
def small_disk(mount_disk: Callable[[int], Path]) -> Path:
    """A file system of 1.5 MB."""
    return mount_disk(1500)


def test_on_a_file_system_without_room_people_can_still_look(home: Path, small_disk: Path) -> None:
    home = small_disk / "home"
    place = {"FLOWYARD_HOME": str(home)}
    check_a_full_disk(Done(WORKLOADS / "fill_disk.py", "none", **place), home)
    # Not even a byte is left for the command's own lock file, or to mark the run as Crashed.
    with contextlib.suppress(OSError), (small_disk / "junk").open("wb", buffering=0) as junk:
        while True:
            junk.write(bytes(1024))
    listed = cli("flow-run", "ls", "-o", "json", **place)
    assert listed.code == 0, listed.err
    assert '"flow_name": "filling"' in listed.out
    subprocess.run(["mount", "-o", "remount,size=50m", str(small_disk)], check=True)
    assert '"state_name": "Crashed"' in cli("flow-run", "ls", "-o", "json", **place).out
    assert Done(WORKLOADS / "fill_disk.py", "none", **place).code == 0
    assert states(home) == [("filling", "Crashed"), ("filling", "Completed")]


# --- fork -------------------------------------------------------------------------------------------------------------


def test_a_fork_in_user_code_leaves_the_parent_alone_and_the_child_says_once_that_it_records_nothing(
    home: Path,
) -> None:
    done = Done(WORKLOADS / "forks.py")
    assert done.code == 0, done.err[-3000:]
    assert done.out.splitlines() == ["child of task: 7 16", "child of flow: 7 16", "result 10"]
    refusals = re.findall(r"this process was forked from process (\d+), .* is not recorded", done.err)
    assert len(refusals) == 2, "each child says it once"
    assert "Traceback" not in done.err
    assert problems_of(home / "flowyard.db") == []
    assert states(home) == [("forking", "Completed")]
    assert sorted(states(home, "task_run")) == [("fork_in_task", "Completed"), *[("one", "Completed")] * 4]
