"""Whether the workers of a cluster run what the flow's process runs.

Calls travel as pickles: functions of the user's script as code of this Python, by this cloudpickle, in the messages of
this Flowyard. Where a worker has other ones, a task fails with an error that does not say so; this does.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import NamedTuple

import cloudpickle  # pyright: ignore[reportMissingTypeStubs]

from flowyard._version import __version__

_MOST_NAMED = 3


class Versions(NamedTuple):
    """What must be the same on both sides; plain text, so that it survives every way between them."""

    flowyard: str
    python: str
    """Major and minor: the code of functions is the same for all releases of these."""
    cloudpickle: str

    def __str__(self) -> str:
        return f"Flowyard {self.flowyard}, Python {self.python}, cloudpickle {self.cloudpickle}"


def versions_here() -> Versions:
    """Return what this process runs."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return Versions(__version__, python, str(cloudpickle.__version__))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]


def mismatch(found: Mapping[str, Versions], *, here: Versions | None = None) -> str | None:
    """Return what to tell the user about workers that run something else; None when all run the same.

    Args:
        found: what each worker runs, by its name or address.
        here: what the flow's process runs; None to look.
    """
    here = here or versions_here()
    others: dict[Versions, list[str]] = {}
    for worker, versions in found.items():
        if versions != here:
            others.setdefault(versions, []).append(worker)
    if not others:
        return None
    sides = "; ".join(f"{_names(workers)}: {versions}" for versions, workers in sorted(others.items()))
    return (
        f"The flow's process and the cluster run different versions. This process: {here}; {sides}. Tasks may fail "
        f"there, or not be understood. Use the same on both sides: on the workers Python {here.python} with "
        f"`pip install flowyard=={here.flowyard} cloudpickle=={here.cloudpickle}`, or here what the workers have"
    )


def _names(workers: list[str]) -> str:
    named = ", ".join(sorted(workers)[:_MOST_NAMED])
    more = len(workers) - _MOST_NAMED
    return f"worker{'' if len(workers) == 1 else 's'} {named}{f' and {more} more' if more > 0 else ''}"
