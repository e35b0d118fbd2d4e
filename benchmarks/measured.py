"""The samples of one case, and how figures are made of them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from benchmarks.figures import Figure, Row, Target


@dataclass(slots=True)
class Measured:
    """Samples by arm and quantity, in the order of the repeats; `failures` has the arms that fell out, and why."""

    samples: dict[str, dict[str, list[float]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))
    failures: dict[str, str] = field(default_factory=dict[str, str])

    def add(self, label: str, values: dict[str, float]) -> None:
        """Take the reply of one run."""
        for name, value in values.items():
            self.samples[label][name].append(value)

    def figure(self, label: str, name: str, unit: str = "s") -> Figure | None:
        """Return one quantity of an arm; None when the arm failed or was not asked for."""
        if label in self.failures or name not in self.samples.get(label, {}):
            return None
        return Figure(tuple(self.samples[label][name]), unit)

    def per_task(self, label: str, name: str = "call_seconds") -> Figure | None:
        """Return seconds for each task."""
        seconds, tasks = self.figure(label, name), self.figure(label, "tasks")
        if seconds is None or tasks is None:
            return None
        return Figure(tuple(a / b for a, b in zip(seconds.samples, tasks.samples, strict=True)), "s")

    def rate(self, label: str) -> Figure | None:
        """Return tasks for each second."""
        seconds = self.per_task(label)
        return seconds.map(lambda value: 1 / value, "/s") if seconds else None

    def row(self, what: str, label: str, figure: Figure | None, target: Target | None = None, note: str = "") -> Row:
        """Return a row for the figure of one arm; a failure of the arm becomes the row's note."""
        return Row(what, figure, target, self.failures.get(label, note).partition("\n")[0])

    def ratio_row(
        self, what: str, peer: str, own: str, *, name: str = "call_seconds", at_least: float | None = None
    ) -> Row:
        """Return how many times the time per task of `own` the one of `peer` is.

        `name` is what is taken of the peer; of ours it is always the whole call.
        """
        theirs, ours = self.per_task(peer, name), self.per_task(own)
        target = None if at_least is None else Target(at_least, "x")
        if theirs is None or ours is None:
            return Row(what, None, target, self.failures.get(peer, self.failures.get(own, "")).partition("\n")[0])
        note = f"{theirs.map(lambda value: value * 1e6, 'us')} a task"
        missing = self.figure(peer, "states_missing")
        if name == "recorded_seconds" and missing and missing.median:
            note += f"; a lower bound: {missing.median:,.0f} states never came"
        return Row(what, theirs.over(ours), target, note)
