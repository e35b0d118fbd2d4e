"""Results in storage that is a saved block."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest

from flowyard import flow, task
from flowyard.blocks.system import JSON
from flowyard.filesystems import LocalFileSystem
from flowyard.settings import FLOWYARD_DEFAULT_RESULT_STORAGE_BLOCK, temporary_settings


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
