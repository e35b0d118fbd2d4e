"""`flowyard task-run`: executions of tasks."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import typer

from flowyard.cli.inspection import write_facts, write_states
from flowyard.cli.invocation import Invocation, Output, OutputFormat
from flowyard.cli.lazy import command_group
from flowyard.cli.logs import Head, Number, Reverse, Tail, write_logs
from flowyard.cli.output import write_json
from flowyard.cli.records import state_record, task_run_record
from flowyard.cli.runs import RunNoun
from flowyard.schemas.filters import LogFilter, TaskRunFilter
from flowyard.schemas.runs import TaskRun
from flowyard.schemas.states import StateType

app = command_group("List and inspect task runs, and read their logs.")

Id = Annotated[UUID, typer.Argument(metavar="ID", help="Id of the task run.")]
_RUNS = RunNoun[TaskRun](
    "task", lambda run: run.task_name, task_run_record, lambda control, identifier: control.read_task_run(identifier)
)


@app.command()
def ls(
    context: typer.Context,
    task_run_name: Annotated[list[str] | None, typer.Option(help="Only the task run of this name.")] = None,
    flow_run: Annotated[list[UUID] | None, typer.Option(metavar="ID", help="Only task runs of this flow run.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Rows at most.")] = 15,
    state: Annotated[list[str] | None, typer.Option(help="Only task runs in the state of this name.")] = None,
    state_type: Annotated[
        list[StateType] | None, typer.Option(case_sensitive=False, help="Only task runs in a state of this type.")
    ] = None,
    output: Output = OutputFormat.TABLE,
) -> None:
    """List task runs, newest first."""
    run = Invocation(context, output)
    where = TaskRunFilter(
        names=tuple(task_run_name) if task_run_name else None,
        flow_run_ids=tuple(flow_run) if flow_run else None,
        state_names=tuple(state) if state else None,
        state_types=tuple(state_type) if state_type else None,
    )
    with run.control() as control:
        task_runs = control.read_task_runs(where, limit=limit)
    _RUNS.write_list(run, task_runs, is_filtered=where != TaskRunFilter())


@app.command()
def inspect(context: typer.Context, id: Id, output: Output = OutputFormat.TABLE) -> None:
    """Show a task run and its states."""
    run = Invocation(context, output)
    with run.control() as control:
        task_run = _RUNS.read(control, id)
        states = control.read_task_run_states(id)
    if run.is_json:
        write_json({**task_run_record(task_run), "states": [state_record(state) for state in states]})
        return
    inputs = {
        parameter: [str(item.get("id") or item.get("type") or item) for item in items]
        for parameter, items in task_run.task_inputs.items()
        if items
    }
    write_facts(
        run,
        f"Task run {task_run.name!r}",
        task_run,
        {
            "Task": f"{task_run.task_name} ({task_run.task_key})",
            "Flow run": task_run.flow_run_id,
            "Parent task run": task_run.parent_task_run_id,
            "Inputs": "; ".join(f"{parameter} from {', '.join(ids)}" for parameter, ids in inputs.items()),
            "Cache key": task_run.cache_key,
        },
    )
    write_states(run, states)


@app.command()
def logs(
    context: typer.Context,
    id: Id,
    head: Head = False,
    num_logs: Number = None,
    reverse: Reverse = False,
    tail: Tail = False,
    output: Output = OutputFormat.TABLE,
) -> None:
    """Show the log lines of a task run."""
    run = Invocation(context, output)
    with run.control() as control:
        _RUNS.read(control, id)
        write_logs(run, control, LogFilter(task_run_id=id), head=head, tail=tail, number=num_logs, reverse=reverse)
