"""What `flowyard flow-run profile` writes."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from flowyard.cli.invocation import CommandFailed, Invocation
from flowyard.cli.output import say, write_json, write_table
from flowyard.ports import ControlPlane
from flowyard.profiling.critical_path import Step
from flowyard.profiling.profile import WORKERS, Overhead, RunProfile, profile_of
from flowyard.profiling.timeline import Timeline, timeline_of
from flowyard.profiling.trace import trace_events
from flowyard.profiling.workers import Lane, lanes_of
from flowyard.schemas.metrics import TaskTiming
from flowyard.schemas.runs import FlowRun

_PAGE = 1000
_MOST_ROWS = 12
_BARS = " ▁▂▃▄▅▆▇█"
_PLAIN_BARS = " .:-=+*#@"


def write_profile(
    run: Invocation,
    control: ControlPlane,
    flow_run: FlowRun,
    *,
    workers: Sequence[int] | None,
    trace: Path | None,
) -> None:
    """Write the profile of a flow run, and its trace if a file is given for that.

    Raises:
        CommandFailed: the run has not started, or the file cannot be written.
    """
    if flow_run.start_time is None:
        raise CommandFailed(f"Flow run {flow_run.name!r} has not started: there is nothing to profile yet.")
    ended = flow_run.end_time or datetime.now(UTC)
    timeline = timeline_of(_timings(control, flow_run.id), began=flow_run.start_time, ended=ended)
    lanes = lanes_of(timeline)
    profile = profile_of(timeline, lanes, workers=tuple(workers) if workers else WORKERS)
    if trace is not None:
        _write_trace(trace, flow_run, timeline, lanes)
    if run.is_json:
        write_json({**_identity(flow_run), **profile.to_record()})
    else:
        _show(run, flow_run, profile)
    if trace is not None:
        say(run, f"Wrote {trace}: open it in https://ui.perfetto.dev or chrome://tracing.")


def _timings(control: ControlPlane, flow_run_id: UUID) -> Iterator[TaskTiming]:
    after: UUID | None = None
    while True:
        page = control.read_task_timings(flow_run_id, after=after, limit=_PAGE)
        yield from page
        if len(page) < _PAGE:
            return
        after = page[-1].id


def _identity(flow_run: FlowRun) -> dict[str, str | None]:
    return {
        "flow_run_id": str(flow_run.id),
        "flow_run_name": flow_run.name,
        "flow_name": flow_run.flow_name,
        "state_name": flow_run.state_name,
    }


def _write_trace(path: Path, flow_run: FlowRun, timeline: Timeline, lanes: Sequence[Lane]) -> None:
    try:
        with path.open("w", encoding="utf-8") as file:
            # One event a line, written as it is made: a trace of 100,000 task runs is 60 MB.
            head = json.dumps(_identity(flow_run))
            file.write(f'{{"displayTimeUnit": "ms", "otherData": {head}, "traceEvents": [')
            separator = "\n"
            for event in trace_events(timeline, lanes, name=flow_run.name):
                file.write(separator + json.dumps(event))
                separator = ",\n"
            file.write("\n]}\n")
    except OSError as error:
        raise CommandFailed(f"The trace cannot be written to {str(path)!r}: {error.strerror or error}.") from error


# --- for people -----------------------------------------------------------------------------------------------


def _show(run: Invocation, flow_run: FlowRun, profile: RunProfile) -> None:
    say(
        run,
        f"Flow run {flow_run.name!r} of {flow_run.flow_name}: {flow_run.state_name}, {_time(profile.seconds)}, "
        f"{profile.task_runs:,} task runs",
    )
    if not profile.workers:
        say(run, "No task has run.")
        return
    _show_path(run, profile)
    _show_workers(run, profile)
    _show_overhead(run, profile)
    _show_predictions(run, profile)
    _show_tasks(run, profile)


def _show_path(run: Invocation, profile: RunProfile) -> None:
    path, total = profile.path, profile.seconds
    say(
        run,
        f"\nCritical path: {_time(path.task_seconds)} in {len(path.steps):,} task runs "
        f"({_percent(path.task_seconds, total)})\n"
        f"  besides, {_time(path.queue_seconds)} ready but not running ({_percent(path.queue_seconds, total)}), "
        f"{_time(path.flow_seconds)} in the flow's own code ({_percent(path.flow_seconds, total)})",
    )

    def weight(step: Step) -> float:
        return step.flow_seconds + step.queue_seconds + step.task_seconds

    shown = sorted(sorted(path.steps, key=weight, reverse=True)[:_MOST_ROWS], key=lambda step: step.end)
    rows = [
        (
            step.name,
            _time(step.flow_seconds),
            _time(step.queue_seconds),
            _time(step.task_seconds),
            _percent(weight(step), total),
        )
        for step in shown
    ]
    write_table(run, ("Task run", "Flow", "Queue", "Run", "Share"), rows)
    if len(path.steps) > len(shown):
        say(run, f"  and {len(path.steps) - len(shown):,} shorter steps")


def _show_workers(run: Invocation, profile: RunProfile) -> None:
    busy = sum(worker.busy_seconds for worker in profile.workers)
    slots = profile.slots
    say(
        run,
        f"\nWorkers: {slots} {'slot' if slots == 1 else 'slots'}, {_percent(busy, slots * profile.seconds)} busy; "
        f"no task ran for {_time(profile.overhead.seconds_without_tasks)}",
    )
    shown = profile.workers[:_MOST_ROWS]
    rows = [(use.worker, f"{use.slots}", f"{use.calls:,}", f"{use.busy:.0%}", _bars(use.over_time)) for use in shown]
    write_table(run, ("Worker", "Slots", "Calls", "Busy", "Over time"), rows)
    if len(profile.workers) > len(shown):
        say(run, f"  and {len(profile.workers) - len(shown):,} more")


def _show_overhead(run: Invocation, profile: RunProfile) -> None:
    overhead: Overhead = profile.overhead
    say(run, f"\nFunctions of tasks: {_time(overhead.user_seconds)}, all calls added up")
    if overhead.seconds_per_call is None:
        say(run, "Overhead: not measured, as no call ran on a worker of its own")
        return
    say(
        run,
        f"Overhead of workers: {_time(overhead.load_seconds)} for loading and {_time(overhead.rest_seconds)} for the "
        f"rest, {_time(overhead.seconds_per_call)} a call",
    )


def _show_predictions(run: Invocation, profile: RunProfile) -> None:
    say(run, "\nPredicted time of the task runs, if all are submitted at once")
    rows = [
        (
            "any number" if prediction.workers is None else f"{prediction.workers}",
            _time(prediction.seconds),
            f"as here: {_time(profile.seconds)} in fact" if prediction.is_actual else "",
        )
        for prediction in profile.predictions
    ]
    write_table(run, ("Workers", "Time", ""), rows)


def _show_tasks(run: Invocation, profile: RunProfile) -> None:
    say(run, "\nTasks: median and 95th percentile of a run, and of its time in the queue")
    rows = [
        (
            task.task_name,
            f"{task.runs:,}",
            f"{task.failures:,}" if task.failures else "",
            f"{task.retries:,}" if task.retries else "",
            _time(task.total_seconds),
            f"{_time(task.run_p50)}, {_time(task.run_p95)}",
            f"{_time(task.queue_p50)}, {_time(task.queue_p95)}",
        )
        for task in profile.tasks[:_MOST_ROWS]
    ]
    write_table(run, ("Task", "Runs", "Failed", "Retries", "Total", "Run", "Queue"), rows)
    if len(profile.tasks) > _MOST_ROWS:
        say(run, f"  and {len(profile.tasks) - _MOST_ROWS:,} more")


def _bars(shares: Sequence[float]) -> str:
    """Return a small picture: a column for each share, its height the share."""
    try:
        _BARS.encode(sys.stdout.encoding or "utf-8")
        bars = _BARS
    except UnicodeEncodeError:
        bars = _PLAIN_BARS
    # What is not nothing is seen.
    return "".join(bars[math.ceil(min(max(share, 0.0), 1.0) * (len(bars) - 1))] for share in shares)


def _percent(part: float, whole: float) -> str:
    return f"{part / whole:.0%}" if whole else "0%"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return ""
    if seconds >= 99.95:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest} s"
    if seconds >= 0.9995:
        return f"{seconds:.1f} s"
    if seconds >= 0.00095:
        return f"{seconds * 1e3:.1f} ms"
    return f"{seconds * 1e6:.0f} us" if seconds >= 0.0000005 else "0"
