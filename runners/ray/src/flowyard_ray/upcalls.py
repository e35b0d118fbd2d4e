"""What tasks ask of the flow's process: questions and answers go through the mailbox, between two long calls to it."""

from __future__ import annotations

import asyncio
import threading
import time
from functools import partial
from typing import Any

from flowyard.logging.loggers import get_logger
from flowyard.process.control import control_plane
from flowyard.schemas.ids import new_id
from flowyard.upcalls.channel import UpcallChannel
from flowyard.upcalls.desk import UpcallDesk
from flowyard_ray.api import ray

_LONGEST_POLL_SECONDS = 10.0
_LOOK_AGAIN_SECONDS = 0.05
_CLOSE_SECONDS = 5.0


class QuestionBox:
    """The mailbox's part of it: keeps questions until they are fetched, and who asked waiting until they are answered.

    All of it happens on the actor's event loop.
    """

    def __init__(self) -> None:
        self._questions: list[tuple[bytes, bytes]] = []
        self._asking: dict[bytes, asyncio.Future[bytes]] = {}
        self._has_questions = asyncio.Event()

    async def ask(self, key: bytes, question: bytes, seconds: float) -> bytes | None:
        """Return the answer to a question; None when it did not come in time."""
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._asking[key] = answer
        self._questions.append((key, question))
        self._has_questions.set()
        try:
            return await asyncio.wait_for(answer, seconds)
        except TimeoutError:
            return None
        finally:
            del self._asking[key]

    async def questions(self) -> list[tuple[bytes, bytes]]:
        """Wait for questions and return them, each with its key."""
        try:
            await asyncio.wait_for(self._has_questions.wait(), _LONGEST_POLL_SECONDS)
        except TimeoutError:
            return []
        self._has_questions.clear()
        questions, self._questions = self._questions, []
        return questions

    async def answer(self, key: bytes, answer: bytes) -> None:
        """Give an answer to who asked, if that still waits."""
        asking = self._asking.get(key)
        if asking is not None and not asking.done():
            asking.set_result(answer)


def channel_to(name: str, namespace: str) -> UpcallChannel:
    """Return how the calls of a flow run ask from a worker, through the mailbox of that name."""
    return UpcallChannel("RayTaskRunner", partial(_ask, name, namespace))


def _ask(name: str, namespace: str, question: bytes, timeout: float) -> bytes:
    deadline = time.monotonic() + timeout
    mailbox = _mailbox(name, namespace, deadline)
    left = max(0.0, deadline - time.monotonic())
    # Not `ray.get`: while that waits, Ray takes the CPU of the task for free and may start another worker process.
    answer = mailbox.ask.remote(new_id().bytes, question, left).future()
    try:
        found = answer.result(timeout=left + 1.0)
    except ray.exceptions.RayError as error:
        raise TimeoutError(f"the mailbox of the flow run is gone: {error}") from error
    if found is None:
        raise TimeoutError(f"no answer within {timeout:g} s")
    return found


def _mailbox(name: str, namespace: str, deadline: float) -> Any:
    """Return the mailbox. It is opened when a call has been under way for a moment, which this one is."""
    while True:
        try:
            return ray.get_actor(name, namespace)
        except ValueError:
            if time.monotonic() > deadline:
                raise TimeoutError("the flow's process has not opened a mailbox") from None
            time.sleep(_LOOK_AGAIN_SECONDS)


class Clerk:
    """Fetches questions from the mailbox and sends answers; in the flow's process, on a thread of its own."""

    def __init__(self, mailbox: Any) -> None:
        self._mailbox = mailbox
        self._desk = UpcallDesk(control_plane)
        self._is_closing = False
        self._thread = threading.Thread(target=self._serve, name="flowyard-ray-upcalls", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while not self._is_closing:
            try:
                questions = ray.get(self._mailbox.questions.remote())
            except Exception as error:  # the mailbox was closed, or is lost: then questions time out
                get_logger("task_runners.ray").debug("No more questions come: %s", error)
                return
            for key, question in questions:
                self._desk.take(question, partial(self._mailbox.answer.remote, key))

    def close(self) -> None:
        """Answer nothing more; called when the mailbox is closed."""
        self._is_closing = True
        self._thread.join(_CLOSE_SECONDS)
        self._desk.close()
