"""The end of the flow's process: questions of remote tasks are answered on threads of their own."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from flowyard.ports import ControlPlane
from flowyard.upcalls.calls import answer, pack_error

_THREADS = 4  # changes of several share one commit


class UpcallDesk:
    """Answers questions, several at a time; no thread is started before the first.

    Args:
        control: returns the control plane to ask.
    """

    def __init__(self, control: Callable[[], ControlPlane]) -> None:
        self._control = control
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="flowyard-upcalls")

    def take(self, question: bytes, reply: Callable[[bytes], object]) -> None:
        """Answer a question soon; `reply` is called with the answer, on another thread, and must not raise."""
        try:
            self._threads.submit(self._answer, question, reply)
        except RuntimeError:  # closed: the flow run has ended, and its tasks with it
            return

    def close(self) -> None:
        """Answer no question that has not been begun; returns when nothing is under way."""
        self._threads.shutdown(cancel_futures=True)

    def _answer(self, question: bytes, reply: Callable[[bytes], object]) -> None:
        try:
            control = self._control()
        except Exception as error:  # the state backend cannot be opened: the task is told why
            reply(pack_error(error))
            return
        reply(answer(control, question))
