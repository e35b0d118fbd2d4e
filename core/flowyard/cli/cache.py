"""`flowyard cache`: the values that equal calls share, and why a call was or was not executed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer

from flowyard.cli.invocation import CommandFailed, Invocation, Output, OutputFormat, Yes
from flowyard.cli.lazy import command_group
from flowyard.cli.output import ago, say, write_json, write_list
from flowyard.exceptions import ObjectNotFound
from flowyard.filesystems.folder import Folder
from flowyard.results.cache_records import CacheRecord, iter_records
from flowyard.results.options import default_storage
from flowyard.schemas.runs import TaskRun

app = command_group("Look into the cache of task results, and empty it.")
Storage = Annotated[
    Path | None,
    typer.Option(help="Folder of the storage; default: FLOWYARD_LOCAL_STORAGE_PATH.", metavar="FOLDER"),
]
TaskName = Annotated[str | None, typer.Option("--task", metavar="NAME", help="Only values of the task of this name.")]
_SHOWN = 32


@app.command()
def ls(
    context: typer.Context,
    task: TaskName = None,
    limit: Annotated[int, typer.Option(min=1, help="Rows at most.")] = 100,
    storage: Storage = None,
    output: Output = OutputFormat.TABLE,
) -> None:
    """List the values in the cache, newest first."""
    run = Invocation(context, output)
    now = datetime.now(UTC)
    kept = [record for _, record in _records(run, storage) if record is not None and task in (None, record.task_name)]
    found = sorted(kept, key=lambda record: record.created, reverse=True)[:limit]
    write_list(
        run,
        found,
        lambda record: {**asdict(record), "is_expired": record.is_expired(now)},
        {
            "Key": lambda record: _shortened(record.key),
            "Task": lambda record: record.task_name or "",
            "Type": lambda record: str(record.result.get("value_type") or record.result.get("value")),
            "Created": lambda record: ago(datetime.fromisoformat(record.created)),
            "Expires": lambda record: _life(record, now),
        },
        empty="The cache is empty: a task with `cache_policy` or `cache_key_fn` keeps its values there.",
    )


@app.command()
def clear(
    context: typer.Context,
    key: Annotated[list[str] | None, typer.Argument(help="Keys to forget; default: all that match.")] = None,
    task: TaskName = None,
    expired: Annotated[bool, typer.Option("--expired", help="Only what does not count any more.")] = False,
    storage: Storage = None,
    yes: Yes = False,
    output: Output = OutputFormat.TABLE,
) -> None:
    """Forget values, so that their tasks execute again. The results of runs stay readable."""
    run = Invocation(context, output)
    now = datetime.now(UTC)
    matching: list[str] = []
    for path, record in _records(run, storage):
        if record is None:  # damaged: nobody can use it
            is_meant = not key and task is None and not expired
        else:
            is_meant = (
                (not key or record.key in key)
                and task in (None, record.task_name)
                and (not expired or record.is_expired(now))
            )
        if is_meant:
            matching.append(path)
    if matching:
        run.confirm(f"Forget {len(matching)} cached values?", yes=yes)
    folder = _folder(run, storage)
    for path in matching:
        folder.delete_file(path)
    if run.is_json:
        write_json({"deleted": len(matching)})
    else:
        say(run, f"Forgot {len(matching)} cached values.")


@app.command()
def explain(
    context: typer.Context,
    task_run: Annotated[UUID, typer.Argument(metavar="TASK_RUN", help="Id of the task run.")],
    storage: Storage = None,
    output: Output = OutputFormat.TABLE,
) -> None:
    """Say why a task run took its value from the cache, or why not, component by component of its key."""
    run = Invocation(context, output)
    with run.control() as control:
        try:
            found = control.read_task_run(task_run)
        except ObjectNotFound as error:
            raise CommandFailed(f"Task run '{task_run}' not found! `flowyard task-run ls` lists the newest.") from error
        states = control.read_task_run_states(task_run)
    details = next((s.state_details for s in reversed(states) if s.state_details.cache_trace is not None), None)
    if details is None or details.cache_trace is None:
        said: dict[str, Any] = {"outcome": "none", "reason": _why_not(found), "components": {}}
        report = {"task_run_id": str(task_run), "key": None, **said, "compared_with": None}
    else:
        said = details.cache_trace
        report = {"task_run_id": str(task_run), "key": details.cache_key, **said, "source": said.get("task_run_id")}
        report["task_run_id"] = str(task_run)
        report["compared_with"] = _nearest(run, storage, found, said) if said["outcome"] == "miss" else None
    if run.is_json:
        write_json(report)
    else:
        _write(run, found, report)


def _life(record: CacheRecord, now: datetime) -> str:
    if record.expires is None:
        return "never"
    return "expired" if record.is_expired(now) else ago(datetime.fromisoformat(record.expires), now)


def _why_not(run: TaskRun) -> str:
    if run.state is None or not run.state.is_final():
        return "it has not got so far"
    return "its task has no cache: no `cache_policy`, no `cache_key_fn`, or `persist_result=False`"


def _nearest(
    run: Invocation, storage: Path | None, task_run: TaskRun, said: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Return the value of the same task whose key has most in common with that of a call that missed."""
    components: Mapping[str, str] = said["components"]
    best: tuple[int, str] | None = None
    nearest: CacheRecord | None = None
    for _, record in _records(run, storage):
        if record is None or record.task_name != task_run.task_name or record.task_run_id == str(task_run.id):
            continue
        same = sum(record.components.get(name) == value for name, value in components.items())
        if best is None or (same, record.created) > best:
            best, nearest = (same, record.created), record
    if nearest is None:
        return None
    names = [*components, *(name for name in nearest.components if name not in components)]
    differing = [name for name in names if components.get(name) != nearest.components.get(name)]
    return {
        "key": nearest.key,
        "task_run_id": nearest.task_run_id,
        "created": nearest.created,
        "components": dict(nearest.components),
        "differing": differing,
    }


def _write(run: Invocation, task_run: TaskRun, report: Mapping[str, Any]) -> None:
    verdicts = {"hit": "hit: not executed", "miss": "miss: executed", "none": "not looked at"}
    say(run, f"Task run {task_run.name!r}: {verdicts[report['outcome']]}")
    say(run, f"  Because {report['reason']}.")
    if report["key"] is not None:
        say(run, f"  Key: {_shortened(report['key'])}")
    compared = report["compared_with"]
    components: Mapping[str, str] = report["components"]
    if compared is None:
        for name, value in components.items():
            say(run, f"    {name} = {_shortened(value) or '(cannot be hashed)'}")
        return
    say(run, f"  Compared with the value that task run {compared['task_run_id']} kept on {compared['created'][:19]}:")
    for name in [*components, *(each for each in compared["components"] if each not in components)]:
        verdict = "differs" if name in compared["differing"] else "the same"
        say(run, f"    {name}: {verdict}")


def _records(run: Invocation, storage: Path | None) -> Iterator[tuple[str, CacheRecord | None]]:
    return iter_records(_folder(run, storage), run.settings().FLOWYARD_RESULTS_SIGNING_KEY)


def _folder(run: Invocation, storage: Path | None) -> Folder:
    return default_storage(run.settings()) if storage is None else Folder(basepath=str(storage))


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
