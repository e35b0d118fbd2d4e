from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowyard.client import FlowyardClient, PrefectClient, SyncFlowyardClient, get_client
from flowyard.exceptions import ObjectNotFound
from flowyard.local.backend import LocalBackend
from flowyard.process.backends import PROCESS, close_backends
from flowyard.schemas.filters import FlowRunFilter, LogFilter, TaskRunFilter
from flowyard.schemas.orchestration import Verdict
from flowyard.schemas.states import State, StateType
from flowyard.settings import Settings, temporary_settings
from flowyard.testing.records import begin, make_line, make_task_run, record

S = StateType


@pytest.fixture
def backend() -> Iterator[LocalBackend]:
    with LocalBackend.in_memory() as opened:
        yield opened


def test_the_blocking_client_reads_and_changes_runs(backend: LocalBackend) -> None:
    run, lease = begin(backend, "my-flow")
    task_run = make_task_run(run.id)
    recorder = backend.journal.recorder(lease)
    record(recorder, task_run)
    recorder.append(make_line(run.id, "hello"))
    with get_client(backend=backend) as client:
        assert isinstance(client, SyncFlowyardClient)
        assert [flow.name for flow in client.read_flows()] == ["my-flow"]
        assert client.read_flow(run.flow_id).name == "my-flow"
        assert client.read_flow_run(run.id).name == run.name
        assert [found.id for found in client.read_flow_runs(flow_run_filter=FlowRunFilter(ids=(run.id,)))] == [run.id]
        assert [state.type for state in client.read_flow_run_states(run.id)] == [S.PENDING, S.RUNNING]
        assert client.read_task_run(task_run.id).state_type is S.COMPLETED
        assert client.read_task_runs(task_run_filter=TaskRunFilter(state_types=(S.FAILED,))) == []
        assert len(client.read_task_run_states(task_run.id)) == 3
        assert [line.message for line in client.read_logs(LogFilter(flow_run_id=run.id))] == ["hello"]
        assert client.set_flow_run_state(run.id, State(S.CANCELLING)).status is Verdict.ACCEPT
        client.delete_flow_run(run.id)
        with pytest.raises(ObjectNotFound):
            client.read_flow_run(run.id)
    assert backend.control.count_flow_runs() == 0, "a backend that was given is left open"


def test_the_other_client_does_the_same_as_coroutines(backend: LocalBackend) -> None:
    run, _ = begin(backend)

    async def use() -> None:
        async with get_client(backend=backend) as client:
            assert isinstance(client, PrefectClient)
            assert (await client.read_flow_run(run.id)).state_type is S.RUNNING
            result = await client.set_flow_run_state(run.id, State(S.COMPLETED))
            assert result.status is Verdict.ACCEPT
            assert [found.id for found in await client.read_flow_runs(limit=1)] == [run.id]
            await client.delete_flow_run(run.id)
            assert await client.read_flow_runs() == []

    asyncio.run(use())


def test_a_client_uses_the_backend_that_this_process_has_open(home: Path) -> None:
    with temporary_settings({Settings.FLOWYARD_HOME: home}):
        with get_client(sync_client=True) as client:
            assert client.read_flow_runs() == []
            assert client.control is PROCESS.backend().control
        close_backends()
    assert (home / "flowyard.db").exists()
    with pytest.raises(RuntimeError, match="with get_client"):
        client.read_flows()


def test_the_same_proposal_sent_twice_counts_once(backend: LocalBackend) -> None:
    run, _ = begin(backend)
    with FlowyardClient(backend) as client:
        state = State(S.FAILED)
        client.set_flow_run_state(run.id, state)
        accepted = client.read_flow_run(run.id).state
        assert accepted is not None
        again = client.set_flow_run_state(run.id, accepted)
        assert again.status is Verdict.REJECT
        assert len(client.read_flow_run_states(run.id)) == 3
