"""The way from a remote call to the process of its flow. Loads nothing: every task call can have one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class UpcallChannel:
    """How a call that executes remotely asks the process of its flow; made by its task runner."""

    runner: str
    """What the task runner is called, for error messages."""
    ask: Callable[[bytes, float], bytes]
    """Sends a question and returns its answer, blocking for so many seconds at most; then it raises TimeoutError.

    Called from any thread, from several at once.
    """
