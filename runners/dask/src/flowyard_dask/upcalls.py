"""What tasks ask of the flow's process: questions go as events, beside the reports, answers as a call to the worker.

An answer goes through the scheduler (`Client.run`), which takes a few milliseconds: a worker may not be reachable from
the client directly, and this way works with every kind of cluster and with TLS.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final, cast

from flowyard.logging.loggers import get_logger
from flowyard.process.control import control_plane
from flowyard.upcalls.channel import UpcallChannel
from flowyard.upcalls.desk import UpcallDesk
from flowyard.upcalls.worker import OpenQuestions

_EXTENSION: Final = "flowyard-upcalls"
_UPCALL: Final = "upcall"
_ANSWER_SECONDS = 10.0


def channel_of(worker: Any, topic: str) -> UpcallChannel:
    """Return how the calls of a flow run ask from a worker."""
    return UpcallChannel("DaskTaskRunner", partial(_ask, worker, topic))


def _ask(worker: Any, topic: str, question: bytes, timeout: float) -> bytes:
    def send(key: bytes) -> None:
        # Only the loop's own thread may write to the connection.
        worker.loop.add_callback(worker.log_event, topic, {_UPCALL: [worker.address, key, question]})

    return _questions_of(worker).ask(send, timeout)


def _questions_of(worker: Any) -> OpenQuestions:
    extensions = cast("dict[str, Any]", worker.extensions)
    found = extensions.get(_EXTENSION)
    return found if found is not None else extensions.setdefault(_EXTENSION, OpenQuestions())


def _answered(answers: dict[bytes, bytes], dask_worker: Any = None) -> None:
    _questions_of(dask_worker).answered(answers)


class Answers:
    """Answers the questions of one flow run's tasks; in the flow's process."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._desk = UpcallDesk(control_plane)

    def take(self, message: dict[str, Any]) -> bool:
        """Take a message if it is a question. On the client's event loop: the answer is made on another thread."""
        question = message.get(_UPCALL)
        if question is None:
            return False
        address, key, packed = question
        self._desk.take(packed, partial(self._reply, address, key))
        return True

    def _reply(self, address: str, key: bytes, answer: bytes) -> None:
        try:
            client = self._client
            client.sync(client._run, _answered, {key: answer}, workers=[address], callback_timeout=_ANSWER_SECONDS)
        except Exception as error:  # the worker is gone, or the cluster; if it is not, the question times out there
            get_logger("task_runners.dask").debug("An answer did not reach %s: %s", address, error)

    def close(self) -> None:
        """Answer nothing more."""
        self._desk.close()
