"""What `inspect` writes for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flowyard.cli.invocation import Invocation
from flowyard.cli.output import ago, local_time, say
from flowyard.schemas.runs import FlowRun, TaskRun
from flowyard.schemas.states import State


def write_facts(run: Invocation, title: str, subject: FlowRun | TaskRun, own: Mapping[str, object]) -> None:
    """Write a run, one fact on a line; what is None or empty is left out."""
    state = subject.state
    facts: dict[str, Any] = {
        "ID": subject.id,
        "State": state,
        **own,
        "Tags": ", ".join(sorted(subject.tags)),
        "Retries": subject.policy.retries or None,
        "Runs": subject.run_count or None,
        "Created": _moment(subject.created),
        "Expected start": _moment(subject.expected_start_time),
        "Start": _moment(subject.start_time),
        "End": _moment(subject.end_time),
        "Run time": f"{subject.total_run_time.total_seconds():.3f} s" if subject.start_time else None,
    }
    say(run, title)
    for name, value in facts.items():
        if value is not None and value not in ("", {}, []):
            say(run, f"  {name + ':':<17}{value}")


def write_states(run: Invocation, states: Sequence[State[Any]]) -> None:
    """Write the states of a run, oldest first."""
    if states:
        say(run, "States")
    for state in states:
        say(run, f"  {local_time(state.timestamp)}  {state}")


def _moment(moment: Any) -> str | None:
    return f"{local_time(moment)} ({ago(moment)})" if moment else None
