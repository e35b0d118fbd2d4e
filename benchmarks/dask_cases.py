"""What is measured on Dask beyond what both clusters have in common: memory, and a map of a million items."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.case import Case
from benchmarks.cluster_cases import ClusterSizes, Library, cases_on
from benchmarks.figures import Figure, Row, Target
from benchmarks.launch import Arm, workload
from benchmarks.measured import Measured
from benchmarks.records import Expected

DASK = Library("dask", "Dask", submit_over_peer=20.0, batch_over_peer=50.0)
FULL = ClusterSizes(extra={"many": 100_000, "megabytes": 400, "million": 1_000_000})
QUICK = ClusterSizes(
    sleeping=50, noop=100, busy=200, whole=4, peer=10, files=5, extra={"many": 2_000, "megabytes": 20, "million": 5_000}
)
_LABEL = "flowyard on Dask"
_HOUR = 3600.0


def dask_cases(sizes: ClusterSizes, peers: Sequence[str]) -> list[Case]:
    """Return the cases on Dask, in the order of the table."""
    return [*cases_on(DASK, sizes, peers), _array(sizes), _many(sizes), _million(sizes)]


def _megabytes(figure: Figure | None) -> Figure | None:
    return figure.map(lambda value: value / 1e6, "MB") if figure is not None else None


def _array(sizes: ClusterSizes) -> Case:
    size = sizes.extra["megabytes"]
    arms = (Arm(_LABEL, workload("dask_memory", mode="array", size=size)),)

    def rows(measured: Measured) -> list[Row]:
        growth = _megabytes(measured.figure(_LABEL, "flow_growth_bytes", "B"))
        what = f"an array of {size} MB made by one task on Dask and read by 10 others: growth of the flow process"
        return [measured.row(what, _LABEL, growth, Target(50, "MB", at_most=True))]

    expected = {_LABEL: Expected(tasks=11, upstreams=10)}
    return Case("dask-array", "a large value on Dask", arms, rows, expected, samples=1)


def _many(sizes: ClusterSizes) -> Case:
    tasks = sizes.extra["many"]
    arms = (Arm(_LABEL, workload("dask_memory", mode="many", size=tasks), time_limit=_HOUR),)

    def rows(measured: Measured) -> list[Row]:
        return [
            measured.row(
                f"{tasks:,} tasks in one flow on Dask, futures dropped: growth of the {what}",
                _LABEL,
                _megabytes(measured.figure(_LABEL, f"{name}_growth_bytes", "B")),
                Target(150, "MB", at_most=True),
            )
            for name, what in (("flow", "flow process"), ("scheduler", "scheduler"))
        ]

    return Case("dask-many", "many tasks on Dask", arms, rows, {_LABEL: Expected(tasks=tasks)}, samples=1)


def _million(sizes: ClusterSizes) -> Case:
    tasks = sizes.extra["million"]
    arms = (Arm(_LABEL, workload("dask_million", tasks=tasks), time_limit=_HOUR),)

    def rows(measured: Measured) -> list[Row]:
        what = f"map over {tasks:,} items of a no-op, Dask, batched"
        return [
            measured.row(
                f"{what}: growth of the flow process",
                _LABEL,
                _megabytes(measured.figure(_LABEL, "growth_bytes", "B")),
                Target(300, "MB", at_most=True),
            ),
            measured.row(
                f"{what}: first result",
                _LABEL,
                measured.figure(_LABEL, "first_seconds"),
                Target(2.0, "s", at_most=True),
            ),
            measured.row(
                f"{what}: all of it",
                _LABEL,
                measured.figure(_LABEL, "call_seconds"),
                Target(600.0, "s", at_most=True),
            ),
        ]

    return Case("dask-million", "a million items on Dask", arms, rows, {_LABEL: Expected(tasks=tasks)}, samples=1)
