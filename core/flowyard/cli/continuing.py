"""`flowyard flow-run retry|resume|fork|cancel`: what becomes of a flow run that has stopped, or should."""

from __future__ import annotations

import json
from typing import Annotated, Any
from uuid import UUID

import typer

from flowyard.cli.invocation import CommandFailed, Invocation, Output, OutputFormat
from flowyard.cli.output import say, write_json
from flowyard.cli.records import state_record
from flowyard.ports import ControlPlane
from flowyard.process.backends import PROCESS
from flowyard.recovery import fork_flow_run, resume_flow_run, retry_flow_run
from flowyard.schemas.ids import new_id
from flowyard.schemas.orchestration import Verdict
from flowyard.schemas.states import State, StateDetails, StateType

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
    input_: Annotated[
        list[str] | None,
        typer.Option("--input", metavar="NAME=VALUE", help="What a paused run asked for, as JSON or text; repeat."),
    ] = None,
    output: Output = OutputFormat.TABLE,
) -> None:
    """Go on with a flow run: one that is paused where it waits, one that crashed or failed here.

    What is complete and persisted is not executed again.
    """
    run = Invocation(context, output)
    with run.control() as control:
        before = control.read_flow_run(id).state
        if before is not None and before.is_paused():
            _let_go_on(run, control, id, _parameters(input_ or [], "--input"))
            return
    if input_:
        name = before.name if before is not None else "in no state"
        raise CommandFailed(f"Flow run '{id}' is {name}: only a paused one takes input.")
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
    _report(run, fork_flow_run(id, from_task=from_task, parameters=_parameters(set_ or [], "--set")))


def cancel(context: typer.Context, id: Id) -> None:
    """End a flow run: its process stops it within seconds, and what has not ended is Cancelled."""
    run = Invocation(context)
    with run.control() as control:
        wish: State[Any] = State(StateType.CANCELLING, state_details=StateDetails(transition_id=new_id()))
        answer = control.propose_flow_run_state(id, wish)
    if answer.status is Verdict.REJECT and answer.state is not None and answer.state.is_cancelled():
        say(run, f"Flow run '{id}' was cancelled: nothing executed it.", colour="green")
        return
    if answer.status is Verdict.ABORT or (answer.state is not None and answer.state.is_final()):
        raise CommandFailed(f"Flow run '{id}' was unable to be cancelled: {answer.reason}")
    say(run, f"Flow run '{id}' is being cancelled: flowyard flow-run inspect {id}", colour="green")


def _let_go_on(run: Invocation, control: ControlPlane, id: UUID, given: dict[str, Any]) -> None:
    answer = control.resume_flow_run(id, given or None)
    if answer.status is not Verdict.ACCEPT:
        hint = "; give it with --input NAME=VALUE" if answer.status is Verdict.REJECT and not given else ""
        raise CommandFailed(f"Flow run '{id}' cannot be resumed: {answer.reason}{hint}")
    if run.is_json:
        write_json({"flow_run_id": str(id), "state": answer.state and state_record(answer.state)})
    else:
        say(run, f"Flow run '{id}' goes on.", colour="green")


def _parameters(given: list[str], option: str) -> dict[str, Any]:
    parameters: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise CommandFailed(f"{option} {text!r} must be NAME=VALUE")
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
