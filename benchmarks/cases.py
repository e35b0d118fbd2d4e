"""What is measured, against what, and which targets it must meet (issue "The spine", speed and memory)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.case import PEER_LIBRARY, Case
from benchmarks.figures import Row, Target
from benchmarks.launch import Arm, workload
from benchmarks.measured import Measured
from benchmarks.peers import PEERS
from benchmarks.records import Expected


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is run; `quick` is for trying the harness, its figures are not for quoting."""

    tasks: int = 5000
    async_tasks: int = 1000
    width: int = 100
    layers: int = 4
    memory_tasks: int = 100_000
    traced_tasks: int = 20_000
    processes: int = 16
    tasks_a_process: int = 1000
    cpu_tasks: int = 40
    journal_tasks: int = 20_000
    peer_tasks: Mapping[str, int] = field(
        default_factory=lambda: {"prefect2": 100, "prefect3": 500, "dbos": 300, "parsl": 5000}
    )


FULL = Sizes()
QUICK = Sizes(
    tasks=200,
    async_tasks=100,
    width=10,
    layers=3,
    memory_tasks=1000,
    traced_tasks=500,
    processes=4,
    tasks_a_process=50,
    cpu_tasks=4,
    journal_tasks=500,
    peer_tasks={"prefect2": 10, "prefect3": 20, "dbos": 20, "parsl": 200},
)


def all_cases(sizes: Sizes, peers: Sequence[str]) -> list[Case]:
    """Return every case of the spine, in the order of the table."""
    peers = [name for name in peers if name in sizes.peer_tasks]
    return [
        _noop(sizes, peers, mode="sequential", title="no-op tasks called one after another", targets=(5000, 2500)),
        _noop(sizes, peers, mode="submitted", title="no-op tasks by submit()", targets=(4000, None)),
        _noop(sizes, peers, mode="mapped", title="no-op tasks by map()", targets=(4000, None)),
        _async(sizes),
        _graph(sizes),
        _startup(),
        _memory(sizes),
        _growth(sizes),
        _crowd(sizes),
        _processes(sizes),
        _journal(sizes),
    ]


def _noop(sizes: Sizes, peers: Sequence[str], *, mode: str, title: str, targets: tuple[float, float | None]) -> Case:
    error, info = "flowyard, ERROR", "flowyard, INFO"
    command = workload("noop", mode=mode, tasks=sizes.tasks)
    floor = "ThreadPoolExecutor"
    arms = [
        Arm(error, command),
        Arm(info, command, environment={"FLOWYARD_LOGGING_LEVEL": "INFO"}),
        Arm(floor, workload("executor", kind="threads", tasks=sizes.tasks)),
    ]
    for name in peers:
        tasks = sizes.peer_tasks[name]
        if name in ("prefect2", "prefect3"):
            waits = name == "prefect3"
            peer_command = workload("noop", mode=mode, tasks=tasks, wait_until_recorded=waits)
            arms.append(Arm(PEERS[name].title, peer_command, subject=name, environment=PEER_LIBRARY))
        else:
            program = {"dbos": "dbos_steps", "parsl": "parsl_apps"}[name]
            arms.append(Arm(PEERS[name].title, workload(program, mode=mode, tasks=tasks), subject=name))

    def rows(measured: Measured) -> list[Row]:
        count = f"{sizes.tasks:,} {title}"
        found = [
            measured.row(f"{count}, logging at ERROR", error, measured.rate(error), Target(targets[0], "/s")),
            measured.row(
                f"{count}, logging at INFO", info, measured.rate(info), Target(targets[1], "/s") if targets[1] else None
            ),
            measured.ratio_row(f"{title}: `ThreadPoolExecutor`, which records nothing", floor, error),
        ]
        at_least = {"prefect2": 200.0, "prefect3": 20.0, "parsl": 1.0 if mode == "sequential" else None}
        for name in peers:
            peer = PEERS[name].title
            what = f"{title}: {peer}'s time over ours"
            if name == "prefect3":
                what += ", until it returns"
            found.append(measured.ratio_row(what, peer, error, at_least=at_least.get(name)))
            if name == "prefect3":
                recorded = f"{title}: {peer}'s time over ours, until all its states are recorded"
                bound = 300.0 if mode == "sequential" else None
                found.append(measured.ratio_row(recorded, peer, error, name="recorded_seconds", at_least=bound))
        return found

    expected = Expected(tasks=sizes.tasks)
    logged = Expected(tasks=sizes.tasks, logged=True)
    return Case(mode, title, tuple(arms), rows, {error: expected, info: logged})


def _async(sizes: Sizes) -> Case:
    gathered, submitted = "gathered in an async flow", "submitted by a sync flow"
    count = sizes.async_tasks
    arms = (
        Arm(gathered, workload("wait10ms", mode="gathered", tasks=count)),
        Arm(submitted, workload("wait10ms", mode="submitted", tasks=count)),
    )

    def rows(measured: Measured) -> list[Row]:
        return [
            measured.row(
                f"{count:,} async tasks of 10 ms, {label}",
                label,
                measured.figure(label, "call_seconds"),
                Target(0.5, "s", at_most=True),
            )
            for label in (gathered, submitted)
        ]

    # The warm-up has the same flow as the measured run: both are looked at.
    both = Expected(tasks=count + 10, flow_runs=2)
    return Case("async", "async tasks", arms, rows, {gathered: both, submitted: both})


def _graph(sizes: Sizes) -> Case:
    label = "flowyard"
    tasks = sizes.layers * sizes.width
    arms = (Arm(label, workload("graph", layers=sizes.layers, width=sizes.width)),)

    def rows(measured: Measured) -> list[Row]:
        what = f"dependency graph of {tasks} tasks ({sizes.layers} layers of {sizes.width}, 3 upstreams each)"
        return [measured.row(what, label, measured.figure(label, "call_seconds"), Target(0.2, "s", at_most=True))]

    upstreams = 3 * (tasks - sizes.width)
    return Case("graph", "dependency graph", arms, rows, {label: Expected(tasks=tasks, upstreams=upstreams)})


def _startup() -> Case:
    python, imported, program, helped = "bare interpreter", "import flowyard", "one task", "flowyard --help"
    arms = (
        Arm(python, ("-c", "pass"), replies=False),
        Arm(imported, workload("import_time")),
        Arm(program, workload("one_task"), warm_home=True, replies=False),
        Arm(helped, ("flowyard", "--help"), script=True, warm_home=True, replies=False),
    )

    def rows(measured: Measured) -> list[Row]:
        bare, single = measured.figure(python, "process_seconds"), measured.figure(program, "process_seconds")
        console = measured.figure(helped, "process_seconds")
        importing = measured.figure(imported, "import_seconds")

        def milliseconds(value: float) -> float:
            return value * 1e3

        return [
            measured.row(
                "`import flowyard`",
                imported,
                importing.map(milliseconds, "ms") if importing else None,
                Target(150, "ms", at_most=True),
            ),
            measured.row(
                "whole process with one task, warm home",
                program,
                single.map(milliseconds, "ms") if single else None,
                Target(400, "ms", at_most=True),
                f"(a bare interpreter: {bare.map(milliseconds, 'ms')})" if bare else "",
            ),
            measured.row(
                "`flowyard --help`",
                helped,
                console.map(milliseconds, "ms") if console else None,
                Target(250, "ms", at_most=True),
            ),
        ]

    # The warm-up made the home warm with the same program: two runs of it are there.
    return Case("startup", "cold start", arms, rows, {program: Expected(tasks=2, flow_runs=2)})


def _memory(sizes: Sizes) -> Case:
    labels = {mode: f"{mode}, traced" for mode in ("called", "submitted")}
    tasks = sizes.traced_tasks
    arms = tuple(Arm(label, workload("memory", mode=mode, tasks=tasks, traced=True)) for mode, label in labels.items())

    def rows(measured: Measured) -> list[Row]:
        return [
            measured.row(
                f"memory kept per finished task, {mode}, result dropped (Python's allocations, {tasks:,} tasks)",
                label,
                measured.figure(label, "kept_bytes", "B"),
                Target(1024, "B", at_most=True),
            )
            for mode, label in labels.items()
        ]

    expected = Expected(tasks=tasks)
    return Case("memory", "memory kept", arms, rows, dict.fromkeys(labels.values(), expected))


def _growth(sizes: Sizes) -> Case:
    labels = {mode: f"{mode}, resident" for mode in ("called", "submitted")}
    tasks = sizes.memory_tasks
    arms = tuple(Arm(label, workload("memory", mode=mode, tasks=tasks)) for mode, label in labels.items())

    def rows(measured: Measured) -> list[Row]:
        found: list[Row] = []
        for mode, label in labels.items():
            growth = measured.figure(label, "growth_bytes", "B")
            found += [
                measured.row(
                    f"resident set, growth over {tasks:,} tasks, {mode}",
                    label,
                    growth.map(lambda value: value / 1e6, "MB") if growth else None,
                    Target(150, "MB", at_most=True),
                ),
                measured.row(
                    f"memory kept per finished task, {mode}, result dropped (resident set, {tasks:,} tasks)",
                    label,
                    measured.figure(label, "kept_bytes", "B"),
                    Target(1024, "B", at_most=True),
                ),
            ]
        return found

    expected = Expected(tasks=tasks)
    return Case("growth", "growth of the process", arms, rows, dict.fromkeys(labels.values(), expected))


def _crowd(sizes: Sizes) -> Case:
    label = "flowyard"
    processes, tasks = sizes.processes, sizes.tasks_a_process
    arms = (Arm(label, workload("crowd", processes=processes, tasks=tasks)),)

    def rows(measured: Measured) -> list[Row]:
        what = f"{processes} processes x {tasks:,} tasks into one SQLite file that is not there yet"
        return [measured.row(f"{what}: nothing missing, no error", label, measured.rate(label))]

    expected = Expected(tasks=processes * tasks, flow_runs=processes)
    return Case("crowd", "many processes, one file", arms, rows, {label: expected})


def _processes(sizes: Sizes) -> Case:
    runner, floor = "process runner", "ProcessPoolExecutor"
    runner_cpu, floor_cpu = "process runner, CPU", "ProcessPoolExecutor, CPU"
    arms = (
        Arm(runner, workload("noop", mode="submitted", tasks=sizes.tasks, runner="ProcessPoolTaskRunner", workers=2)),
        Arm(floor, workload("executor", kind="processes", tasks=sizes.tasks)),
        Arm(runner_cpu, workload("cpu", subject="runner", tasks=sizes.cpu_tasks)),
        Arm(floor_cpu, workload("cpu", subject="executor", tasks=sizes.cpu_tasks)),
    )

    def rows(measured: Measured) -> list[Row]:
        return [
            measured.row(f"{sizes.tasks:,} no-op tasks, process runner, 2 workers", runner, measured.rate(runner)),
            measured.ratio_row("process runner: `ProcessPoolExecutor`, which records nothing", floor, runner),
            measured.row(
                "CPU-bound tasks, process runner, speed-up by 2 workers",
                runner_cpu,
                measured.figure(runner_cpu, "speed_up", "x"),
            ),
            measured.row(
                "CPU-bound calls, `ProcessPoolExecutor`, speed-up by 2 workers",
                floor_cpu,
                measured.figure(floor_cpu, "speed_up", "x"),
            ),
        ]

    expected = {
        runner: Expected(tasks=sizes.tasks),
        runner_cpu: Expected(tasks=sizes.cpu_tasks + 4),
    }
    return Case("processes", "process runner", arms, rows, expected)


def _journal(sizes: Sizes) -> Case:
    label = "journal alone"
    tasks = sizes.journal_tasks

    def rows(measured: Measured) -> list[Row]:
        seconds = measured.per_task(label)
        figure = seconds.map(lambda value: value * 1e6, "us") if seconds else None
        what = f"journal alone: {tasks:,} task runs of 3 states, until on disk, each"
        return [measured.row(what, label, figure)]

    arms = (Arm(label, workload("journal_floor", tasks=tasks)),)
    return Case("journal", "the journal without the engine", arms, rows, {label: Expected(tasks=tasks)})
