"""`flowyard flow-run retry|resume|fork`: running a flow run again, here, from where its code is recorded."""

from __future__ import annotations

import json
from typing import Annotated, Any
from uuid import UUID

import typer

from flowyard.cli.invocation import CommandFailed, Invocation, Output, OutputFormat
from flowyard.cli.output import say, write_json
from flowyard.cli.records import state_record
from flowyard.process.backends import PROCESS
from flowyard.recovery import fork_flow_run, resume_flow_run, retry_flow_run
from flowyard.schemas.states import State

Id = Annotated[UUID, typer.Argument(metavar="ID", help="Id of the flow run.")]
From = Annotated[
    str | None,
    typer.Option("--from", metavar="TASK", help="Execute this task again, and all that used what it made."),
]


def retry(context: typer.Context, id: Id, output: Output = OutputFormat.TABLE) -> None:
    """Run a flow run that has ended again, from the top; persisted results are used where inputs are the same."""
    run = Invocation(context, output)
    run.settings()
    _report(run, retry_flow_run(id))


def resume(
    context: typer.Context,
    id: Id,
    from_task: From = None,
    only_failed: Annotated[
        bool, typer.Option("--only-failed", help="Use what completed, whatever its inputs are now.")
    ] = False,
    output: Output = OutputFormat.TABLE,
) -> None:
    """Go on with a flow run that crashed or failed; what is complete and persisted is not executed again."""
    run = Invocation(context, output)
    run.settings()
    _report(run, resume_flow_run(id, from_task=from_task, only_failed=only_failed))


def fork(
    context: typer.Context,
    id: Id,
    from_task: From = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Another value of a parameter, as JSON or text; repeat."),
    ] = None,
    output: Output = OutputFormat.TABLE,
) -> None:
    """Start a new flow run that uses what another one made, where code and inputs are the same."""
    run = Invocation(context, output)
    run.settings()
    _report(run, fork_flow_run(id, from_task=from_task, parameters=_parameters(set_ or [])))


def _parameters(given: list[str]) -> dict[str, Any]:
    parameters: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise CommandFailed(f"--set {text!r} must be NAME=VALUE")
        try:
            parameters[name] = json.loads(value)
        except ValueError:
            parameters[name] = value
    return parameters


def _report(run: Invocation, state: State[Any]) -> None:
    PROCESS.close()  # what the run recorded is on disk before anybody reads about it
    flow_run_id = state.state_details.flow_run_id
    if run.is_json:
        write_json({"flow_run_id": str(flow_run_id), "state": state_record(state)})
    else:
        say(run, f"Flow run {flow_run_id} is {state.name}.", colour="green" if state.is_completed() else "red")
    if not state.is_completed():
        raise typer.Exit(1)
