"""Pausing a flow run until somebody resumes it, in its process or out of it."""

from __future__ import annotations

import importlib
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from flowyard.context import FlowRunContext, current
from flowyard.duality import dual
from flowyard.exceptions import FlowPauseTimeout, NotPausedError, Pause
from flowyard.process.control import control_plane
from flowyard.schemas.ids import as_id, new_id
from flowyard.schemas.orchestration import Verdict
from flowyard.schemas.runs import utcnow
from flowyard.schemas.states import State, StateDetails, StateType

__all__ = ["pause_flow_run", "resume_flow_run", "suspend_flow_run"]

_LONGEST_POLL_SECONDS = 1.0
"""A look costs the state backend one row: nobody has to wait ten seconds after a resume."""


@dual
def pause_flow_run(
    wait_for_input: Any = None,
    flow_run_id: UUID | str | None = None,
    timeout: float = 3600,
    poll_interval: float = 10,
    reschedule: bool = False,
    key: str | None = None,
) -> Any:
    """Block the flow that executes here until somebody resumes it; tasks that are running go on.

    Args:
        wait_for_input: what to ask for: a `RunInput`, a pydantic model or a type; the answer is returned.
        flow_run_id: suspend another run; as `suspend_flow_run`, which says it better.
        timeout: seconds after which the run fails if nobody has resumed it.
        poll_interval: seconds between looks at the state; looks come at least once a second.
        reschedule: leave the process, as `suspend_flow_run` does.
        key: name of this pause. A pause that has fired in this run does not fire again; None counts the pauses.

    Returns:
        What the run was given, if it asked for something; else None.

    Raises:
        FlowPauseTimeout: nobody resumed it in time.
        RuntimeError: this is not in a flow, it is in a task, or the run cannot pause.
    """
    if reschedule or flow_run_id is not None:
        return _suspend(wait_for_input, flow_run_id, timeout, key)
    here = _flow_run_here("pause")
    question = _Question.of(wait_for_input)
    state = _paused(here, name=None, key=key, timeout=timeout, reschedule=False, question=question)
    if _has_fired(here, state):
        return question and question.answer_of(state, here.flow_run.id)
    if question is not None:
        question.store(state, here.flow_run.id)
    answer = control_plane().propose_flow_run_state(here.flow_run.id, state)
    if answer.status is not Verdict.ACCEPT:
        raise RuntimeError(f"the flow run cannot pause: {answer.reason}")
    here.flow_run.state = answer.state
    _log(here, f"Pausing flow, execution will continue when this flow run is resumed. It waits {timeout:g} s at most.")
    _wait_until_resumed(here, timeout, poll_interval)
    return question and question.answer_of(state, here.flow_run.id)


@dual
def suspend_flow_run(
    wait_for_input: Any = None,
    flow_run_id: UUID | str | None = None,
    timeout: float | None = 3600,
    key: str | None = None,
    client: object = None,
) -> Any:
    """Stop a flow run and free its process; when it is resumed its deployment runs it again from where it was.

    Tasks whose results are persisted are not executed again. What was asked for with `wait_for_input` is returned in
    the new process.

    Args:
        wait_for_input: what to ask for; see `pause_flow_run`.
        flow_run_id: the run; None is the one that executes here. Another one stops at its next task.
        timeout: seconds after which the run fails if nobody has resumed it; None is never.
        key: name of this pause; one that has fired in this run does not fire again.
        client: taken for code written for Prefect 2.

    Raises:
        RuntimeError: this is not in a flow, or the run cannot be suspended: it has no deployment, or is a subflow.
    """
    del client
    return _suspend(wait_for_input, flow_run_id, timeout, key)


@dual
def resume_flow_run(flow_run_id: UUID | str, run_input: Mapping[str, Any] | None = None) -> None:
    """Let a paused flow run go on.

    Args:
        flow_run_id: the run.
        run_input: what it asked for, as the fields of the model or `{"value": ...}` for a plain type.

    Raises:
        NotPausedError: the run is not paused.
        FlowPauseTimeout: its pause has timed out.
        RuntimeError: it cannot be resumed; says why, e.g. that the input does not fit.
        ObjectNotFound: there is no such run.
    """
    answer = control_plane().resume_flow_run(as_id(flow_run_id), run_input)
    state = answer.state
    if answer.status is Verdict.ABORT:
        raise NotPausedError(f"flow run {flow_run_id} cannot be resumed: {answer.reason}")
    if answer.status is Verdict.REJECT:
        if state is not None and state.type is StateType.FAILED:
            raise FlowPauseTimeout(f"flow run {flow_run_id} cannot be resumed: {answer.reason}")
        raise RuntimeError(f"flow run {flow_run_id} cannot be resumed: {answer.reason}")


class _Question:
    """What a pause asks for."""

    def __init__(self, kind: Any, keysets: Any) -> None:
        self._kind = kind
        self._keysets = keysets

    @classmethod
    def of(cls, wanted: Any) -> _Question | None:
        if wanted is None:
            return None
        # By name: pydantic models of input take 100 ms to load, and most pauses ask for nothing.
        package = importlib.import_module("flowyard.input")
        return cls(package.run_input_subclass_from_type(wanted), package.keyset_from_paused_state)

    def keys(self, state: State[Any]) -> dict[str, str]:
        return self._keysets(state)

    def store(self, state: State[Any], flow_run_id: UUID) -> None:
        self._kind.store_question(self.keys(state), flow_run_id)

    def answer_of(self, state: State[Any], flow_run_id: UUID) -> Any:
        return self._kind.read_answer(self.keys(state), flow_run_id)


def _flow_run_here(verb: str) -> FlowRunContext:
    here = current()
    if here.task_run is not None:
        raise RuntimeError(f"Cannot {verb} task runs: a task cannot {verb} the flow that called it; {verb} in the flow")
    if here.flow_run is None:
        raise RuntimeError(f"there is no flow run here to {verb}: call this inside a flow")
    return here.flow_run


def _paused(
    here: FlowRunContext,
    *,
    name: str | None,
    key: str | None,
    timeout: float | None,
    reschedule: bool,
    question: _Question | None,
) -> State[Any]:
    here.pauses += 1
    details = StateDetails(
        pause_timeout=None if timeout is None else utcnow() + timedelta(seconds=timeout),
        pause_reschedule=reschedule,
        pause_key=key or str(here.pauses),
        transition_id=new_id(),
    )
    state: State[Any] = State(StateType.PAUSED, name, state_details=details)
    if question is not None:
        state.state_details = replace(details, run_input_keyset=question.keys(state))
    return state


def _has_fired(here: FlowRunContext, state: State[Any]) -> bool:
    """Say whether this is the run after that pause: resumed, or executed again from its beginning."""
    return state.state_details.pause_key in control_plane().read_flow_run(here.flow_run.id).pause_keys


def _wait_until_resumed(here: FlowRunContext, timeout: float, poll_interval: float) -> None:
    pause = min(poll_interval, timeout / 2, _LONGEST_POLL_SECONDS)
    deadline = time.monotonic() + timeout
    control = control_plane()
    while True:
        time.sleep(pause)
        state = control.read_flow_run(here.flow_run.id).state
        if state is not None and not state.is_paused():
            break
        if time.monotonic() >= deadline:
            raise FlowPauseTimeout(f"nobody resumed the flow run within {timeout:g} s")
    here.flow_run.state = state
    if not state.is_running():
        if state.is_final():
            raise FlowPauseTimeout(f"the flow run became {state.name} while it was paused: {state.message}")
        raise Pause(f"the flow run became {state.name} while it was paused", state=state)
    _log(here, "Resuming flow run execution!")


def _suspend(wait_for_input: Any, flow_run_id: UUID | str | None, timeout: float | None, key: str | None) -> Any:
    here = current().flow_run
    control = control_plane()
    flow_run_id = None if flow_run_id is None else as_id(flow_run_id)
    if flow_run_id is not None and (here is None or here.flow_run.id != flow_run_id):
        if wait_for_input is not None:
            raise RuntimeError("only the run itself can ask for input: leave out flow_run_id, or wait_for_input")
        details = StateDetails(
            pause_timeout=None if timeout is None else utcnow() + timedelta(seconds=timeout),
            pause_reschedule=True,
            pause_key=key or str(new_id()),
            transition_id=new_id(),
        )
        answer = control.propose_flow_run_state(
            flow_run_id, State(StateType.PAUSED, "Suspended", state_details=details)
        )
        if answer.status is not Verdict.ACCEPT:
            raise RuntimeError(f"flow run {flow_run_id} cannot be suspended: {answer.reason}")
        return None
    here = _flow_run_here("suspend")
    question = _Question.of(wait_for_input)
    state = _paused(here, name="Suspended", key=key, timeout=timeout, reschedule=True, question=question)
    if _has_fired(here, state):
        return question and question.answer_of(state, here.flow_run.id)
    if question is not None:
        question.store(state, here.flow_run.id)
    raise Pause("the flow run is suspended", state=state)


def _log(here: FlowRunContext, message: str) -> None:
    log = getattr(here.scope, "log", None)
    if log is not None:
        log.info(message)
