"""Results of runs as another process finds them."""

from __future__ import annotations

import subprocess
import sys
from uuid import UUID

import pytest

from flowyard import flow, task
from flowyard.exceptions import MissingResult
from flowyard.process.backends import PROCESS
from flowyard.settings import get_current_settings


@task(persist_result=True)
def numbers(count):
    return list(range(count))


@task(persist_result=True)
def broken():
    raise LookupError("nothing here")


@task(persist_result=True)
def identifier():
    return UUID(int=7)


@task
def forgotten():
    return 5


@flow
def mixed():
    return [task_.submit(*args) for task_, *args in ((numbers, 3), (broken,), (identifier,), (forgotten,))]


def test_results_are_read_from_the_records_of_a_run(records):
    state = mixed(return_state=True)
    states = {name: run.state for name, run in records.task_runs(state).items()}
    assert states["numbers-0"].result() == [0, 1, 2]
    assert states["identifier-0"].result() == UUID(int=7)
    with pytest.raises(LookupError, match="nothing here"):
        states["broken-0"].result()
    with pytest.raises(MissingResult, match="persist_result=True"):
        states["forgotten-0"].result()


READ = """
import sys
from uuid import UUID
from flowyard.process.backends import PROCESS
print(PROCESS.backend().control.read_task_run(UUID(sys.argv[1])).state.result())
"""


def test_another_process_reads_a_result_by_the_id_of_its_run(records):
    state = mixed(return_state=True)
    run = records.task_runs(state)["numbers-0"]
    home = str(get_current_settings().FLOWYARD_HOME)
    PROCESS.backend().journal.flush()
    done = subprocess.run(
        [sys.executable, "-c", READ, str(run.id)], env={"FLOWYARD_HOME": home}, capture_output=True, text=True
    )
    assert done.stdout == "[0, 1, 2]\n", done.stderr
