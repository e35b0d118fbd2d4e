"""Deleting what is old: flow runs, all that was recorded about them, and the files of their results.

Never what something needs that stays: runs that have not ended, values of the cache, runs that a fork was made from.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

from flowyard.exceptions import ObjectNotFound, ResultStorageFailed
from flowyard.filesystems.folder import Folder
from flowyard.logging.loggers import get_logger
from flowyard.ports import ControlPlane
from flowyard.process.control import control_plane
from flowyard.results.garbage import FileCollector, KeptResult
from flowyard.results.options import default_storage
from flowyard.schemas.filters import TaskRunFilter
from flowyard.schemas.recorded_result import RecordedResult
from flowyard.services.old_runs import delete_old, is_known, old_families
from flowyard.settings import get_current_settings

_ROWS_AT_A_TIME = 10_000


@dataclass(slots=True)
class Garbage:
    """What was deleted, or would be."""

    flow_runs: list[UUID] = field(default_factory=list[UUID])
    task_run_count: int = 0
    file_count: int = 0
    byte_count: int = 0


def collect_garbage(
    older_than: timedelta,
    *,
    dry_run: bool = False,
    now: datetime | None = None,
    on_progress: Callable[[Garbage], None] | None = None,
) -> Garbage:
    """Delete flow runs that ended long ago, with their subflows, states, logs, artifacts and result files.

    Runs go one after another and in small parts, so that flows that run meanwhile wait for none of it; when it is
    stopped in the middle, the next call does the rest. Files are deleted in the storage of the settings, and wherever
    else the runs recorded that their results are: folders, buckets, shares. A run whose storage does not answer stays.

    Args:
        older_than: how long ago they ended at least.
        dry_run: delete nothing, only say what would be.
        now: the present time, for tests.
        on_progress: called after every run with what has been deleted so far.

    Raises:
        ValueError: `older_than` is negative.
    """
    if older_than < timedelta(0):
        raise ValueError(f"older_than={older_than!r} must not be negative")
    moment = now or datetime.now(UTC)
    control = control_plane()
    before = moment - older_than
    storage = default_storage(get_current_settings())
    files = FileCollector(storage, now=moment, dry_run=dry_run)
    garbage = Garbage()
    for run, members in old_families(control, before):
        try:
            for flow_run_id in members:
                files.delete_run(flow_run_id, *_kept_by(control, flow_run_id))
        except ResultStorageFailed as error:
            get_logger("retention").warning("Flow run '%s' stays until its files can be deleted: %s", run.name, error)
            continue
        for flow_run_id in members:
            task_run_count = sum(control.task_run_counts(flow_run_id).values())
            if dry_run or delete_old(control, flow_run_id, before):
                garbage.flow_runs.append(flow_run_id)
                garbage.task_run_count += task_run_count
        garbage.file_count, garbage.byte_count = files.file_count, files.byte_count
        if on_progress is not None:
            on_progress(garbage)
    for flow_run_id in _orphans(control, storage, before):
        files.delete_run(flow_run_id)
    files.delete_transactions(set(garbage.flow_runs), lambda found: is_known(control, found), before)
    garbage.file_count, garbage.byte_count = files.file_count, files.byte_count
    return garbage


def _kept_by(control: ControlPlane, flow_run_id: UUID) -> tuple[list[KeptResult], list[str]]:
    """Return what is recorded of the results of a flow run, and the places of other files of it."""
    with contextlib.suppress(ObjectNotFound):
        run = control.read_flow_run(flow_run_id)
        states = [run.state]
        where = TaskRunFilter(flow_run_ids=(flow_run_id,))
        while part := control.read_task_runs(where, limit=_ROWS_AT_A_TIME, offset=len(states) - 1):
            states.extend(task_run.state for task_run in part)
        kept = [
            KeptResult(state.data.record, state.state_details.cache_key)
            for state in states
            if state is not None and isinstance(state.data, RecordedResult)
        ]
        more = [] if run.start.parameters_key is None else [run.start.parameters_key]
        return [result for result in kept if "storage_key" in result.record], more
    return [], []


def _orphans(control: ControlPlane, storage: Folder, before: datetime) -> Iterator[UUID]:
    """Yield the runs of which only files are left: somebody deleted the run, or was stopped in the middle."""
    folder = storage.resolve("runs")
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        try:
            flow_run_id, is_old = UUID(path.name), datetime.fromtimestamp(path.stat().st_mtime, UTC) < before
        except (ValueError, FileNotFoundError):
            continue
        if is_old and not is_known(control, flow_run_id):
            yield flow_run_id
