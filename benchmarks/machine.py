"""What the figures were taken on; nothing that tells whose machine it is."""

from __future__ import annotations

import os
import platform
import sqlite3
from pathlib import Path

_CPU_INFO = Path("/proc/cpuinfo")


def describe() -> dict[str, str | int]:
    """Return the machine and the software that a figure depends on."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "os": f"{platform.system()} {platform.release().split('-')[0]}",
        "sqlite": sqlite3.sqlite_version,
    }


def _cpu_model() -> str:
    if _CPU_INFO.exists():
        for line in _CPU_INFO.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
