"""The flow's end of its mailbox: asks for letters and sorts them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, Protocol

from flowyard.logging.loggers import get_logger
from flowyard.schemas.wire import decode_events
from flowyard.schemas.wire_values import unpackb
from flowyard_ray.api import ray
from flowyard_ray.failures import Failure
from flowyard_ray.jobs import Item, Job
from flowyard_ray.mailbox import REPORT, Letter, open_mailbox
from flowyard_ray.upcalls import Clerk


class Reader(Protocol):
    """Who the letters are for; called on its own thread."""

    def item_of(self, token: int) -> Item | None:
        """Return the call that has a token, if it is not done."""
        ...

    def ended_early(self, item: Item, data: bytes) -> None:
        """Take the report of a call whose batch goes on; an empty one says that it was given back."""
        ...

    def give_up(self, job: Job, failure: Failure) -> None:
        """Settle what a worker that died has left; nothing more is heard of it."""
        ...


class Letters:
    """The mailbox of one flow run, if it has one. For one thread.

    Args:
        reader: who the letters are for.
        name: of the mailbox.
        namespace: the one of the flow's connection to Ray.
        wait: has `read` called with what a reference stands for.
    """

    def __init__(self, reader: Reader, name: str, namespace: str, wait: Callable[[Any], None]) -> None:
        self._reader = reader
        self._name = name
        self._namespace = namespace
        self._wait = wait
        self._log = get_logger("task_runners.ray")
        self._mailbox: Any = None
        self._clerk: Clerk | None = None
        self._polls = 0
        self._unheard: list[tuple[int, Job, Failure]] = []
        """Batches whose worker died: (the poll that brings what they still reported, ...)."""
        self._confirmed: dict[int, int] = {}
        self._done_tokens: list[int] = []
        self.is_wanted = True
        """There was no mailbox yet."""

    def open(self) -> None:
        """Start the mailbox."""
        self.is_wanted = False
        try:
            self._mailbox = open_mailbox(self._name, self._namespace)
        except Exception:
            self._log.warning("No mailbox could be started: states and logs come when tasks end", exc_info=True)
            return
        self._clerk = Clerk(self._mailbox)
        self._poll()

    def close(self) -> None:
        """End the mailbox."""
        if self._mailbox is not None:
            with contextlib.suppress(Exception):  # it goes with the connection at the latest
                ray.kill(self._mailbox)
        if self._clerk is not None:
            self._clerk.close()

    def done(self, token: int) -> None:
        """Note that nothing more is wanted of a call."""
        if self._mailbox is not None:
            self._done_tokens.append(token)
            self._confirmed.pop(token, None)

    def hear_out(self, job: Job, failure: Failure) -> bool:
        """Have `give_up` called when everything has been read that a dead worker sent; False without a mailbox."""
        if self._mailbox is None:
            return False
        # What its calls reported before is still on its way: it is there when the next poll but one has returned.
        self._unheard.append((self._polls + 1, job, failure))
        self._mailbox.hurry.remote(self._polls + 1)
        return True

    def _poll(self) -> None:
        confirmed, self._confirmed = self._confirmed, {}
        done, self._done_tokens = self._done_tokens, []
        self._polls += 1
        self._wait(self._mailbox.poll.remote(self._polls, confirmed, done))

    def read(self, letters: list[Letter] | None, error: BaseException | None) -> None:
        """Take what a poll brought, and ask again."""
        if error is not None:
            self._log.warning("The mailbox was lost: states and logs come when tasks end. %s", error)
            self._mailbox = None
        for letter in letters or ():
            self.read_letter(letter)
        unheard, self._unheard = self._unheard, []
        for number, job, failure in unheard:
            if self._mailbox is not None and number > self._polls:
                self._unheard.append((number, job, failure))
            elif not job.is_settled:
                self._reader.give_up(job, failure)
        if self._mailbox is not None:
            self._poll()

    def read_letter(self, letter: Letter) -> None:
        """Take one letter."""
        token, first, data = letter
        item = self._reader.item_of(token)
        if item is not None and first == REPORT:
            self._reader.ended_early(item, data)
        elif item is not None and not item.is_settled and first <= item.received and not item.held_back:
            self._take_events(item, first, data)

    def _take_events(self, item: Item, first: int, data: bytes) -> None:
        events = decode_events(unpackb(data))[item.received - first :]
        for number, event in enumerate(events):
            try:
                item.call.recorder.append(event)
            except Exception:  # the engine gets them with the outcome, and the recorder's error
                item.held_back = events[number:]
                break
        item.received += len(events)
        self._confirmed[item.token] = item.received
