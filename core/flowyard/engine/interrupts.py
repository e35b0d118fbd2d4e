"""Getting a thread out of Python code that it would not leave by itself."""

from __future__ import annotations

import ctypes
import threading


def raise_in_thread(thread: threading.Thread, error: type[BaseException]) -> bool:
    """Raise `error` in another thread at its next bytecode; False when the thread is gone.

    CPython's `PyThreadState_SetAsyncExc`. A thread that is blocked in a C call (a sleep, a lock, a socket) sees it
    only when the call returns.
    """
    ident = thread.ident
    if ident is None or not thread.is_alive():
        return False
    return bool(ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(error)))
