"""The contract of task runners, on Dask in threads and in processes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from distributed import LocalCluster

from flowyard.task_runners.base import TaskRunner
from flowyard.testing.runners import TaskRunnerContract, TaskRunnerFlowContract
from flowyard_dask import DaskTaskRunner


@pytest.fixture(scope="session", params=["threads", "processes"])
def cluster(request: pytest.FixtureRequest) -> Iterator[LocalCluster]:
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=request.param == "processes", dashboard_address=None
    ) as cluster:
        yield cluster


class TestContract(TaskRunnerContract):
    @pytest.fixture
    def runner(self, cluster: LocalCluster) -> TaskRunner:
        return DaskTaskRunner(cluster=cluster)


class TestFlowContract(TaskRunnerFlowContract):
    @pytest.fixture
    def runner(self, cluster: LocalCluster) -> TaskRunner:
        return DaskTaskRunner(cluster=cluster)
