from __future__ import annotations

import pickle
from types import SimpleNamespace

import pytest

from flowyard.exceptions import UnknownPlugin
from flowyard.filesystems import LocalFileSystem
from flowyard.results import (
    flow_features_require_child_result_persistence,
    flow_features_require_result_persistence,
    flow_result_options,
    task_features_require_result_persistence,
    task_result_options,
)
from flowyard.serializers import JSONSerializer, PickleSerializer
from flowyard.settings import Settings

DEFAULTS = Settings({"FLOWYARD_LOCAL_STORAGE_PATH": "/default"})
PERSIST = Settings({"FLOWYARD_LOCAL_STORAGE_PATH": "/default", "FLOWYARD_RESULTS_PERSIST_BY_DEFAULT": "true"})
ELSEWHERE = LocalFileSystem(basepath="/elsewhere")


def flow(**options):
    declared = {
        "persist_result": None,
        "result_storage": None,
        "result_serializer": None,
        "cache_result_in_memory": True,
        "retries": 0,
    }
    return SimpleNamespace(**{**declared, **options})


def task(**options):
    declared = {
        "persist_result": None,
        "result_storage": None,
        "result_serializer": None,
        "result_storage_key": None,
        "cache_result_in_memory": True,
        "key_policy": None,
    }
    return SimpleNamespace(**{**declared, **options})


def test_features_that_need_persistence():
    assert not flow_features_require_result_persistence(flow())
    assert flow_features_require_result_persistence(flow(cache_result_in_memory=False))
    assert not flow_features_require_child_result_persistence(flow())
    assert not flow_features_require_child_result_persistence(flow(retries=None))
    assert flow_features_require_child_result_persistence(flow(retries=1))
    assert not task_features_require_result_persistence(task())
    assert task_features_require_result_persistence(task(key_policy=lambda *_: "k"))
    assert task_features_require_result_persistence(task(cache_result_in_memory=False))


TASK_CASES = {
    "nothing said": (task(), flow(), DEFAULTS, False),
    "setting": (task(), flow(), PERSIST, True),
    "never beats the setting": (task(persist_result=False), flow(), PERSIST, False),
    "always": (task(persist_result=True), flow(), DEFAULTS, True),
    "cache": (task(key_policy=len), flow(), DEFAULTS, True),
    "not in memory": (task(cache_result_in_memory=False), flow(), DEFAULTS, True),
    "flow with retries": (task(), flow(retries=2), DEFAULTS, True),
    "never beats the flow's retries": (task(persist_result=False), flow(retries=2), DEFAULTS, False),
    "a flow that persists its own": (task(), flow(persist_result=True), DEFAULTS, False),
    "outside of a flow": (task(persist_result=True), None, DEFAULTS, True),
}


@pytest.mark.parametrize(("declared", "inside", "settings", "persists"), TASK_CASES.values(), ids=TASK_CASES.keys())
def test_when_a_task_persists_its_result(declared, inside, settings, persists):
    flow_results = None if inside is None else flow_result_options(inside, settings)
    assert task_result_options(declared, settings, flow=inside, flow_results=flow_results).persist_result is persists


@pytest.mark.parametrize(
    ("declared", "inside", "settings", "must"),
    [
        (task(persist_result=True), flow(), DEFAULTS, True),
        (task(key_policy=len), flow(), DEFAULTS, True),
        (task(cache_result_in_memory=False), flow(), DEFAULTS, True),
        (task(), flow(retries=1), DEFAULTS, False),
        (task(), flow(), PERSIST, False),
    ],
    ids=["asked for", "cache", "not in memory", "retries of the flow", "setting"],
)
def test_when_a_value_that_cannot_be_serialized_is_an_error(declared, inside, settings, must):
    flow_results = flow_result_options(inside, settings)
    assert task_result_options(declared, settings, flow=inside, flow_results=flow_results).must_persist is must


FLOW_CASES = {
    "nothing said": (flow(), None, False),
    "its own retries": (flow(retries=1), None, False),
    "not in memory": (flow(cache_result_in_memory=False), None, True),
    "retries of its parent": (flow(), flow(retries=1), True),
    "a parent without retries": (flow(), flow(persist_result=True), False),
    "never": (flow(persist_result=False), flow(retries=1), False),
}


@pytest.mark.parametrize(("declared", "parent", "persists"), FLOW_CASES.values(), ids=FLOW_CASES.keys())
def test_when_a_flow_persists_its_result(declared, parent, persists):
    parent_results = None if parent is None else flow_result_options(parent, DEFAULTS)
    found = flow_result_options(declared, DEFAULTS, parent=parent_results, parent_flow=parent)
    assert found.persist_result is persists


def test_storage_and_serializer_come_from_the_task_then_its_flow_then_the_parent_then_the_settings():
    outermost = flow_result_options(flow(), DEFAULTS)
    assert outermost.storage == LocalFileSystem(basepath="/default")
    assert outermost.is_default_storage
    assert outermost.serializer == PickleSerializer()
    parent = flow_result_options(flow(result_storage=ELSEWHERE, result_serializer="json"), DEFAULTS)
    child = flow_result_options(flow(), DEFAULTS, parent=parent, parent_flow=flow())
    assert (child.storage, child.serializer, child.is_default_storage) == (ELSEWHERE, JSONSerializer(), False)
    inherited = task_result_options(task(), DEFAULTS, flow=flow(), flow_results=child)
    assert (inherited.storage, inherited.serializer) == (ELSEWHERE, JSONSerializer())
    here = LocalFileSystem(basepath="/here")
    own = task_result_options(
        task(result_storage=here, result_serializer=PickleSerializer(), result_storage_key="k"),
        DEFAULTS,
        flow=flow(),
        flow_results=child,
    )
    assert (own.storage, own.serializer, own.storage_key) == (here, PickleSerializer(), "k")


def test_the_settings_name_the_serializer():
    settings = Settings({"FLOWYARD_RESULTS_DEFAULT_SERIALIZER": "json"})
    assert flow_result_options(flow(), settings).serializer == JSONSerializer()


def test_options_travel_to_workers():
    options = task_result_options(task(persist_result=True, result_storage=ELSEWHERE), DEFAULTS)
    assert pickle.loads(pickle.dumps(options)) == options


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"result_storage": "s3/mine"}, ValueError, "no block 's3/mine' in the state backend"),
        ({"result_storage": 5}, TypeError, "5 is not a"),
        ({"result_storage": LocalFileSystem}, TypeError, "did you mean to call it"),
        ({"result_serializer": "zip"}, UnknownPlugin, "no serializer named 'zip'"),
    ],
)
def test_wrong_options_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        task_result_options(task(**options), DEFAULTS)
