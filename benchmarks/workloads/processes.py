"""What programs that were started use: processor time and memory, with all that they have started themselves."""

from __future__ import annotations

import os
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
# Of /proc/PID/stat, counted behind the name of the program, which may have blanks.
_PARENT, _USER, _SYSTEM, _ENDED_USER, _ENDED_SYSTEM = 1, 11, 12, 13, 14


def processor_seconds(pid: int) -> float:
    """Return how long a program and what it has started, ended or not, have used a processor. On Linux."""
    return sum(
        sum(int(fields[place]) for place in (_USER, _SYSTEM, _ENDED_USER, _ENDED_SYSTEM)) / _TICK
        for fields in _family(pid).values()
    )


def resident_megabytes(pid: int) -> float:
    """Return the memory that a program and what it has started have in use now, shared pages counted in each."""
    pages = [int(Path("/proc", str(one), "statm").read_text(encoding="ascii").split()[1]) for one in _family(pid)]
    return sum(pages) * _PAGE / 1e6


def _family(pid: int) -> dict[int, list[str]]:
    """Return the fields of a process and of its descendants."""
    found: dict[int, list[str]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            text = (folder / "stat").read_text(encoding="utf-8", errors="replace")
        except OSError:  # it has ended
            continue
        found[int(folder.name)] = text.rpartition(")")[2].split()
    family = {pid: found[pid]}
    while True:
        more = {one: fields for one, fields in found.items() if one not in family and int(fields[_PARENT]) in family}
        if not more:
            return family
        family |= more
