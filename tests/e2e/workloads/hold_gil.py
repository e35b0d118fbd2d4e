"""A flow whose task keeps every thread of its process from running Python, until it gets a byte on standard input."""

from __future__ import annotations

import ctypes
import sys
import threading
import time

from flowyard import flow, task


@task
def hold() -> bool:
    """Hold the lock in C code; return whether a thread that counts stood still meanwhile."""
    stop = threading.Event()
    counted = 0

    def count() -> None:
        nonlocal counted
        while not stop.is_set():
            counted += 1
            time.sleep(0.0001)

    thread = threading.Thread(target=count)
    thread.start()
    print("held", flush=True)
    # PyDLL calls C without letting go of the interpreter lock. With such an interval nobody takes it away between
    # the lines that follow the sleep, in which all who wait for it have learned of the interval.
    read = ctypes.PyDLL(None).read
    buffer = ctypes.create_string_buffer(1)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1_000.0)
    time.sleep(0.05)
    before = counted
    read(0, buffer, 1)
    after = counted
    sys.setswitchinterval(interval)
    stop.set()
    thread.join()
    assert before > 0
    return after == before


@flow
def holding() -> bool:
    return hold()


if __name__ == "__main__":
    print(f"another thread counted on to the same number meanwhile: {holding()}")
