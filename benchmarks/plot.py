"""Draws results as SVG: our time per task beside the peers', on a logarithmic scale."""

from __future__ import annotations

import importlib
import statistics
from pathlib import Path
from typing import Any

MODES = ("sequential", "submitted", "mapped")


class PlotUnavailable(Exception):
    """The library that draws is not installed, or there is nothing to draw."""


def draw(results: dict[str, Any], path: Path) -> None:
    """Write microseconds per no-op task, of everything that was measured, as an SVG file.

    Raises:
        PlotUnavailable: pygal is not installed, or no no-op case was measured.
    """
    try:
        # By name, as it need not be there: only the `bench` dependency group has it.
        pygal: Any = importlib.import_module("pygal")
    except ImportError:
        raise PlotUnavailable("--plot needs pygal: `uv run --group bench python -m benchmarks --plot`") from None
    cases = {name: results["cases"][name]["arms"] for name in MODES if name in results["cases"]}
    labels = list(dict.fromkeys(label for arms in cases.values() for label in arms))
    if not labels:
        raise PlotUnavailable(f"--plot draws the cases {', '.join(MODES)}; none of them was measured")
    machine = results["machine"]
    chart = pygal.HorizontalBar(
        logarithmic=True,
        title=f"Microseconds per no-op task (median; {machine['cpu']}, {machine['cores']} cores, {machine['python']})",
        x_title="microseconds, logarithmic",
        print_values=True,
        formatter=_write,
        js=[],
        height=120 + 45 * len(labels) * len(cases) // 2,
    )
    chart.x_labels = labels
    for name, arms in cases.items():
        chart.add(name, [_microseconds(arms.get(label)) for label in labels])
    path.write_bytes(chart.render())


def _microseconds(arm: dict[str, Any] | None) -> float | None:
    if arm is None or "call_seconds" not in arm:
        return None
    pairs = zip(arm["call_seconds"]["samples"], arm["tasks"]["samples"], strict=True)
    return statistics.median(seconds / tasks for seconds, tasks in pairs) * 1e6


def _write(value: float | None) -> str:
    return f"{value:,.0f}" if value else ""
