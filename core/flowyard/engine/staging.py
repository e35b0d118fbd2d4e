"""What the engine does with calls of tasks in a transaction: they get its stamp, and it is told of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from flowyard.engine.completion import Completion
from flowyard.results.factory import ResultFactory
from flowyard.schemas.runs import TaskRun


@dataclass(frozen=True, slots=True, eq=False)
class StagedCall:
    """A task run that completed in a transaction."""

    run: TaskRun
    results: ResultFactory | None
    on_commit: Sequence[Callable[..., Any]] = ()
    on_rollback: Sequence[Callable[..., Any]] = ()


class Staging:
    """An open transaction as the engine sees it; in a worker process that is all there is of it.

    Values and records are written where they are made, with the stamp (`results.commits`).
    """

    def __init__(self, stamp: str) -> None:
        self.stamp = stamp
        self.parts: set[str] = {stamp.partition("/")[0]}
        """The ids of the transaction and of those that ended well in it."""
        self.staged: list[StagedCall] = []
        """In the order of completion."""
        self.pending: list[Completion] = []
        """What was submitted."""
        self.parent: Staging | None = None

    def stage(self, call: StagedCall) -> None:
        """Note a task run that completed."""
        self.staged.append(call)

    def submitted(self, pending: Completion) -> None:
        """Note what the end of the block has to wait for."""
        self.pending.append(pending)

    def accepts(self, stamp: str) -> bool:
        """Say whether what has a stamp was staged in this transaction, or in one around it, and not rolled back."""
        transaction_id, _, name = stamp.partition("/")
        here: Staging | None = self
        while here is not None:
            if name == here.stamp.partition("/")[2] and transaction_id in here.parts:
                return True
            here = here.parent
        return False


def staging_of(scope: Any, stamp: str) -> Staging:
    """Return the transaction of a call that executes here."""
    found: Staging | None = None if scope is None else scope.stagings.get(stamp)
    return Staging(stamp) if found is None else found
