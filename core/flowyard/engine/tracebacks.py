"""Tracebacks that show the code of users, and of the engine no more than where they entered it."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = f"{Path(__file__).parents[1]}/"


def hide_engine(error: BaseException) -> None:
    """Take the engine's frames between the one that catches `error` and the user's function out of its traceback.

    To be called in an `except` that goes on with a bare `raise`. What the engine itself raised keeps all its frames.
    """
    here = error.__traceback__
    if here is None:
        return
    inner = here.tb_next
    while inner is not None and inner.tb_frame.f_code.co_filename.startswith(_PACKAGE):
        inner = inner.tb_next
    if inner is not None:
        here.tb_next = inner
