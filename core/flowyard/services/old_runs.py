"""Which flow runs are old enough to be deleted: for `flowyard gc` and for the retention of a server."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import datetime
from uuid import UUID

from flowyard.exceptions import ObjectNotFound
from flowyard.ports import ControlPlane
from flowyard.schemas.filters import FlowRunFilter
from flowyard.schemas.runs import FlowRun

_RUNS_AT_A_TIME = 100


def old_families(
    control: ControlPlane, before: datetime, *, most: int | None = None
) -> Iterator[tuple[FlowRun, list[UUID]]]:
    """Yield flow runs that nobody called and that ended before a moment, each with the ids of all that go with it.

    These are the run itself and its subflow runs. Left out are families of which one goes on or ended later, and those
    that a fork uses which stays. Families may be deleted meanwhile.

    Args:
        control: where the runs are.
        before: when they ended at the latest.
        most: how many families at most.
    """
    needed = _needed_by_forks(control, before)
    found: list[FlowRun] = []
    read = 0
    # Read before the first is deleted, which would move the pages.
    while part := control.read_flow_runs(
        FlowRunFilter(ended_before=before, is_subflow=False), limit=_RUNS_AT_A_TIME, offset=read
    ):
        read += len(part)
        found.extend(run for run in part if run.id not in needed)
        if most is not None and len(found) >= most:
            break
    for run in found[:most]:
        members = [run.id, *_subflows(control, run.id)]
        if needed.isdisjoint(members) and _have_ended(control, members, before):
            yield run, members


def is_known(control: ControlPlane, flow_run_id: UUID) -> bool:
    """Say whether there is a flow run of that id."""
    return bool(control.count_flow_runs(FlowRunFilter(ids=(flow_run_id,))))


def delete_old(control: ControlPlane, flow_run_id: UUID, before: datetime) -> bool:
    """Delete a flow run that ended before a moment; False when it goes on by now, or somebody else was faster."""
    with contextlib.suppress(ObjectNotFound):
        return control.delete_flow_run(flow_run_id, ended_before=before)
    return False


def _subflows(control: ControlPlane, flow_run_id: UUID) -> Iterator[UUID]:
    for child in control.subflow_runs_of(flow_run_id):
        yield child
        yield from _subflows(control, child)


def _have_ended(control: ControlPlane, members: list[UUID], before: datetime) -> bool:
    where = (
        FlowRunFilter(ids=tuple(members[start : start + _RUNS_AT_A_TIME]), ended_before=before)
        for start in range(0, len(members), _RUNS_AT_A_TIME)
    )
    return sum(map(control.count_flow_runs, where)) == len(members)


def _needed_by_forks(control: ControlPlane, before: datetime) -> set[UUID]:
    """Return the runs whose results a fork uses that stays."""
    needed: set[UUID] = set()
    sources = dict(control.forks())
    for fork, source in sources.items():
        with contextlib.suppress(ObjectNotFound):
            run = control.read_flow_run(fork)
            state = run.state
            if state is None or not state.is_final() or state.timestamp >= before:
                needed.add(source)
    # A fork of a fork uses what the first one took over.
    waiting = list(needed)
    while waiting:
        before_that = sources.get(waiting.pop())
        if before_that is not None and before_that not in needed:
            needed.add(before_that)
            waiting.append(before_that)
    return needed
