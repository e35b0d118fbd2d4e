"""What is measured of the server (issue "The server", speed)."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.case import Case
from benchmarks.figures import Row, Target
from benchmarks.launch import Arm, workload
from benchmarks.measured import Measured
from benchmarks.records import Expected


@dataclass(frozen=True, slots=True)
class ServerSizes:
    """How much is run."""

    tasks: int = 10_000


FULL = ServerSizes()
QUICK = ServerSizes(tasks=200)


def server_cases(sizes: ServerSizes) -> list[Case]:
    """Return the cases of the server."""
    return [_reporting(sizes)]


def _reporting(sizes: ServerSizes) -> Case:
    kinds = [
        (f"{mode}, {database}", mode, database)
        for database in ("sqlite", "postgresql")
        for mode in ("sequential", "mapped")
    ]
    arms = [
        Arm(label, workload("reporting", mode=mode, database=database, tasks=sizes.tasks))
        for label, mode, database in kinds
    ]
    embedded = "embedded"
    arms.append(Arm(embedded, workload("noop", mode="sequential", tasks=sizes.tasks)))

    def rows(measured: Measured) -> list[Row]:
        what = f"{sizes.tasks:,} no-op tasks of a flow that reports to a server, until all is recorded"
        found = [
            measured.row(f"{what}: {label}", label, measured.rate(label), Target(3000, "/s")) for label, _, _ in kinds
        ]
        first = kinds[0][0]
        found.append(measured.ratio_row("the embedded backend's time over that: sequential, SQLite", embedded, first))
        return found

    expected = Expected(tasks=sizes.tasks)
    return Case("server", "reporting to a server", tuple(arms), rows, {kinds[0][0]: expected, kinds[1][0]: expected})
