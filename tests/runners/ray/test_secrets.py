"""Which secrets workers get, and where they are not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.experimental.internal_kv import _internal_kv_get, _internal_kv_list

from flowyard.flows import flow
from flowyard.settings import (
    FLOWYARD_API_KEY,
    FLOWYARD_RESULTS_SIGNING_KEY,
    FLOWYARD_SERVER_ENCRYPTION_KEY,
    get_current_settings,
    temporary_settings,
)
from flowyard.tasks import task
from flowyard.testing.utilities import flowyard_test_harness
from flowyard_ray import RayTaskRunner

pytestmark = [pytest.mark.timeout(400), pytest.mark.usefixtures("ray_driver", "_backend")]

SIGNING = "the-key-that-signs-4711"
OTHERS = {
    FLOWYARD_API_KEY: "the-key-of-the-server-4711",
    FLOWYARD_SERVER_ENCRYPTION_KEY: "a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2U=",
}


@pytest.fixture
def _backend() -> Iterator[None]:
    with flowyard_test_harness(), temporary_settings({FLOWYARD_RESULTS_SIGNING_KEY: SIGNING, **OTHERS}):
        yield


@task(persist_result=True)
def look() -> list[Any]:
    settings = get_current_settings()
    return [
        settings.FLOWYARD_RESULTS_SIGNING_KEY,
        settings.FLOWYARD_API_KEY,
        settings.FLOWYARD_SERVER_ENCRYPTION_KEY,
        str(dict(os.environ)),
        str(ray.get_runtime_context().get_runtime_env_string()),
    ]


@flow(task_runner=RayTaskRunner())
def look_on_a_worker() -> Any:
    return look.submit().result()


def test_workers_have_the_key_that_signs_results_and_no_other_secret() -> None:
    signing, api_key, encryption_key, environment, runtime_env = look_on_a_worker()
    assert signing == SIGNING
    assert (api_key, encryption_key) == (None, None)
    for secret in (SIGNING, *OTHERS.values()):
        assert secret not in environment
        assert secret not in runtime_env


def test_results_that_workers_persist_are_signed() -> None:
    @task(persist_result=True)
    def make() -> dict[str, int]:
        return {"a": 1}

    @flow(task_runner=RayTaskRunner())
    def run() -> Any:
        future = make.submit()
        assert future.result() == {"a": 1}
        return future.wait()

    state = run(return_state=True).result(raise_on_failure=False)
    files = [path for path in Path(get_current_settings().FLOWYARD_LOCAL_STORAGE_PATH).rglob("*") if path.is_file()]
    contents = [path.read_bytes() for path in files]
    assert any(b'"signature"' in content for content in contents)
    assert not any(SIGNING.encode() in content for content in contents)
    assert state.result() == {"a": 1}


def test_what_ray_keeps_of_functions_has_no_secret() -> None:
    look_on_a_worker()
    kept = [_internal_kv_get(key, namespace="fun") or b"" for key in _internal_kv_list(b"", namespace="fun")]
    assert any(b"flowyard" in value for value in kept), "nothing was found: the test shows nothing"
    for secret in (SIGNING, *OTHERS.values()):
        assert not any(secret.encode() in value for value in kept)
