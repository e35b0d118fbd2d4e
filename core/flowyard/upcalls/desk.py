"""The end of the flow's process: questions of remote tasks are answered on threads of their own."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

from flowyard.ports import ControlPlane
from flowyard.schemas.limits import SlotRequest
from flowyard.upcalls.calls import Question, answer, pack_error
from flowyard.upcalls.turns import WAIT_FOR_TURN, Turns
from flowyard.upcalls.values import pack_value, unpack_value

_THREADS = 4  # changes of several share one commit


class UpcallDesk:
    """Answers questions, several at a time; no thread is started before the first.

    Args:
        control: returns the control plane to ask.
    """

    def __init__(self, control: Callable[[], ControlPlane]) -> None:
        self._control = control
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="flowyard-upcalls")
        self._turns = Turns(self._soon)

    def take(self, question: bytes, reply: Callable[[bytes], object]) -> None:
        """Answer a question soon; `reply` is called with the answer, on another thread, and must not raise."""
        try:
            self._threads.submit(self._answer, question, reply)
        except RuntimeError:  # closed: the flow run has ended, and its tasks with it
            return

    def close(self) -> None:
        """Answer no question that has not been begun; returns when nothing is under way."""
        self._turns.close()
        self._threads.shutdown(cancel_futures=True)

    def _answer(self, question: bytes, reply: Callable[[bytes], object]) -> None:
        try:
            asked = Question(*unpack_value(question))
            control = self._control()
            if (asked.noun, asked.method) == ("limits", WAIT_FOR_TURN):
                lease_id, seconds = asked.args
                self._turns.wait(control.limits, lease_id, seconds, lambda is_turn: reply(pack_value([None, is_turn])))
                return
        except Exception as error:  # another version asks; the state backend cannot be opened: the task is told why
            reply(pack_error(error))
            return
        if asked.noun == "limits":
            self._turns.end(_waiters(asked))
        reply(answer(control, asked))

    def _soon(self, act: Callable[[], object]) -> None:
        with contextlib.suppress(RuntimeError):  # closed
            self._threads.submit(act)


def _waiters(asked: Question) -> Sequence[UUID]:
    """Return the requests that a worker does not wait for any more when it asks this."""
    if asked.method == "acquire":
        request: SlotRequest = asked.args[0]
        return [request.lease_id]
    return asked.args[0] if asked.method == "release" else ()
