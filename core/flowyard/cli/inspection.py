"""What `inspect` writes for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flowyard.cli.invocation import Invocation
from flowyard.cli.output import ago, local_time, say
from flowyard.schemas.recorded_result import RecordedResult
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
        "Result": _result(state),
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


def _result(state: State[Any] | None) -> str | None:
    """Return where the value of a state is kept; None when it is not."""
    record: Mapping[str, Any] = {}
    if state is not None and isinstance(state.data, RecordedResult):
        record = state.data.to_record()
    if record.get("type") == "literal":
        return repr(record["value"])
    if record.get("type") != "reference":
        return None
    size = f"{record['size']:,} bytes" if record.get("size") is not None else None
    kept = f"kept by {record['serializer_type']} under {record['storage_key']}"
    return ", ".join(fact for fact in (record.get("value_type"), size, kept) if fact is not None)


def _moment(moment: Any) -> str | None:
    return f"{local_time(moment)} ({ago(moment)})" if moment else None
