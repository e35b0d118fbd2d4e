"""Reads what a run left through the control plane, the way CLI and SDK do: counts, and every state of a sample."""

from __future__ import annotations

from benchmarks.workloads.reply import reply
from flowyard.ports import open_backend
from flowyard.schemas.filters import FlowRunFilter, TaskRunFilter
from flowyard.schemas.states import StateType
from flowyard.settings import get_current_settings

SAMPLE = 20


def main() -> None:
    backend = open_backend(get_current_settings())
    try:
        control = backend.control
        runs = [run for run in control.read_flow_runs(FlowRunFilter()) if run.flow_name != "warm-up"]
        where = TaskRunFilter(flow_run_ids=tuple(run.id for run in runs), state_types=(StateType.COMPLETED,))
        complete_in_sample = 0
        sample = control.read_task_runs(where, limit=SAMPLE)
        for task_run in sample:
            kinds = [state.type for state in control.read_task_run_states(task_run.id)]
            complete_in_sample += kinds == [StateType.PENDING, StateType.RUNNING, StateType.COMPLETED]
        rolled_up = sum(
            count
            for run in runs
            for (_, state), count in control.task_run_counts(run.id).items()
            if state == "Completed"
        )
        reply(
            flow_runs=len(runs),
            completed_task_runs=control.count_task_runs(where),
            rolled_up_task_runs=rolled_up,
            sample=len(sample),
            complete_in_sample=complete_in_sample,
        )
    finally:
        backend.close()


if __name__ == "__main__":
    main()
