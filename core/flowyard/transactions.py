"""Groups of tasks whose results count together, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from contextvars import Token
from dataclasses import replace
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

from flowyard.annotations import NotSet
from flowyard.context import RunContext, current, enter, leave
from flowyard.engine.drivers import run_async, run_blocking
from flowyard.engine.effects import Effect, Raised, Record, WaitFor
from flowyard.engine.invoke import Invoke
from flowyard.engine.scope import Scope
from flowyard.engine.staging import Staging
from flowyard.engine.submission import Submission
from flowyard.exceptions import MissingContextError, MissingResult
from flowyard.filesystems.contract import WritableFiles
from flowyard.logging.loggers import get_logger
from flowyard.results.cache_records import new_record, usable_handle
from flowyard.results.commits import FOLDER, read_commit, stamp_of, write_commit
from flowyard.results.factory import ResultFactory
from flowyard.rules.bookkeeping import enter_state
from flowyard.schemas.events import TaskRunEntered
from flowyard.schemas.states import State, StateDetails, StateType

__all__ = ["Transaction", "get_transaction", "transaction"]

Steps = Coroutine[Effect[Any], Any, None]


class Transaction(Staging):
    """A group of tasks, made by `transaction()`; a context manager, with and without `async`."""

    def __init__(self, key: str | None = None, *, overwrite: bool = False) -> None:
        self.key = key
        self.overwrite = overwrite
        self.id = uuid4().hex
        self._name = f"key:{key}" if key is not None else f"id:{self.id}"
        """Of the record that says that it has committed."""
        super().__init__(stamp_of(self.id, self._name))
        self._values: dict[str, Any] = {}
        self._is_committed = False
        self._was_committed = False
        self._scope: Scope | None = None
        self._outside = RunContext()
        self._token: Token[RunContext] | None = None

    # --- values ---------------------------------------------------------------------------------------------

    def set(self, name: str, value: Any) -> None:
        """Keep a value for hooks, for transactions in this one, and, with a key, for whoever uses the key again."""
        self._values[name] = value

    def get(self, name: str, default: Any = NotSet) -> Any:
        """Return a value that was set here, else in a transaction around this one, else `default`.

        Raises:
            LookupError: it was never set, and there is no default.
        """
        here: Staging | None = self
        while isinstance(here, Transaction):
            if name in here._values:
                return here._values[name]
            here = here.parent
        if default is NotSet:
            known = ", ".join(sorted(self._values)) or "nothing"
            raise LookupError(f"the transaction has no value {name!r}; it has {known}. Set it, or pass a default")
        return default

    def is_committed(self) -> bool:
        """Say whether all of it counts: its block ended well, now or, with a key, in an earlier run."""
        return self._is_committed

    # --- the block ------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self._begin()
        run_blocking(self._recall())
        self._open()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._close()
        run_blocking(self._end(error))

    async def __aenter__(self) -> Self:
        self._begin()
        await run_async(self._recall())
        self._open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._close()
        await run_async(self._end(error))

    def _begin(self) -> None:
        here = current()
        run = here.task_run or here.flow_run
        scope: Scope | None = None if run is None else run.scope
        if scope is None or scope.results is None:
            raise MissingContextError(
                "a transaction is opened in a flow, or in a task in the process of its flow; there is none here"
            )
        if self._scope is not None:
            raise RuntimeError("a transaction is entered once; make another one with `transaction()`")
        self._scope, self._outside, self.parent = scope, here, here.transaction
        if self.parent is not None:
            # What belongs to a nested transaction counts when the outermost one commits, and lists it.
            self.stamp = stamp_of(self.id, self.parent.stamp.partition("/")[2])

    async def _recall(self) -> None:
        """Find what a transaction with this key has left."""
        if self.key is None or self.overwrite:
            return
        results = self._results
        record = await Record(lambda: read_commit(results.storage, self._name, results.signing_key))
        if record is None:
            return
        found = record
        try:
            values = await Record(lambda: usable_handle(results.storage, found, signing_key=results.signing_key).get())
        except (MissingResult, FileNotFoundError) as error:
            self._log.warning(
                "The transaction with key %r is done again, because its values are lost: %s", self.key, error
            )
            return
        self._values = values or {}
        self._is_committed = self._was_committed = True

    def _open(self) -> None:
        if not self._was_committed:
            self._the_scope.stagings[self.stamp] = self
            self._token = enter(replace(self._outside, transaction=self))

    def _close(self) -> None:
        if self._token is not None:
            leave(self._token)

    async def _end(self, error: BaseException | None) -> None:
        if self._was_committed:
            return
        try:
            await self._wait()
            if error is None:
                self._require_success()
                await self._commit()
        except BaseException as late:
            await self._roll_back(late)
            raise
        finally:
            self._the_scope.stagings.pop(self.stamp, None)
        if error is not None:
            await self._roll_back(error)
        elif self.parent is None:
            await self._run_hooks("on_commit", [(call.run.name, call.on_commit) for call in self.staged])

    async def _wait(self) -> None:
        """Wait for all that was submitted in the block, also by maps that go on submitting."""
        place = self._outside.task_run
        while waiting := [pending for pending in list(self.pending) if not pending.is_done]:
            await WaitFor(waiting, None if place is None else place.slot)

    def _require_success(self) -> None:
        """Raise the error of the first submitted task that did not complete."""
        for pending in self.pending:
            state = pending.settled_state if isinstance(pending, Submission) else None
            if state is not None and not state.is_completed():
                state.result()

    # --- commit and rollback ----------------------------------------------------------------------------------

    async def _commit(self) -> None:
        parent = self.parent
        if self.key is not None or parent is None:
            await Record(self._write)
        if parent is not None:
            parent.parts |= self.parts
            parent.staged += self.staged
        self._is_committed = True

    def _write(self) -> None:
        results = self._results
        storages: list[WritableFiles] = [results.storage]
        for call in self.staged:
            if call.results is not None and call.results.storage not in storages:
                storages.append(call.results.storage)
        earlier = read_commit(results.storage, self._name, results.signing_key)
        parts = dict.fromkeys(self.parts, "committed") | dict({} if earlier is None else earlier.components)
        kept = self._values if self.key is not None else {}
        flow_run = self._the_scope.flow_run
        handle = results.create_result(kept or None)
        stamp = None if self.parent is None else self.stamp
        # The flow's own storage is the one that decides what a resume executes: it comes last.
        for storage in reversed(storages):
            record = new_record(
                self._name,
                results.storage,
                handle,
                components=parts,
                transaction=stamp,
                flow_run_id=None if flow_run is None else str(flow_run.id),
            )
            write_commit(storage, record, results.signing_key)

    async def _roll_back(self, error: BaseException) -> None:
        scope = self._the_scope
        self._is_committed = False
        self._log.warning("A transaction of %s task runs is rolled back: %r", len(self.staged), error)
        calls = self.staged[::-1]
        for call in calls:
            details = StateDetails(flow_run_id=call.run.flow_run_id, task_run_id=call.run.id)
            message = "Its transaction was rolled back: its result does not count."
            state: State[Any] = State(StateType.COMPLETED, "RolledBack", message, state_details=details)
            enter_state(call.run, state)
            scope.recorder.append(TaskRunEntered(call.run.id, state))
            if scope.earlier is not None:
                scope.earlier.forget(call.run)
        await self._run_hooks("on_rollback", [(call.run.name, call.on_rollback) for call in calls])

    async def _run_hooks(self, kind: str, hooks: list[tuple[str, Sequence[Callable[..., Any]]]]) -> None:
        for name, functions in hooks:
            for function in functions:
                outcome = await Invoke(self._outside, function, (self,))
                if isinstance(outcome, Raised):
                    self._log.error("The %s hook of task run '%s' failed", kind, name, exc_info=outcome.error)

    @property
    def _the_scope(self) -> Scope:
        assert self._scope is not None
        return self._scope

    @property
    def _log(self) -> Any:
        return self._the_scope.log or get_logger("transactions")

    @property
    def _results(self) -> ResultFactory:
        """How the values of the transaction are kept: as the flow keeps results, in a place of their own."""
        place = f"{FOLDER}/values/{self.id}"
        results: ResultFactory = self._the_scope.results
        return replace(results, persist_result=True, must_persist=True, storage_key=place)


def transaction(key: str | None = None, *, overwrite: bool = False) -> Transaction:
    """Make the tasks of a block count together; enter it with `with`, or `async with` in async code.

    When the block ends well, the persisted results of its tasks begin to count, for the cache and for a retry or
    resume, all at once. When it raises, or a task that was submitted in it does not complete, or the process dies, none
    of them does; `Task.on_rollback` and `Task.on_commit` undo or finish what the tasks did. A transaction in another
    one commits with that.

    Args:
        key: names what is done, across runs: once a transaction with it has committed, `is_committed` of every later
            one is True from the start, and its values can be read.
        overwrite: do it all the same, and let the new values count.
    """
    return Transaction(key, overwrite=overwrite)


def get_transaction() -> Transaction | None:
    """Return the open transaction that this code is in, or None; tasks in worker processes see none."""
    found = current().transaction
    return found if isinstance(found, Transaction) else None
