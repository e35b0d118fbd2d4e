"""What is measured of results and the cache (issue "Results, cache, blocks and storage", speed and memory)."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.case import Case
from benchmarks.figures import Figure, Row, Target
from benchmarks.launch import Arm, workload
from benchmarks.measured import Measured


@dataclass(frozen=True, slots=True)
class ResultSizes:
    """How much is kept."""

    tasks: int = 5_000
    hits: int = 10_000
    megabytes: int = 1_024
    resumed: int = 10_000


FULL = ResultSizes()
QUICK = ResultSizes(tasks=200, hits=300, megabytes=64, resumed=300)


def result_cases(sizes: ResultSizes) -> list[Case]:
    """Return the cases of results and the cache."""
    return [_kept(sizes), _array(sizes), _resume(sizes)]


def _kept(sizes: ResultSizes) -> Case:
    plain, persisted, hits, mapped = "plain", "persisted", "hits", "mapped hits"
    arms = (
        Arm(plain, workload("kept_results", kind="plain", tasks=sizes.tasks)),
        Arm(persisted, workload("kept_results", kind="persisted", tasks=sizes.tasks)),
        Arm(hits, workload("kept_results", kind="hits", tasks=sizes.tasks)),
        Arm(mapped, workload("kept_results", kind="hits", calls="mapped", tasks=sizes.hits)),
    )

    def rows(measured: Measured) -> list[Row]:
        base, kept, hit = (measured.per_task(label) for label in (plain, persisted, hits))
        extra = None
        if base is not None and kept is not None:
            extra = Figure(tuple((a - b) * 1e6 for a, b in zip(kept.samples, base.samples, strict=True)), "us")
        each = hit.map(lambda seconds: seconds * 1e6, "us") if hit is not None else None
        return [
            measured.row(
                "extra cost of `persist_result=True`, small result, a task",
                persisted,
                extra,
                Target(150, "us", at_most=True),
            ),
            measured.row(
                "the same in processor time of the process, journal included",
                persisted,
                _extra_cpu(measured, persisted, plain, sizes.tasks),
            ),
            measured.row("a cache hit, called, the whole task call", hits, each, Target(300, "us", at_most=True)),
            measured.row(
                f"{sizes.hits:,} cache hits by map()",
                mapped,
                measured.figure(mapped, "call_seconds"),
                Target(4.0 * sizes.hits / 10_000, "s", at_most=True),
            ),
        ]

    return Case("kept", "results that are kept", arms, rows)


def _array(sizes: ResultSizes) -> Case:
    raw, kept = "raw bytes", "result"
    arms = (
        Arm(raw, workload("kept_array", raw=True, megabytes=sizes.megabytes)),
        Arm(kept, workload("kept_array", megabytes=sizes.megabytes)),
    )

    def rows(measured: Measured) -> list[Row]:
        ours, floor = measured.figure(kept, "call_seconds"), measured.figure(raw, "call_seconds")
        what = f"array of {sizes.megabytes:,} MiB"
        return [
            measured.row(
                f"{what}, persisted and read back: time over that of its raw bytes",
                kept,
                ours.over(floor) if ours is not None and floor is not None else None,
                Target(1.3, "x", at_most=True),
            ),
            measured.row(
                f"{what}: growth of the writer, in its size",
                kept,
                measured.figure(kept, "writer_growth", "x"),
                Target(0.2, "x", at_most=True),
            ),
            measured.row(
                f"{what}: growth of the reader, in its size",
                kept,
                measured.figure(kept, "reader_growth", "x"),
                Target(1.2, "x", at_most=True),
            ),
        ]

    return Case("array", "a large array", arms, rows)


def _extra_cpu(measured: Measured, label: str, base: str, tasks: int) -> Figure | None:
    kept, plain = (measured.figure(arm, "process_cpu_seconds") for arm in (label, base))
    if kept is None or plain is None:
        return None
    return Figure(tuple((a - b) / tasks * 1e6 for a, b in zip(kept.samples, plain.samples, strict=True)), "us")


def _resume(sizes: ResultSizes) -> Case:
    labels = {"called": "values used", "mapped": "mapped, values used", "unread": "values not used"}
    arms = tuple(Arm(label, workload("resume", calls=calls, tasks=sizes.resumed)) for calls, label in labels.items())

    def rows(measured: Measured) -> list[Row]:
        return [
            measured.row(
                f"resume of a killed flow with {sizes.resumed:,} completed tasks, {label}: until a new task starts",
                label,
                measured.figure(label, "call_seconds"),
                Target(1.5, "s", at_most=True),
            )
            for label in labels.values()
        ]

    return Case("resume", "a flow that goes on", arms, rows)
