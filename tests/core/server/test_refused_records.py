"""What an owner kept on disk while it was cut off, when its run is not its own any more."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from flowyard.exceptions import LeaseLost
from flowyard.remote import RemoteBackend
from flowyard.remote.connection import Connection
from flowyard.schemas.runs import utcnow
from flowyard.schemas.states import State, StateType
from flowyard.settings import FLOWYARD_CLIENT_MAX_RETRIES, FLOWYARD_HOME, Settings, temporary_settings
from flowyard.testing.cli import invoke_and_assert
from flowyard.testing.records import begin, enter, make_task_run, record
from flowyard.testing.servers import RunningServer

DEADLINE = 90.0
COMPLETED, RUNNING = StateType.COMPLETED, StateType.RUNNING


class Network:
    """Between processes and servers."""

    is_cut = False


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    network, send = Network(), Connection.send

    def send_if_there_is_a_way(connection: Connection, path: str, packed: bytes) -> bytes:
        if network.is_cut:
            raise connection._away("the network is cut", retry_after_seconds=0.01)  # pyright: ignore[reportPrivateUsage]
        return send(connection, path, packed)

    monkeypatch.setattr(Connection, "send", send_if_there_is_a_way)
    return network


def _settings(server: RunningServer, home: Path) -> Settings:
    return Settings.from_env(
        {
            "FLOWYARD_HOME": str(home),
            "FLOWYARD_API_URL": f"{server.address}/api",
            "FLOWYARD_CLIENT_MAX_RETRIES": "0",
            "FLOWYARD_JOURNAL_GIVE_UP_SECONDS": "0",
        }
    )


@pytest.mark.parametrize("is_alive", [True, False], ids=["wakes-up-late", "was-killed"])
def test_what_a_reaped_owner_kept_is_refused_and_stays_readable(
    settings: Settings,
    serve: Callable[[Settings], RunningServer],
    network: Network,
    tmp_path: Path,
    is_alive: bool,
) -> None:
    replicas = [serve(settings), serve(settings)]
    home = tmp_path / "owner"
    owner = RemoteBackend.open(_settings(replicas[0], home), keeps_leases=False)
    run, lease = begin(owner)
    recorder = owner.journal.recorder(lease)
    task_run = make_task_run(run.id)
    record(recorder, task_run, [StateType.PENDING, RUNNING])
    owner.journal.flush()

    network.is_cut = True
    enter(recorder, task_run, [COMPLETED])
    owner.journal.flush()
    alone = owner.control.propose_flow_run_state(run.id, State(COMPLETED), lease=lease)
    assert alone.state is not None
    assert alone.state.is_completed()
    # The other replica finds it silent, by its own clock.
    elsewhere = replicas[1].app.state.gateway.control
    assert elsewhere.reap_dead_runs(utcnow() + timedelta(minutes=1)) == [run.id]
    states = [state.id for state in elsewhere.read_flow_run_states(run.id)]
    if not is_alive:
        owner.close()

    network.is_cut = False
    if is_alive:
        assert owner.journal.delivery.wait_until_caught_up(DEADLINE)
        with pytest.raises(LeaseLost):
            enter(recorder, task_run, [COMPLETED])
        owner.close()
    with temporary_settings({FLOWYARD_HOME: home, FLOWYARD_CLIENT_MAX_RETRIES: 0}):
        if not is_alive:
            invoke_and_assert(["journal", "replay"], expected_code=0)
        # Nothing went back.
        assert [state.id for state in elsewhere.read_flow_run_states(run.id)] == states
        assert elsewhere.read_flow_run(run.id).state_type is StateType.CRASHED
        assert elsewhere.task_run_counts(run.id) == {("work", "Crashed"): 1}
        # And nothing is lost.
        invoke_and_assert(
            ["journal", "status"],
            expected_output_contains=["refused", "lease is not the current one", "journal export"],
        )
        exported = tmp_path / "refused.jsonl"
        invoke_and_assert(["journal", "export", str(exported)], expected_output_contains="Wrote 2")
        batch, proposal = [json.loads(line) for line in exported.read_text().splitlines()]
        assert (batch["flow_run_id"], batch["path"]) == (str(run.id), "/journal")
        assert "Completed" in json.dumps(batch["events"])
        assert "no longer owns" in proposal["reason"]
        assert proposal["path"] == "/control/runs/propose_flow_run_state"
        invoke_and_assert(
            ["journal", "export", str(exported)], expected_code=1, expected_output_contains="another file"
        )
        invoke_and_assert(["journal", "discard", "--yes"], expected_output_contains="Deleted 2")
        invoke_and_assert(["journal", "status"], expected_output_contains="Nothing waits")
    assert list(home.glob("spool/*")) == []
