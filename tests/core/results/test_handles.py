from __future__ import annotations

import asyncio
import pickle
from pathlib import Path
from uuid import uuid4

import pytest

from flowyard.exceptions import CorruptResult, MissingResult, RemoteException, ResultStorageFailed, SerializationError
from flowyard.filesystems import LocalFileSystem
from flowyard.logging.loggers import LogEavesdropper
from flowyard.results import (
    LiteralResult,
    PersistedResult,
    ResultFactory,
    ResultOrigin,
    UnknownResult,
    UnpersistedResult,
    result_from_record,
    stored_results,
)
from flowyard.schemas.ids import new_id
from flowyard.schemas.runs import FlowRun, TaskRun
from flowyard.schemas.states import ResultHandle, StateType
from flowyard.serializers import CompressedPickleSerializer, JSONSerializer, PickleSerializer


@pytest.fixture
def storage(tmp_path):
    return LocalFileSystem(basepath=str(tmp_path))


@pytest.fixture
def factory(storage):
    return ResultFactory(persist_result=True, storage=storage, serializer=PickleSerializer(), is_default_storage=True)


@pytest.fixture
def origin():
    flow_run = FlowRun(flow_id=new_id(), name="brave-otter", flow_name="my-flow")
    task_run = TaskRun("add-12345678", "3", "add-3", "add", flow_run_id=flow_run.id)
    task_run.run_count = 2
    return ResultOrigin(flow_run=flow_run, task_run=task_run, parameters={"x": 5}, fingerprint="f00")


class Local(Exception):
    pass


def _refuse():
    raise TypeError("cannot be rebuilt")


class Picky(Exception):
    """Pickles, but does not unpickle."""

    def __init__(self, code, detail):
        super().__init__(f"{code} {detail}")

    def __reduce__(self):
        # Not left to the constructor: where `distributed` is imported, pickle rebuilds exceptions without it.
        return _refuse, ()


class Keyed(Exception):
    def __init__(self, code, *, detail):
        super().__init__(f"{code} {detail}")


class Holder(Exception):
    """Does not pickle."""

    def __init__(self, text):
        super().__init__(text)
        self.lock = __import__("threading").Lock()


@pytest.mark.parametrize(
    "handle",
    [UnpersistedResult(1), LiteralResult(None), UnknownResult()],
    ids=["unpersisted", "literal", "unknown"],
)
def test_handles_satisfy_the_protocol_of_states(handle):
    assert isinstance(handle, ResultHandle)


def test_an_unpersisted_result_gives_its_value_and_records_none_of_it():
    handle = UnpersistedResult([1])
    assert handle.get() == [1]
    assert handle.to_record() == {"type": "unpersisted"}
    assert handle.has_cached_object()


def test_an_unpersisted_result_may_hold_none():
    assert UnpersistedResult(None).get() is None


def test_a_value_that_was_dropped_is_missing(storage):
    factory = ResultFactory(
        persist_result=False, storage=storage, serializer=PickleSerializer(), cache_result_in_memory=False
    )
    handle = factory.create_result(5)
    with pytest.raises(MissingResult, match="neither persisted nor kept"):
        handle.get()
    with pytest.raises(MissingResult, match="neither persisted nor kept"):
        pickle.loads(pickle.dumps(handle)).get()


def test_without_persistence_nothing_is_written(storage, tmp_path):
    factory = ResultFactory(persist_result=False, storage=storage, serializer=PickleSerializer())
    assert isinstance(factory.create_result(5), UnpersistedResult)
    assert factory.create_result(None).to_record() == {"type": "unpersisted"}
    assert factory.keeps_in_memory_only
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [None, True, False])
def test_literals_are_recorded_themselves(factory, tmp_path, value):
    handle = factory.create_result(value)
    assert handle.to_record() == {"type": "literal", "value": value}
    assert result_from_record(handle.to_record(), factory.storage).get() is value
    assert list(tmp_path.iterdir()) == []


def test_a_uuid_is_a_literal_that_comes_back_as_a_uuid(factory):
    value = uuid4()
    record = factory.create_result(value).to_record()
    assert record == {"type": "literal", "value": str(value)}
    assert result_from_record(record, factory.storage).get() == value


def test_other_values_are_no_literals():
    with pytest.raises(TypeError, match="5 cannot be a literal"):
        LiteralResult(5)


def test_a_persisted_result_can_be_read_from_its_record(factory, origin, storage):
    handle = factory.create_result({"a": [1]}, origin)
    record = handle.to_record()
    flow_run_id = origin.flow_run.id
    assert record == {
        "type": "reference",
        "serializer_type": "pickle",
        "storage_block_id": None,
        "storage_key": f"runs/{flow_run_id}/tasks/add-12345678/3",
        "size": 24,
        "value_type": "dict",
        "checksum": handle.header().checksum,
        "fingerprint": "f00",
    }
    restored = result_from_record(record, storage)
    assert isinstance(restored, PersistedResult)
    assert not restored.has_cached_object()
    assert restored.get() == {"a": [1]}
    assert restored.has_cached_object()
    assert restored == handle


def test_a_reference_to_a_folder_that_was_given_can_be_read_without_it(tmp_path, origin):
    factory = ResultFactory(
        persist_result=True, storage=LocalFileSystem(basepath=str(tmp_path)), serializer=JSONSerializer()
    )
    record = factory.create_result([1], origin).to_record()
    assert record["storage_key"].startswith(str(tmp_path))
    assert result_from_record(record, LocalFileSystem(basepath="/nowhere")).get() == [1]


def test_a_value_in_memory_is_the_very_object(factory):
    value = object.__new__(type("Thing", (), {}))
    assert factory.create_result(value).get() is value


def test_pickling_a_persisted_result_leaves_the_value_behind(factory):
    handle = factory.create_result("x" * 100_000)
    packed = pickle.dumps(handle)
    assert len(packed) < 1000
    assert pickle.loads(packed).get() == "x" * 100_000


def test_without_memory_the_value_is_read_each_time(storage):
    factory = ResultFactory(
        persist_result=True, storage=storage, serializer=PickleSerializer(), cache_result_in_memory=False
    )
    handle = factory.create_result([1])
    assert not handle.has_cached_object()
    assert handle.get() == [1]
    assert handle.get() is not handle.get()
    assert not handle.has_cached_object()


def test_any_process_can_read_a_file_whatever_serializer_its_settings_name(storage, origin):
    factory = ResultFactory(
        persist_result=True,
        storage=storage,
        serializer=CompressedPickleSerializer(compressionlib="zlib"),
        is_default_storage=True,
    )
    record = factory.create_result([1], origin).to_record()
    assert record["serializer_type"] == "compressed/pickle"
    assert result_from_record(record, storage).get() == [1]


def test_the_header_says_whose_result_it_is(factory, origin, storage):
    factory.create_result([1], origin)
    ((key, header, offset),) = stored_results(storage, origin.flow_run.id)
    assert offset is None
    assert key == f"runs/{origin.flow_run.id}/tasks/add-12345678/3"
    assert (header.task_key, header.dynamic_key, header.attempt) == ("add-12345678", "3", 2)
    assert header.flow_run_id == str(origin.flow_run.id)
    assert header.task_run_id == str(origin.task_run.id)
    assert (header.fingerprint, header.state_type) == ("f00", "COMPLETED")


def test_damaged_files_are_left_out_of_the_list_of_a_run(factory, origin, storage, tmp_path):
    key = factory.create_result([1], origin).to_record()["storage_key"]
    path = tmp_path / key
    path.write_bytes(path.read_bytes()[:-1])
    (path.parent / "other").write_bytes(b"not a result")
    assert list(stored_results(storage, origin.flow_run.id)) == []


# --- where results go ---------------------------------------------------------------------------------


def test_the_same_identity_has_the_same_place_in_every_attempt(factory, origin):
    first = factory.create_result([1], origin)
    second = factory.create_result([2], origin)
    assert first.storage_key == second.storage_key
    assert result_from_record(first.to_record(), factory.storage).get() == [2]


def test_the_flow_run_itself_has_its_own_place(factory, origin):
    key = factory.create_result([1], ResultOrigin(flow_run=origin.flow_run)).to_record()["storage_key"]
    assert key == f"runs/{origin.flow_run.id}/flow"


def test_a_task_outside_of_a_flow_has_the_place_of_its_id(factory):
    run = TaskRun("a", "0", "a-0", "a")
    key = factory.create_result([1], ResultOrigin(task_run=run)).to_record()["storage_key"]
    assert key == f"tasks/{run.id}"


def test_values_without_a_run_do_not_overwrite_each_other(factory):
    keys = {factory.create_result([n]).to_record()["storage_key"] for n in range(3)}
    assert len(keys) == 3


def test_strange_task_keys_become_different_safe_file_names(factory):
    flow_run_id = new_id()
    keys = set()
    for task_key in ["<lambda>-1", "_lambda_-1", "../../etc", "a/b", "ü" * 300, "", ".", ".."]:
        run = TaskRun(task_key, "0", "x", "x", flow_run_id=flow_run_id)
        key = factory.create_result([1], ResultOrigin(task_run=run)).to_record()["storage_key"]
        assert Path(key).parts[:3] == ("runs", str(flow_run_id), "tasks")
        assert len(Path(key).parts) == 5
        keys.add(key)
    assert len(keys) == 8


def test_a_template_names_the_file(storage, origin):
    factory = ResultFactory(
        persist_result=True,
        storage=storage,
        serializer=PickleSerializer(),
        storage_key="{flow_run.flow_name}/{task_run.name}-{parameters[x]}",
        is_default_storage=True,
    )
    assert factory.create_result([1], origin).to_record()["storage_key"] == "my-flow/add-3-5"


@pytest.mark.parametrize("template", ["{parameters[y]}", "{flow_run.no_such}", "{nothing}", "{"])
def test_a_template_that_cannot_be_filled_is_refused(storage, origin, template):
    factory = ResultFactory(persist_result=True, storage=storage, serializer=PickleSerializer(), storage_key=template)
    with pytest.raises(ValueError, match=r"cannot be filled.*it can use parameters\[\.\.\.\] \(x\)"):
        factory.create_result([1], origin)


def test_a_template_that_leads_out_of_the_storage_is_refused(storage, origin):
    factory = ResultFactory(
        persist_result=True, storage=storage, serializer=PickleSerializer(), storage_key="../{parameters[x]}"
    )
    with pytest.raises(ValueError, match="outside of the base path"):
        factory.create_result([1], origin)


# --- exceptions -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("serializer", [PickleSerializer(), JSONSerializer()], ids=["pickle", "json"])
def test_an_exception_comes_back_as_itself(storage, serializer):
    factory = ResultFactory(persist_result=True, storage=storage, serializer=serializer, is_default_storage=True)
    record = factory.create_result(Local("a", 1), ResultOrigin(state_type=StateType.FAILED)).to_record()
    restored = result_from_record(record, storage).get()
    assert type(restored) is Local
    assert restored.args == ("a", 1)


@pytest.mark.parametrize(
    ("error", "serializer"),
    [
        (Picky(1, "x"), PickleSerializer()),
        (Holder("1 x"), PickleSerializer()),
        (Keyed(1, detail="x"), JSONSerializer()),
    ],
    ids=["unpickles badly", "does not pickle", "json cannot call it"],
)
def test_an_exception_that_cannot_come_back_is_described(storage, serializer, error):
    factory = ResultFactory(persist_result=True, storage=storage, serializer=serializer, is_default_storage=True)
    try:
        raise error
    except Exception as raised:
        handle = factory.create_result(raised)
    assert handle.get() is error, "the process that raised it has the exception itself"
    restored = result_from_record(handle.to_record(), storage).get()
    assert isinstance(restored, RemoteException)
    assert str(restored) == f"{type(error).__module__}.{type(error).__qualname__}: 1 x"
    assert "raise error" in restored.traceback


def test_an_exception_whose_class_is_gone_is_described(factory, storage):
    module = type(pickle)("gone_module")
    exec("class Gone(Exception): pass", module.__dict__)
    __import__("sys").modules["gone_module"] = module
    try:
        record = factory.create_result(module.Gone("bye")).to_record()
    finally:
        del __import__("sys").modules["gone_module"]
    restored = result_from_record(record, storage).get()
    assert isinstance(restored, RemoteException)
    assert str(restored) == "gone_module.Gone: bye"


# --- failures -------------------------------------------------------------------------------------------


def test_a_value_that_cannot_be_serialized_is_refused_with_the_way_out(factory, tmp_path):
    with pytest.raises(SerializationError) as caught:
        factory.create_result(__import__("threading").Lock())
    assert "a result of type lock cannot be persisted with the 'pickle' serializer" in str(caught.value)
    assert "persist_result=False" in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    assert pickle.loads(pickle.dumps(caught.value)).args == caught.value.args


def test_a_value_that_need_not_be_persisted_stays_in_memory_with_a_warning(storage, origin, tmp_path):
    factory = ResultFactory(persist_result=True, must_persist=False, storage=storage, serializer=PickleSerializer())
    lock = __import__("threading").Lock()
    with LogEavesdropper("flowyard") as heard:
        handle = factory.create_result(lock, origin)
    assert isinstance(handle, UnpersistedResult)
    assert handle.get() is lock
    assert "The result of task run 'add-3' is kept in memory only" in heard.text()
    assert "cannot pickle" in heard.text()


def reread(factory, tmp_path, damage):
    record = factory.create_result(list(range(100)), ResultOrigin()).to_record()
    path = tmp_path / record["storage_key"]
    damage(path)
    return path, result_from_record(record, factory.storage)


def test_a_missing_file_is_reported_with_its_path(factory, tmp_path):
    path, handle = reread(factory, tmp_path, lambda path: path.unlink())
    with pytest.raises(MissingResult, match=f"{path}.*is gone") as caught:
        handle.get()
    assert not isinstance(caught.value, CorruptResult)


DAMAGES = {
    "cut off": (lambda path: path.write_bytes(path.read_bytes()[:-10]), "cut off"),
    "only the header": (lambda path: path.write_bytes(path.read_bytes().partition(b"\n")[0]), "does not begin with"),
    "empty": (lambda path: path.write_bytes(b""), "does not begin with"),
    "changed": (lambda path: path.write_bytes(path.read_bytes()[:-1] + b"!"), "checksum is wrong"),
    "something else": (lambda path: path.write_bytes(b"hello\nworld"), "does not begin with"),
    "damaged header": (lambda path: path.write_bytes(path.read_bytes().replace(b'"size"', b'"sise"', 1)), "header is"),
    "folder": (lambda path: (path.unlink(), path.mkdir()), "directory"),
    "unknown serializer": (
        lambda path: path.write_bytes(path.read_bytes().replace(b'"type": "pickle"', b'"type": "zzz"', 1)),
        "no serializer named 'zzz'",
    ),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_file_is_reported_with_its_path_and_what_is_wrong(factory, tmp_path, damage, message):
    path, handle = reread(factory, tmp_path, damage)
    with pytest.raises(CorruptResult) as caught:
        handle.get()
    assert str(path) in str(caught.value)
    assert message in str(caught.value)
    assert isinstance(caught.value, MissingResult)


def test_a_value_of_a_class_that_is_gone_is_reported_with_its_path(factory, tmp_path):
    module = type(pickle)("gone_module")
    exec("class Gone: pass", module.__dict__)
    __import__("sys").modules["gone_module"] = module
    try:
        record = factory.create_result(module.Gone()).to_record()
    finally:
        del __import__("sys").modules["gone_module"]
    with pytest.raises(CorruptResult, match="ModuleNotFoundError: No module named 'gone_module'"):
        result_from_record(record, factory.storage).get()


def test_a_record_of_an_unknown_kind_is_refused(storage):
    with pytest.raises(ValueError, match="result of type 'future' is not known"):
        result_from_record({"type": "future"}, storage)


def test_unpersisted_and_unknown_records_have_no_value(storage):
    for kind in ("unpersisted", "unknown"):
        with pytest.raises(MissingResult):
            result_from_record({"type": kind}, storage).get()


# --- storage that is async --------------------------------------------------------------------------------


class AsyncStorage:
    def __init__(self):
        self.files = {}

    async def read_path(self, path):
        await asyncio.sleep(0)
        return self.files[path]

    async def write_path(self, path, content):
        await asyncio.sleep(0)
        self.files[path] = content


def test_a_storage_with_async_methods_works_with_and_without_a_running_loop():
    factory = ResultFactory(
        persist_result=True, storage=AsyncStorage(), serializer=PickleSerializer(), cache_result_in_memory=False
    )
    assert factory.create_result([1]).get() == [1]

    async def inside():
        return factory.create_result([2]).get()

    assert asyncio.run(inside()) == [2]


def test_errors_of_an_async_storage_are_raised():
    handle = PersistedResult(storage=AsyncStorage(), storage_key="k", serializer_type="pickle")

    async def inside():
        return handle.get()

    with pytest.raises(ResultStorageFailed, match="AsyncStorage: k.*KeyError"):
        asyncio.run(inside())
    with pytest.raises(ResultStorageFailed) as caught:
        handle.get()
    assert isinstance(caught.value.__cause__, KeyError)
