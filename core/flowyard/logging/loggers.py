"""Loggers that users and the SDK ask for, all under the module's name in Prefect 2."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager
from typing import Self

from typing_extensions import override

from flowyard.logging.prints import patch_print, print_as_log
from flowyard.logging.run_log import FLOW_RUNS, TASK_RUNS
from flowyard.logging.run_loggers import (
    FlowyardLogAdapter,
    PrefectLogAdapter,
    flow_run_logger,
    get_run_logger,
    task_run_logger,
)

__all__ = [
    "FlowyardLogAdapter",
    "LogEavesdropper",
    "PrefectLogAdapter",
    "disable_logger",
    "disable_run_logger",
    "flow_run_logger",
    "get_logger",
    "get_run_logger",
    "patch_print",
    "print_as_log",
    "task_run_logger",
]

ROOT = "flowyard"


def get_logger(name: str | None = None) -> logging.Logger:
    """Return the logger `flowyard.<name>`; without a name `flowyard`. It belongs to no run."""
    if name is None or name == ROOT or name.startswith(f"{ROOT}."):
        return logging.getLogger(name or ROOT)
    return logging.getLogger(f"{ROOT}.{name}")


@contextmanager
def disable_logger(name: str) -> Generator[None]:
    """Let the logger of that name log nothing within the block, in every thread."""
    logger = logging.getLogger(name)
    before = logger.disabled
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = before


@contextmanager
def disable_run_logger() -> Generator[None]:
    """Let the loggers of runs log nothing, and `get_run_logger` work outside of runs: to test `task.fn`."""
    with disable_logger(FLOW_RUNS), disable_logger(TASK_RUNS):
        yield


class LogEavesdropper(logging.Handler):
    """Collects what a logger and its children log within a `with` block."""

    def __init__(self, eavesdrop_on: str, level: int = logging.NOTSET) -> None:
        super().__init__(level)
        self._logger = logging.getLogger(eavesdrop_on)
        self._lines: list[str] = []
        self.formatter = logging.Formatter("[%(levelname)s]: %(message)s")

    def __enter__(self) -> Self:
        self._logger.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._logger.removeHandler(self)

    @override
    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(self.format(record))

    def text(self) -> str:
        """Return the lines so far, joined by newlines."""
        return "\n".join(self._lines)
