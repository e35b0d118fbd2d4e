"""The journal alone: task runs with their three states appended as fast as a loop can, until all are on disk.

No engine and no user code: what is left of a task call when everything above the state backend is free.
"""

from __future__ import annotations

import argparse
import time

from benchmarks.workloads.reply import leave_at_once, reply
from flowyard.ports import Backend, open_backend
from flowyard.rules.bookkeeping import enter_state
from flowyard.schemas.events import TaskRunCreated, TaskRunEntered
from flowyard.schemas.ids import new_id
from flowyard.schemas.runs import FlowRun, TaskRun
from flowyard.schemas.states import State, StateType
from flowyard.settings import get_current_settings

STATES = (StateType.PENDING, StateType.RUNNING, StateType.COMPLETED)


def record(backend: Backend, flow_name: str, tasks: int) -> tuple[float, float]:
    """Record a flow run of `tasks` task runs; returns the seconds until all is appended, and until all is on disk."""
    flow_run = FlowRun(flow_id=new_id(), name="floor", flow_name=flow_name, state=State(StateType.PENDING))
    lease = backend.control.begin_flow_run(flow_name, flow_run)
    backend.control.propose_flow_run_state(flow_run.id, State(StateType.RUNNING), lease=lease)
    recorder = backend.journal.recorder(lease)
    begin = time.perf_counter()
    for number in range(tasks):
        run = TaskRun("noop", str(number), f"noop-{number}", "noop", flow_run.id)
        recorder.append(TaskRunCreated(run))
        for kind in STATES:
            state = State[object](kind)
            enter_state(run, state)
            recorder.append(TaskRunEntered(run.id, state))
    appended = time.perf_counter() - begin
    backend.control.propose_flow_run_state(flow_run.id, State(StateType.COMPLETED), lease=lease)
    return appended, time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tasks", type=int, default=20_000)
    options = parser.parse_args()
    backend = open_backend(get_current_settings())
    record(backend, "warm-up", 10)
    appended_seconds, call_seconds = record(backend, "measured", options.tasks)
    reply(tasks=options.tasks, appended_seconds=appended_seconds, call_seconds=call_seconds)
    leave_at_once()


if __name__ == "__main__":
    main()
