"""A comparison: programs that are run in turn, and the rows of the table that come of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from benchmarks.figures import Row
from benchmarks.launch import Arm
from benchmarks.measured import Measured
from benchmarks.records import Expected

PEER_LIBRARY = {"FLOWYARD_BENCHMARK_LIBRARY": "prefect"}


@dataclass(frozen=True, slots=True)
class Case:
    """Arms that are run in turn, A B A B, and the rows that come of it."""

    name: str
    title: str
    arms: tuple[Arm, ...]
    rows: Callable[[Measured], list[Row]]
    expected: Mapping[str, Expected] = field(default_factory=dict[str, Expected])
    """By the label of an arm of ours: what every run of it must have left in the database."""
    samples: int | None = None
    """At most so many, and no run before that is not measured: for what takes long, or starts servers of its own."""
