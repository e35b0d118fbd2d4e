"""What is measured on a cluster, whatever the library: Flowyard's runner over the raw library, and over Prefect's.

Issue "Dask and Ray", speed: the workload `NAME_tasks` runs one arm, see `workloads.cluster_work`.
"""

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
class ClusterSizes:
    """How much is run on a cluster."""

    sleeping: int = 2_000
    noop: int = 5_000
    busy: int = 10_000
    whole: int = 40
    peer: int = 200
    files: int | None = None
    """How many files the census measures; None for the whole standard library."""
    extra: Mapping[str, int] = field(default_factory=dict[str, int])
    """Sizes of what only one library is measured by."""


@dataclass(frozen=True, slots=True)
class Library:
    """A library of clusters, and what Flowyard must reach on it."""

    name: str
    """Prefix of the cases, and of the workload `NAME_tasks`."""
    title: str
    submit_over_peer: float
    batch_over_peer: float


def cases_on(library: Library, sizes: ClusterSizes, peers: Sequence[str]) -> list[Case]:
    """Return the cases that Dask and Ray have in common."""
    return [
        _over_raw(
            library, "sleep", "submit", sizes.sleeping, "tasks that sleep 10 ms, by submit()", 1.15, at_most=True
        ),
        _over_raw(library, "noop", "submit", sizes.noop, "no-op tasks, by submit()", 0.7, at_most=False),
        _over_raw(library, "busy", "batch", sizes.busy, 'tasks of 1 ms, by map(batch_size="auto")', 3.0, at_most=False),
        _whole(library, sizes),
        _over_peer(library, sizes, peers),
        _census(library, sizes),
    ]


def _arm(library: Library, label: str, subject: str, **options: str | int) -> Arm:
    """Return an arm; `subject` is raw, flowyard or a peer."""
    if subject not in ("raw", "flowyard"):
        command = workload(f"{library.name}_tasks", library="prefect", **options)
        return Arm(label, command, subject=subject, environment=PEER_LIBRARY)
    return Arm(label, workload(f"{library.name}_tasks", library=subject, **options))


def _over_raw(library: Library, work: str, mode: str, tasks: int, title: str, bound: float, *, at_most: bool) -> Case:
    own, raw = f"flowyard on {library.title}", f"{library.title} alone"
    arms = (
        _arm(library, own, "flowyard", work=work, mode=mode, tasks=tasks),
        _arm(library, raw, "raw", work=work, tasks=tasks),
    )

    def rows(measured: Measured) -> list[Row]:
        ours, theirs = measured.figure(own, "loop_seconds"), measured.figure(raw, "loop_seconds")
        ratio = None
        if ours is not None and theirs is not None:
            ratio = ours.over(theirs) if at_most else theirs.over(ours)
        meaning = f"wall time over {raw}" if at_most else f"as fast as {raw}, one by one"
        note = f"{ours}, {raw}: {theirs}" if ours is not None else ""
        return [
            measured.row(
                f"{tasks:,} {title}, {library.title}: {meaning}", own, ratio, Target(bound, "x", at_most=at_most), note
            )
        ]

    return Case(f"{library.name}-{work}", f"{title}, {library.title}", arms, rows, {own: Expected(tasks=tasks)})


def _whole(library: Library, sizes: ClusterSizes) -> Case:
    tasks = sizes.whole
    labels = {"batch": "automatic batching", "map": "no batching"}
    arms = tuple(
        _arm(library, label, "flowyard", work="whole", mode=mode, tasks=tasks) for mode, label in labels.items()
    )

    def rows(measured: Measured) -> list[Row]:
        batched, single = (measured.figure(label, "loop_seconds") for label in labels.values())
        ratio = batched.over(single) if batched is not None and single is not None else None
        what = f"{tasks} tasks of 1 s, {library.title}: time with automatic batching over that without"
        return [measured.row(what, labels["batch"], ratio, Target(1.05, "x", at_most=True))]

    expected = dict.fromkeys(labels.values(), Expected(tasks=tasks))
    return Case(f"{library.name}-whole", f"tasks of 1 s, {library.title}", arms, rows, expected)


def _over_peer(library: Library, sizes: ClusterSizes, peers: Sequence[str]) -> Case:
    peer = f"prefect-{library.name}"
    title, tasks = PEERS[peer].title, sizes.peer
    pairs = (
        ("submit", "submit", library.submit_over_peer, "submit()"),
        ("batch", "map", library.batch_over_peer, 'map(batch_size="auto")'),
    )
    arms: list[Arm] = []
    for own_mode, peer_mode, _, how in pairs:
        arms.append(_arm(library, f"flowyard, {how}", "flowyard", work="noop", mode=own_mode, tasks=tasks))
        if peer in peers:
            arms.append(_arm(library, f"{title}, {peer_mode}", peer, work="noop", mode=peer_mode, tasks=tasks))

    def rows(measured: Measured) -> list[Row]:
        return [
            measured.ratio_row(
                f"{tasks:,} no-op tasks by {how}, {library.title}: {title}'s time over ours",
                f"{title}, {peer_mode}",
                f"flowyard, {how}",
                name="loop_seconds",
                at_least=bound,
            )
            for _, peer_mode, bound, how in pairs
        ]

    expected = {f"flowyard, {how}": Expected(tasks=tasks) for *_, how in pairs}
    return Case(f"{library.name}-peer", f"no-op tasks, {library.title}", tuple(arms), rows, expected)


def _census(library: Library, sizes: ClusterSizes) -> Case:
    """Return the case of the example that the README shows: the same program, with another word after `--runner`."""
    alone, cluster = "one after another", f"on {library.title}"
    limit = () if sizes.files is None else ("--limit", str(sizes.files))
    arms = tuple(
        Arm(label, workload("census", runner=runner) + limit)
        for label, runner in ((alone, "sequential"), (cluster, library.name))
    )

    def rows(measured: Measured) -> list[Row]:
        ours, theirs = measured.figure(cluster, "call_seconds"), measured.figure(alone, "call_seconds")
        ratio = theirs.over(ours) if ours is not None and theirs is not None else None
        files = measured.figure(cluster, "files")
        count = f" of {files.median:,.0f} files" if files is not None else ""
        what = f"examples/census.py{count}, --runner {library.name}, its cluster started for it: speed over one by one"
        return [measured.row(what, cluster, ratio, note=f"{alone}: {theirs}, {cluster}: {ours}")]

    return Case(f"{library.name}-census", f"the example on {library.title}", arms, rows)
