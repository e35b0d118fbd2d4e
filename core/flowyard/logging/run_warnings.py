"""What `warnings.warn` says in a run becomes part of the run's log as well."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Callable
from typing import ClassVar, TextIO

from flowyard.logging.handlers import JournalLogHandler, RootForwarder, chain_of, writes_to_console
from flowyard.logging.run_loggers import run_log_here

WARNINGS = "py.warnings"
"""The logger's name in the records: that of `logging.captureWarnings`."""


class RunWarnings:
    """Stands in for `warnings.showwarning`, which Python asks when filters have let a warning through.

    What was there shows the warning as before. Inside of `warnings.catch_warnings(record=True)`, and so of
    `pytest.warns`, Python puts its own function back: what such a block in a task catches is in no log. At the end of a
    block that was entered before this was put in place, this is gone too.
    """

    _busy: ClassVar[threading.local] = threading.local()
    """Set in a thread that shows a warning. Shared: a user's function around this one may have one around it again."""

    def __init__(self, original: Callable[..., None]) -> None:
        self.original = original

    def __call__(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
        /,
    ) -> None:
        """Show a warning, and log it at WARNING for the innermost run that is executing here."""
        if getattr(self._busy, "is_set", False):
            self.original(message, category, filename, lineno, file, line)
            return
        self._busy.is_set = True
        try:
            self.original(message, category, filename, lineno, file, line)
            self._log(f"{filename}:{lineno}: {category.__name__}: {message}", filename, lineno)
        finally:
            self._busy.is_set = False

    def _log(self, text: str, filename: str, lineno: int) -> None:
        run = run_log_here()
        if run is None or not run.is_enabled_for(logging.WARNING):
            return
        is_captured = getattr(self.original, "__module__", None) == logging.__name__
        """The user has called `logging.captureWarnings`: there is a record of logger `py.warnings` already."""
        if is_captured and any(
            isinstance(handler, JournalLogHandler)
            for link in chain_of(logging.getLogger(WARNINGS))
            for handler in link.handlers
        ):
            return
        extra = {**run.extra, "flowyard_run": run}
        record = run.logger.makeRecord(
            WARNINGS, logging.WARNING, filename, lineno, "%s", (text,), None, "(unknown function)", extra
        )
        for link in chain_of(run.logger):
            for handler in link.handlers:
                is_told = writes_to_console(handler) or (is_captured and isinstance(handler, RootForwarder))
                if record.levelno >= handler.level and not is_told:
                    handler.handle(record)


def watch_warnings() -> None:
    """Let warnings in runs be logged; does nothing when they are already (0.1 microseconds)."""
    if type(warnings.showwarning) is not RunWarnings:
        warnings.showwarning = RunWarnings(warnings.showwarning)  # pyright: ignore[reportAttributeAccessIssue]
