"""A process that is connected to Ray before its flow starts, and what the flow asks for."""

from __future__ import annotations

import logging
from importlib import import_module
from typing import Any

import pytest

from flowyard_ray import RayTaskRunner

pytestmark = pytest.mark.timeout(400)


def starts(**options: Any) -> bool:
    with RayTaskRunner(**options).start() as runner:
        return runner.capacity() is not None


def test_the_cluster_that_the_process_is_connected_to_goes_by_each_of_its_names(ray_driver: str) -> None:
    assert starts()
    assert starts(address="auto")
    assert starts(address=ray_driver)
    assert starts(address=ray_driver.replace("127.0.0.1", "localhost"))


@pytest.mark.parametrize("wanted", ["127.0.0.1:1", "ray://127.0.0.1:1", "ray://127.0.0.1"])
def test_another_cluster_is_not_taken_for_the_present_one(ray_driver: str, wanted: str) -> None:
    with pytest.raises(ConnectionError, match=f"the flow wants the Ray at '{wanted}', but this process is connected"):
        starts(address=wanted)
    with pytest.raises(ConnectionError, match=f"the flow wants the Ray at '{wanted}'"):
        starts(init_kwargs={"address": wanted})


def test_what_cannot_be_had_of_a_ray_that_runs_is_said(ray_driver: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert starts(init_kwargs={"namespace": "mine", "num_cpus": 7})
    assert ["no effect: ['num_cpus']" in record.message for record in caplog.records] == [True]


def test_the_runner_is_where_users_of_the_dask_runner_look_for_it() -> None:
    assert import_module("flowyard_ray.task_runners").RayTaskRunner is RayTaskRunner
