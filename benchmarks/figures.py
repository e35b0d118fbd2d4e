"""What was measured: samples, their median and spread, and ratios taken pair by pair."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

_UNITS: dict[str, Callable[[float], str]] = {
    "/s": lambda value: f"{value:,.0f}/s",
    "s": lambda value: f"{value:.3g} s",
    "ms": lambda value: f"{value:.3g} ms",
    "us": lambda value: f"{value:,.0f} us",
    "x": lambda value: f"{value:,.0f}x" if value >= 10 else f"{value:.2f}x",
    "B": lambda value: f"{value:,.0f} B",
    "MB": lambda value: f"{value:,.1f} MB",
}


@dataclass(frozen=True, slots=True)
class Figure:
    """Samples of one quantity, in the order in which they were taken."""

    samples: tuple[float, ...]
    unit: str

    def __post_init__(self) -> None:
        if not self.samples:
            raise ValueError("a figure needs at least one sample")

    @property
    def median(self) -> float:
        """The figure that is quoted."""
        return statistics.median(self.samples)

    def __str__(self) -> str:
        write = _UNITS[self.unit]
        text = write(self.median)
        if len(self.samples) > 1:
            text += f" ({write(min(self.samples))} to {write(max(self.samples))}, n={len(self.samples)})"
        return text

    def map(self, change: Callable[[float], float], unit: str) -> Figure:
        """Return the figure with every sample changed: a time made a rate, seconds made microseconds."""
        return Figure(tuple(change(sample) for sample in self.samples), unit)

    def over(self, other: Figure) -> Figure:
        """Return how many times `other` this is, repeat by repeat: both sides of a pair met the same machine.

        Raises:
            ValueError: the two were not taken in the same repeats.
        """
        if len(self.samples) != len(other.samples):
            raise ValueError(f"{len(self.samples)} samples cannot be paired with {len(other.samples)}")
        return Figure(tuple(mine / theirs for mine, theirs in zip(self.samples, other.samples, strict=True)), "x")

    def to_json(self) -> dict[str, Any]:
        """Return the figure for the results file."""
        return {
            "median": self.median,
            "min": min(self.samples),
            "max": max(self.samples),
            "n": len(self.samples),
            "unit": self.unit,
            "samples": list(self.samples),
        }


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure must reach: a lower bound, or an upper one."""

    bound: float
    unit: str
    at_most: bool = False

    def __str__(self) -> str:
        return ("at most " if self.at_most else "at least ") + _UNITS[self.unit](self.bound)

    def is_met_by(self, value: float) -> bool:
        """Return whether one value reaches the target."""
        return value <= self.bound if self.at_most else value >= self.bound


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: what, how much was wanted, how much it was."""

    what: str
    figure: Figure | None
    target: Target | None = None
    note: str = ""

    @property
    def verdict(self) -> str:
        """`met` and `missed` go by the median; `met, not always` tells that a repeat fell short."""
        if self.figure is None:
            return "not measured"
        if self.target is None:
            return ""
        if not self.target.is_met_by(self.figure.median):
            return "missed"
        return "met" if all(map(self.target.is_met_by, self.figure.samples)) else "met, not always"

    def to_json(self) -> dict[str, Any]:
        """Return the row for the results file."""
        return {
            "what": self.what,
            "target": str(self.target) if self.target else None,
            "measured": self.figure.to_json() if self.figure else None,
            "verdict": self.verdict,
            "note": self.note,
        }


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table."""
    cells = [("what", "target", "measured", "verdict")]
    cells += [
        (
            row.what,
            str(row.target or ""),
            " ".join(part for part in (str(row.figure or ""), row.note) if part),
            row.verdict,
        )
        for row in rows
    ]
    widths = [max(len(line[column]) for line in cells) for column in range(4)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)
