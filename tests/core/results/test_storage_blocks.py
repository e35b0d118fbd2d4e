"""Results in storage that is a saved block."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from flowyard import flow, task
from flowyard.blocks import documents
from flowyard.blocks.system import JSON
from flowyard.exceptions import MissingResult
from flowyard.filesystems import LocalFileSystem, RemoteFileSystem
from flowyard.process.backends import PROCESS
from flowyard.recovery import resume_flow_run
from flowyard.settings import FLOWYARD_DEFAULT_RESULT_STORAGE_BLOCK, get_current_settings, temporary_settings


@task(persist_result=True)
def numbers():
    return [1, 2, 3]


@pytest.fixture(scope="module")
def saved(records, tmp_path_factory):
    """A folder, saved as the block `local-file-system/shelf`."""
    del records
    folder = tmp_path_factory.mktemp("shelf")
    LocalFileSystem(basepath=str(folder)).save("shelf", overwrite=True)
    return folder


def keep(**options):
    @flow
    def kept():
        return numbers.with_options(**options)(return_state=True)

    return kept


def test_a_result_goes_to_the_block_of_a_name_and_is_read_from_its_record(records, saved):
    state = keep(result_storage="local-file-system/shelf")(return_state=True)
    recorded = records.task_runs(state)["numbers-0"].state
    record = recorded.data.to_record()
    assert UUID(record["storage_block_id"])
    assert (saved / record["storage_key"]).is_file()
    assert recorded.result() == [1, 2, 3]


def test_the_setting_names_the_block_of_all(records, saved):
    with temporary_settings({FLOWYARD_DEFAULT_RESULT_STORAGE_BLOCK: "local-file-system/shelf"}):
        state = keep()(return_state=True)
    assert (saved / records.task_runs(state)["numbers-0"].state.data.to_record()["storage_key"]).is_file()


@pytest.mark.parametrize("kind", [str, Path])
def test_a_folder_can_be_named_by_its_path(records, tmp_path, kind):
    state = keep(result_storage=kind(tmp_path / "here"))(return_state=True)
    key = records.task_runs(state)["numbers-0"].state.data.to_record()["storage_key"]
    assert Path(key).is_relative_to(tmp_path / "here")
    assert records.task_runs(state)["numbers-0"].state.result() == [1, 2, 3]


def test_a_name_without_a_block_is_refused(records):
    with pytest.raises(
        ValueError, match="result_storage='local-file-system/nothing' names a block that cannot be load"
    ):
        keep(result_storage="local-file-system/nothing")()


def test_a_block_that_keeps_no_files_is_refused(records):
    JSON(value=1).save("one", overwrite=True)
    with pytest.raises(TypeError, match="names a JSON block, which keeps no files"):
        keep(result_storage="json/one")()


# --- storage that nobody saved ----------------------------------------------------------------------------


READ = """
import sys
from uuid import UUID
from flowyard.process.backends import PROCESS
print(PROCESS.backend().control.read_task_run(UUID(sys.argv[1])).state.result())
"""


def read_elsewhere(task_run_id):
    PROCESS.backend().journal.flush()
    home = str(get_current_settings().FLOWYARD_HOME)
    return subprocess.run(
        [sys.executable, "-c", READ, str(task_run_id)],
        env={"FLOWYARD_HOME": home},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("of_the_flow", [True, False], ids=["of the flow", "of the task"])
def test_a_remote_block_that_nobody_saved_is_saved_for_those_who_read_elsewhere(records, of_the_flow):
    bucket = RemoteFileSystem(basepath=f"memory://{uuid4()}", settings={"token": "hunter2-unsaved"})

    @flow(result_storage=bucket if of_the_flow else None)
    def kept():
        own = numbers if of_the_flow else numbers.with_options(result_storage=bucket)
        return own.with_options(cache_result_in_memory=False)(return_state=True)

    state = kept(return_state=True)
    run = records.task_runs(state)["numbers-0"]
    record = run.state.data.to_record()
    assert bucket.read_file(record["storage_key"])
    assert documents.load_from_ref(records.control.blocks, RemoteFileSystem, UUID(record["storage_block_id"])) == bucket
    assert state.result().result() == run.state.result() == [1, 2, 3]
    assert "hunter2-unsaved" not in str(record)


def test_an_empty_bucket_elsewhere_is_named_in_the_error(records):
    bucket = RemoteFileSystem(basepath=f"memory://{uuid4()}")
    state = keep(result_storage=bucket)(return_state=True)
    run = records.task_runs(state)["numbers-0"]
    done = read_elsewhere(run.id)
    assert f"the persisted result 'RemoteFileSystem: runs/{run.flow_run_id}/" in done.stderr
    assert "is gone" in done.stderr


class Shelf:
    """A storage that is no block."""

    def __init__(self):
        self.files = {}

    def read_path(self, path):
        return self.files[path]

    def write_path(self, path, content):
        self.files[path] = content


def test_what_is_in_an_object_that_is_no_block_is_read_where_it_was_made_and_the_error_elsewhere_says_why(records):
    options = {"result_storage": Shelf(), "cache_result_in_memory": False}
    state = keep(**options)(return_state=True)
    assert state.result().result() == [1, 2, 3]
    run = records.task_runs(state)["numbers-0"]
    message = "was kept in a Shelf object, which only the process has that made it"
    with pytest.raises(MissingResult, match=message):
        run.state.result()
    assert message in read_elsewhere(run.id).stderr


def test_what_only_another_process_can_read_is_executed_again_by_a_resume(records):
    calls = []
    shelf = Shelf()

    @task(persist_result=True, result_storage=shelf)
    def work():
        calls.append(1)
        return [len(calls)]

    @flow(name="resumed")
    def resumed():
        value = work()
        if len(calls) == 1:
            raise ValueError("not yet")
        return value

    run = records.flow_run(resumed(return_state=True))
    assert resume_flow_run(run.id, flow=resumed).result() == [2]
