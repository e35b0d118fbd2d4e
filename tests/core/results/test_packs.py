"""Small results of a flow run that share a file."""

from __future__ import annotations

import os
import pickle
import sys
import threading
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowyard import flow, task
from flowyard.cache_policies import INPUTS
from flowyard.exceptions import CorruptResult, MissingResult, ResultStorageFailed
from flowyard.filesystems.folder import Folder
from flowyard.results import (
    PersistedResult,
    ResultFactory,
    ResultOrigin,
    result_from_record,
    run_folder,
    stored_results,
)
from flowyard.results.packs import LARGEST, Packs, iter_frames, read_frame
from flowyard.schemas.ids import new_id
from flowyard.schemas.runs import FlowRun, TaskRun
from flowyard.serializers import PickleSerializer
from flowyard.settings import FLOWYARD_RESULTS_SIGNING_KEY, temporary_settings


@pytest.fixture
def storage(tmp_path: Path) -> Folder:
    return Folder(basepath=str(tmp_path / "storage"))


@pytest.fixture
def packs() -> Iterator[Packs]:
    packs = Packs()
    yield packs
    packs.close()


@pytest.fixture
def flow_run() -> FlowRun:
    return FlowRun(flow_id=new_id(), name="brave-otter", flow_name="my-flow")


def factory_for(storage: Any, *, is_default_storage: bool = True, **options: Any) -> ResultFactory:
    return ResultFactory(
        persist_result=True,
        storage=storage,
        serializer=PickleSerializer(),
        is_default_storage=is_default_storage,
        **options,
    )


def origin_of(flow_run: FlowRun, number: int = 0) -> ResultOrigin:
    run = TaskRun("add-12345678", str(number), f"add-{number}", "add", flow_run_id=flow_run.id)
    return ResultOrigin(flow_run=flow_run, task_run=run, fingerprint="f00")


def kept(factory: ResultFactory, flow_run: FlowRun, value: Any, packs: Packs, number: int = 0) -> PersistedResult[Any]:
    handle = factory.create_result(value, origin_of(flow_run, number), packs)
    assert isinstance(handle, PersistedResult)
    return handle


def reread(handle: PersistedResult[Any], storage: Folder) -> Any:
    return result_from_record(handle.to_record(), storage).get()


def files(storage: Folder) -> list[Path]:
    return [path for path in Path(str(storage.basepath)).rglob("*") if path.is_file()]


def test_small_results_of_a_run_share_a_file_and_are_read_from_their_records(
    storage: Folder, packs: Packs, flow_run: FlowRun
) -> None:
    factory = factory_for(storage)
    handles = [kept(factory, flow_run, [number], packs, number) for number in range(20)]
    assert len(files(storage)) == 1
    assert [reread(handle, storage) for handle in handles] == [[number] for number in range(20)]
    assert [pickle.loads(pickle.dumps(handle)).get() for handle in handles] == [[number] for number in range(20)]
    assert len(set(handles)) == 20
    assert handles[3] == result_from_record(handles[3].to_record(), storage)


def test_a_result_can_be_read_by_others_as_soon_as_it_has_a_handle(
    storage: Folder, packs: Packs, flow_run: FlowRun
) -> None:
    handle = kept(factory_for(storage), flow_run, [1], packs)
    (found,) = stored_results(storage, flow_run.id)
    assert (found.key, found.offset) == (handle.storage_key, handle.offset)
    assert (found.header.task_key, found.header.dynamic_key, found.header.fingerprint) == ("add-12345678", "0", "f00")


def test_results_whose_places_are_known_are_not_listed(storage: Folder, packs: Packs, flow_run: FlowRun) -> None:
    factory = factory_for(storage)
    first, second = (kept(factory, flow_run, [number], packs, number) for number in range(2))
    known = {(first.storage_key, first.offset)}
    assert [found.offset for found in stored_results(storage, flow_run.id, known=known)] == [second.offset]


@pytest.mark.parametrize("is_default", [True, False], ids=["of the settings", "given"])
def test_a_reference_says_where_its_folder_is_if_the_settings_do_not(
    storage: Folder, packs: Packs, flow_run: FlowRun, is_default: bool
) -> None:
    handle = kept(factory_for(storage, is_default_storage=is_default), flow_run, [1], packs)
    record = handle.to_record()
    assert Path(record["storage_key"]).is_absolute() is not is_default
    assert result_from_record(record, storage if is_default else Folder("/nowhere")).get() == [1]


ALONE = {
    "large": (lambda: "x" * LARGEST, {}),
    "with a buffer of its own": (lambda: numpy.zeros(20_000), {}),
    "with a name": (lambda: [1], {"storage_key": "mine"}),
}


@pytest.mark.parametrize(("make", "options"), ALONE.values(), ids=ALONE.keys())
def test_other_results_have_a_file_for_themselves(
    storage: Folder, packs: Packs, flow_run: FlowRun, make: Any, options: dict[str, Any]
) -> None:
    value = make()
    handle = kept(factory_for(storage, **options), flow_run, value, packs)
    assert "offset" not in handle.to_record()
    assert numpy.array_equal(reread(handle, storage), value)


def test_exceptions_and_signed_results_are_in_packs_too(storage: Folder, packs: Packs, flow_run: FlowRun) -> None:
    with temporary_settings({FLOWYARD_RESULTS_SIGNING_KEY: "secret"}):
        handle = kept(factory_for(storage, own_signing_key="secret"), flow_run, LookupError("nothing here"), packs)
        assert handle.offset is not None
        error = reread(handle, storage)
        assert (type(error), error.args) == (LookupError, ("nothing here",))
        assert len(list(stored_results(storage, flow_run.id, "secret"))) == 1
    with (
        temporary_settings({FLOWYARD_RESULTS_SIGNING_KEY: "another"}),
        pytest.raises(CorruptResult, match="its signature is wrong"),
    ):
        reread(handle, storage)
    assert list(stored_results(storage, flow_run.id, "another")) == []


def test_threads_share_a_pack(storage: Folder, packs: Packs, flow_run: FlowRun) -> None:
    factory = factory_for(storage)
    handles: list[PersistedResult[Any]] = []

    def write(first: int) -> None:
        handles.extend(kept(factory, flow_run, [number], packs, number) for number in range(first, first + 50))

    threads = [threading.Thread(target=write, args=(first,)) for first in range(0, 400, 50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(files(storage)) == 1
    assert sorted(reread(handle, storage)[0] for handle in handles) == list(range(400))
    assert len(list(stored_results(storage, flow_run.id))) == 400


def test_each_writer_has_a_pack_of_its_own(storage: Folder, flow_run: FlowRun) -> None:
    factory = factory_for(storage)
    for number in range(3):
        packs = Packs()
        kept(factory, flow_run, [number], packs, number)
        packs.close()
    assert len(files(storage)) == 3
    assert {found.header.dynamic_key for found in stored_results(storage, flow_run.id)} == {"0", "1", "2"}


def test_runs_have_packs_of_their_own_of_which_a_worker_keeps_few_open(storage: Folder, packs: Packs) -> None:
    factory = factory_for(storage)
    runs = [FlowRun(flow_id=new_id(), name=str(number), flow_name="f") for number in range(20)]
    handles = [kept(factory, run, [number], packs) for _ in range(2) for number, run in enumerate(runs)]
    if sys.platform == "linux":
        mine = [os.path.realpath(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")]
        assert len([target for target in mine if target.startswith(str(storage.basepath))]) == 16
    assert [reread(handle, storage) for handle in handles] == [[number] for number in range(20)] * 2
    assert {Path(handle.storage_key).parent.as_posix() for handle in handles} == {run_folder(run.id) for run in runs}


def test_a_result_that_comes_after_the_end_is_kept_and_no_file_stays_open(
    storage: Folder, packs: Packs, flow_run: FlowRun
) -> None:
    packs.close()
    handle = kept(factory_for(storage), flow_run, [1], packs)
    assert reread(handle, storage) == [1]
    assert not packs._open  # pyright: ignore[reportPrivateUsage]


@pytest.mark.skipif(sys.platform == "win32", reason="open files cannot be deleted there")
def test_a_pack_that_was_deleted_is_followed_by_another_one(
    storage: Folder, packs: Packs, flow_run: FlowRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowyard.results.packs._SECONDS_BETWEEN_LOOKS", 0)
    factory = factory_for(storage)
    lost = kept(factory, flow_run, [1], packs)
    (path,) = files(storage)
    path.unlink()
    path.parent.rmdir()
    assert reread(kept(factory, flow_run, [2], packs), storage) == [2]
    with pytest.raises(MissingResult, match="is gone"):
        reread(lost, storage)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_writes_nothing_into_the_pack_of_its_parent(
    storage: Folder, packs: Packs, flow_run: FlowRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    factory = factory_for(storage)
    kept(factory, flow_run, [1], packs)
    monkeypatch.setattr("os.getpid", lambda: -1)
    assert reread(kept(factory, flow_run, [2], packs), storage) == [2]
    assert len(files(storage)) == 2


def test_nothing_follows_a_write_that_failed_half_way(
    storage: Folder, packs: Packs, flow_run: FlowRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    factory = factory_for(storage)
    first = kept(factory, flow_run, [1], packs)
    write = os.write
    full = [False]

    def fill_up(descriptor: int, content: Any) -> int:
        if full[0]:
            raise OSError(28, "No space left on device")
        full[0] = True
        return write(descriptor, bytes(content)[:100])

    with monkeypatch.context() as patch:
        patch.setattr("os.write", fill_up)
        with pytest.raises(ResultStorageFailed, match="No space left on device"):
            kept(factory, flow_run, [2], packs, 1)
    last = kept(factory, flow_run, [3], packs, 2)
    assert (reread(first, storage), reread(last, storage)) == ([1], [3])
    assert {found.header.dynamic_key for found in stored_results(storage, flow_run.id)} == {"0", "2"}


def test_storage_that_cannot_be_written_is_reported(tmp_path: Path, packs: Packs, flow_run: FlowRun) -> None:
    (tmp_path / "storage").write_text("a file where a folder should be")
    with pytest.raises(ResultStorageFailed, match=r"storage.*could not be written: NotADirectoryError"):
        kept(factory_for(Folder(str(tmp_path / "storage"))), flow_run, [1], packs)


# --- damage ---------------------------------------------------------------------------------------------------


def pack_of(contents: list[bytes], folder: Path) -> tuple[bytes, list[int]]:
    packs, flow_run_id = Packs(), new_id()
    storage = Folder(str(folder))
    frames = [packs.append(storage, "run", flow_run_id, content) for content in contents]
    packs.close()
    pack = Path(frames[0].path).read_bytes()
    Path(frames[0].path).unlink()
    return pack, [frame.offset for frame in frames]


def _repeated(content: bytes, times: int) -> bytes:
    return content * times


# Some are longer than what is read at first.
CONTENTS = st.lists(st.builds(_repeated, st.binary(max_size=40), st.sampled_from([1, 1, 200])), min_size=1, max_size=8)


@settings(deadline=None)
@given(contents=CONTENTS)
def test_what_is_in_a_pack_comes_out_again(contents: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> None:
    pack, offsets = pack_of(contents, tmp_path_factory.getbasetemp() / "packs")
    assert list(iter_frames(BytesIO(pack))) == list(zip(offsets, contents, strict=True))
    assert [read_frame(BytesIO(pack), offset, "x") for offset in offsets] == contents


@settings(deadline=None)
@given(contents=CONTENTS, data=st.data())
def test_of_a_pack_that_was_cut_off_all_whole_results_are_there(
    contents: list[bytes], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    pack, offsets = pack_of(contents, tmp_path_factory.getbasetemp() / "packs")
    size = data.draw(st.integers(0, len(pack)))
    ends = [*offsets[1:], len(pack)]
    whole = [content for content, end in zip(contents, ends, strict=True) if end <= size]
    assert [content for _, content in iter_frames(BytesIO(pack[:size]))] == whole
    for content, offset, end in zip(contents, offsets, ends, strict=True):
        if end <= size:
            assert read_frame(BytesIO(pack[:size]), offset, "x") == content
        else:
            with pytest.raises(CorruptResult, match="it was cut off"):
                read_frame(BytesIO(pack[:size]), offset, "x")


@settings(deadline=None)
@given(contents=CONTENTS, data=st.data())
def test_of_a_pack_that_was_changed_only_what_is_intact_is_read(
    contents: list[bytes], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    pack, offsets = pack_of(contents, tmp_path_factory.getbasetemp() / "packs")
    begin = data.draw(st.integers(0, len(pack) - 1))
    junk = (data.draw(st.binary(min_size=1, max_size=40)) * data.draw(st.sampled_from([1, 100])))[: len(pack) - begin]
    changed = pack[:begin] + junk + pack[begin + len(junk) :]
    ends = [*offsets[1:], len(pack)]
    first = next((place for place, (old, new) in enumerate(zip(pack, changed, strict=True)) if old != new), len(pack))
    before = [content for content, end in zip(contents, ends, strict=True) if end <= first]
    assert [content for _, content in iter_frames(BytesIO(changed))] == before
    for content, offset, end in zip(contents, offsets, ends, strict=True):
        if changed[offset:end] == pack[offset:end]:
            assert read_frame(BytesIO(changed), offset, "x") == content
        else:
            with pytest.raises(CorruptResult):
                read_frame(BytesIO(changed), offset, "x")


def test_a_damaged_result_is_reported_with_its_pack_and_place(storage: Folder, packs: Packs, flow_run: FlowRun) -> None:
    factory = factory_for(storage)
    first, second = (kept(factory, flow_run, [number], packs, number) for number in range(2))
    (path,) = files(storage)
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"add-12345678"', b'"sub-12345678"', 1))
    with pytest.raises(CorruptResult) as caught:
        reread(first, storage)
    assert f"{str(path)!r} cannot be read: the checksum of the result at {first.offset} is wrong" in str(caught.value)
    assert reread(second, storage) == [1]
    path.write_bytes(content[:-1])
    with pytest.raises(CorruptResult, match=f"it ends in the result at {second.offset}: it was cut off"):
        reread(second, storage)


# --- in flows -------------------------------------------------------------------------------------------------


@task(persist_result=True)
def double(number: int) -> list[int]:
    return [number * 2]


@task(cache_policy=INPUTS)
def cached(number: int) -> list[int]:
    return [number * 3]


@flow
def doubles() -> None:
    for number in range(5):
        double(number)
    for future in double.map(range(5)):
        future.wait()
    cached(7)


def test_tasks_of_a_flow_share_a_pack_and_values_of_the_cache_have_files_of_their_own(records: Any) -> None:
    state = doubles(return_state=True)
    runs = records.all_task_runs(state)
    kept_at = [run.state.data.to_record() for run in runs if run.task_name == "double"]
    assert len({record["storage_key"] for record in kept_at}) == 1
    assert len({record["offset"] for record in kept_at}) == 10
    assert all(run.state.result() for run in runs)
    (of_the_cache,) = [run.state.data.to_record() for run in runs if run.task_name == "cached"]
    assert "offset" not in of_the_cache
