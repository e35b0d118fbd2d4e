"""The contract of task runners, on Dask: in threads, in processes, and over TCP and TLS to programs of their own."""

from __future__ import annotations

from typing import Any

import pytest
from distributed import Client, LocalCluster

from flowyard.task_runners.base import TaskRunner
from flowyard.task_runners.sequential import SequentialTaskRunner
from flowyard.testing.runners import TaskRunnerContract, TaskRunnerFlowContract
from flowyard.testing.runners.flow_records import FlowRecordsContract
from flowyard.testing.runners.upcalls import UpcallContract
from flowyard.testing.workloads import random_graph, run_graph
from flowyard_dask import DaskTaskRunner


class OnThreads:
    @pytest.fixture
    def runner(self, threads: LocalCluster) -> TaskRunner:
        return DaskTaskRunner(cluster=threads)


class OnProcesses:
    @pytest.fixture
    def runner(self, processes: LocalCluster) -> TaskRunner:
        return DaskTaskRunner(cluster=processes)


class OverTcp:
    @pytest.fixture
    def runner(self, external: Any) -> TaskRunner:
        with Client(external.address, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=60)
        return DaskTaskRunner(address=external.address)


class OverTls:
    @pytest.fixture
    def runner(self, secured: Any) -> TaskRunner:
        with Client(secured.address, security=secured.security, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=60)
        return DaskTaskRunner(address=secured.address, client_kwargs={"security": secured.security})


class TestThreads(OnThreads, TaskRunnerContract):
    pass


class TestFlowsOnThreads(OnThreads, TaskRunnerFlowContract):
    pass


class TestProcesses(OnProcesses, TaskRunnerContract):
    pass


class TestFlowsOnProcesses(OnProcesses, TaskRunnerFlowContract):
    @pytest.mark.parametrize("seed", range(100, 130))
    def test_many_random_graphs_end_as_on_the_sequential_runner(self, runner: TaskRunner, seed: int) -> None:
        nodes = random_graph(seed)
        assert run_graph(nodes, runner) == run_graph(nodes, SequentialTaskRunner()), f"seed {seed}: {nodes}"


class TestTcp(OverTcp, TaskRunnerContract):
    pass


class TestFlowsOverTcp(OverTcp, TaskRunnerFlowContract):
    pass


class TestTls(OverTls, TaskRunnerContract):
    pass


class TestFlowsOverTls(OverTls, FlowRecordsContract, UpcallContract):
    """What else travels over the connection: records and questions. Values, order and limits are as over TCP."""
