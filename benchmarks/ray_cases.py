"""What is measured on Ray beyond what both clusters have in common: memory."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.case import Case
from benchmarks.cluster_cases import ClusterSizes, Library, cases_on
from benchmarks.figures import Row, Target
from benchmarks.launch import Arm, workload
from benchmarks.measured import Measured
from benchmarks.records import Expected

RAY = Library("ray", "Ray", submit_over_peer=80.0, batch_over_peer=100.0)
FULL = ClusterSizes(extra={"megabytes": 400})
QUICK = ClusterSizes(sleeping=50, noop=100, busy=200, whole=4, peer=10, files=5, extra={"megabytes": 20})
_LABEL = "flowyard on Ray"


def ray_cases(sizes: ClusterSizes, peers: Sequence[str]) -> list[Case]:
    """Return the cases on Ray, in the order of the table."""
    return [*cases_on(RAY, sizes, peers), _array(sizes)]


def _array(sizes: ClusterSizes) -> Case:
    size = sizes.extra["megabytes"]
    arms = (Arm(_LABEL, workload("ray_array", size=size)),)

    def rows(measured: Measured) -> list[Row]:
        growth = measured.figure(_LABEL, "flow_growth_bytes", "B")
        megabytes = growth.map(lambda value: value / 1e6, "MB") if growth is not None else None
        what = f"an array of {size} MB made by one task on Ray and read by 10 others: growth of the flow process"
        return [measured.row(what, _LABEL, megabytes, Target(50, "MB", at_most=True))]

    return Case("ray-array", "a large value on Ray", arms, rows, {_LABEL: Expected(tasks=11, upstreams=10)})
