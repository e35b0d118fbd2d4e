"""Starting flow runs again: what is complete and persisted is not executed a second time."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from flowyard.engine.calls import continue_flow
from flowyard.engine.continuation import Continuation
from flowyard.entrypoints import load_flow_from_entrypoint
from flowyard.exceptions import CannotContinue
from flowyard.process.control import control_plane
from flowyard.results.parameters import kept_parameters
from flowyard.schemas.filters import TaskRunFilter
from flowyard.schemas.runs import FlowRun
from flowyard.schemas.states import State

if TYPE_CHECKING:
    from flowyard.flows import Flow


def retry_flow_run(flow_run_id: UUID | str, *, flow: Flow[..., Any] | None = None) -> State[Any]:
    """Run a flow run that has ended once more, from the top, and return its final state.

    Its function is called with the same parameters. A task run that completed and whose result was persisted is not
    executed when its inputs are the same; the same holds for the subflows, down to their own tasks.

    Args:
        flow_run_id: the run.
        flow: what to run; None loads it from the entrypoint that the run recorded. Its `__main__` block does not run.

    Raises:
        CannotContinue: the run has not ended, completed with a result, or nobody knows where its code is.
        ObjectNotFound: there is no such run.
    """
    return _run_again(flow_run_id, flow, from_task=None, only_failed=False, refuses_completed=False)


def resume_flow_run(
    flow_run_id: UUID | str,
    *,
    from_task: str | None = None,
    only_failed: bool = False,
    flow: Flow[..., Any] | None = None,
) -> State[Any]:
    """Go on with a flow run that crashed or failed, and return its final state.

    Args:
        flow_run_id: the run.
        from_task: the name (or key) of a task: its runs, and all that used what they made, are executed again.
        only_failed: use what completed, whatever its inputs are now.
        flow: what to run; None loads it from the entrypoint that the run recorded. Its `__main__` block does not run.

    Raises:
        CannotContinue: the run has not ended, has completed, or nobody knows where its code is.
        ObjectNotFound: there is no such run.
    """
    return _run_again(flow_run_id, flow, from_task=from_task, only_failed=only_failed, refuses_completed=True)


def fork_flow_run(
    flow_run_id: UUID | str,
    *,
    from_task: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    flow: Flow[..., Any] | None = None,
) -> State[Any]:
    """Start a new flow run that uses what another one has made, and return its final state.

    A task run of the other is used where the task's code and inputs are the same. The other run stays as it is.

    Args:
        flow_run_id: the run to start from.
        from_task: the name (or key) of a task: its runs, and all that used what they made, are executed again.
        parameters: parameters of the flow that are different.
        flow: what to run; None loads it from the entrypoint that the run recorded. Its `__main__` block does not run.

    Raises:
        CannotContinue: a parameter or task does not exist, or nobody knows where the run's code is.
        ObjectNotFound: there is no such run.
    """
    source = control_plane().read_flow_run(_id_of(flow_run_id))
    _require_task(source, from_task)
    with _working_directory(source):
        found = flow if flow is not None else _load(source)
        given = _parameters_of(source, found)
        unknown = sorted(set(parameters or ()) - set(found.signature.names))
        if unknown:
            raise CannotContinue(
                source.name,
                f"its flow has no parameter {unknown[0]!r}",
                f"it has {', '.join(found.signature.names) or 'none'}",
            )
        continuation = Continuation(None, source, from_task=from_task)
        return continue_flow(_template(found), {**given, **(parameters or {})}, continuation)


def _run_again(
    flow_run_id: UUID | str,
    flow: Flow[..., Any] | None,
    *,
    from_task: str | None,
    only_failed: bool,
    refuses_completed: bool,
) -> State[Any]:
    control = control_plane()
    run = control.read_flow_run(_id_of(flow_run_id))
    state = run.state
    if state is None or not state.is_final():
        what = "has no state" if state is None else f"is {state.name}"
        raise CannotContinue(run.name, f"it {what}", "wait until it ends, or stop the process that runs it")
    if state.is_completed() and refuses_completed:
        raise CannotContinue(run.name, "it has completed", f"start a new run that uses its work: fork {run.id}")
    if run.parent_task_run_id is not None:
        raise CannotContinue(run.name, "it is a subflow run", "continue the flow run that called it")
    _require_task(run, from_task)
    with _working_directory(run):
        found = flow if flow is not None else _load(run)
        if found.name != run.flow_name:
            raise CannotContinue(
                run.name, f"it is a run of flow {run.flow_name!r}, not of {found.name!r}", "give the flow it ran"
            )
        continuation = Continuation(run, run, from_task=from_task, only_failed=only_failed)
        return continue_flow(_template(found), _parameters_of(run, found), continuation)


def _id_of(flow_run_id: UUID | str) -> UUID:
    return flow_run_id if isinstance(flow_run_id, UUID) else UUID(flow_run_id)


def _require_task(run: FlowRun, task: str | None) -> None:
    if task is None:
        return
    names = {name for name, _ in control_plane().task_run_counts(run.id)}
    if task in names:
        return
    keys = control_plane().read_task_runs(TaskRunFilter(flow_run_ids=(run.id,)), limit=2**31 - 1)
    if not any(found.task_key == task for found in keys):
        raise CannotContinue(run.name, f"it has no task {task!r}", f"it has {', '.join(sorted(names)) or 'none'}")


def _load(run: FlowRun) -> Flow[..., Any]:
    if run.start.entrypoint is None:
        raise CannotContinue(
            run.name, "nobody recorded where its code is (a notebook, or a console)", "pass the flow: `flow=...`"
        )
    return cast("Flow[..., Any]", load_flow_from_entrypoint(run.start.entrypoint))


def _parameters_of(run: FlowRun, flow: Flow[..., Any]) -> dict[str, Any]:
    """Return the parameters of a run; those that JSON cannot carry come from its result storage."""
    found = {name: value for name, value in run.parameters.items() if name in flow.signature.names}
    if run.start.parameters_key is not None:
        found |= kept_parameters(_template(flow).results, run.start.parameters_key)
    return found


def _template(flow: Flow[..., Any]) -> Any:
    return flow._template()  # pyright: ignore[reportPrivateUsage]  the engine's form of a flow


@contextlib.contextmanager
def _working_directory(run: FlowRun) -> Generator[None]:
    """Be where the run was: relative paths, its own entrypoint among them, mean the same."""
    folder = run.start.working_directory
    if folder is None or not os.path.isdir(folder):
        yield
        return
    with contextlib.chdir(folder):
        yield
