from __future__ import annotations

import threading

from flowyard import flow, task
from flowyard.task_runners import ConcurrentTaskRunner

_SECONDS = 60.0


def test_calls_that_come_together_get_a_thread_each_although_one_is_idle():
    gate = threading.Barrier(2)

    @task
    def leave_a_thread_idle() -> None: ...

    @task
    def meet() -> None:
        gate.wait(_SECONDS)

    @flow(task_runner=ConcurrentTaskRunner(max_workers=2))
    def meetings() -> int:
        for _ in range(10):
            leave_a_thread_idle.submit().result()
            for future in [meet.submit(), meet.submit()]:
                future.result()
        return 10

    assert meetings() == 10
