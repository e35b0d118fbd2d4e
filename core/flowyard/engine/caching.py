"""Calls that need not be executed: their value is in the cache.

The look-up is made where the inputs are, before the call takes any slot: in the flow's process, or, when inputs stayed
on a cluster, by the shim. Who executes a call leaves the record for others behind (`keep_value`).
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar

from typing_extensions import override

from flowyard.aio import asyncio
from flowyard.cache_policies import CachePolicy, key_of
from flowyard.context import RunContext, Slot, TaskRunContext, current, enter, leave
from flowyard.engine.completion import Completion
from flowyard.engine.effects import Effect, Resume, SleepUntil, Thrown, WaitFor
from flowyard.engine.staging import Staging
from flowyard.exceptions import MissingResult
from flowyard.filesystems.contract import ListedFiles
from flowyard.filesystems.folder import LocalFiles
from flowyard.logging.loggers import get_logger
from flowyard.logging.run_log import RunLog, run_log_for_task
from flowyard.results.cache_locks import CacheLocks
from flowyard.results.cache_records import CacheRecord, new_record, read_record, usable_handle, write_record
from flowyard.results.commits import is_committed
from flowyard.results.factory import ResultFactory
from flowyard.results.handles import BaseResult
from flowyard.results.shared_locks import SharedLocks
from flowyard.rules.bookkeeping import apply_decision
from flowyard.rules.task_runs import TaskRunFacts, decide_task_run
from flowyard.schemas.events import TaskRunEntered
from flowyard.schemas.runs import utcnow
from flowyard.schemas.states import State, StateDetails, StateType
from flowyard.task_runners.base import CacheTicket, TaskCall

T = TypeVar("T")
_FIRST_PAUSE = timedelta(milliseconds=20)
_LONGEST_PAUSE = timedelta(seconds=1)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class CacheOptions:
    """How calls of one task use the cache in one flow run. Travels to workers with the task."""

    policy: CachePolicy
    expiration: timedelta | None = None
    refresh: bool = False
    lock: bool = False
    """Equal calls that run at once execute once."""
    longest_key: int = 2000
    runs_hooks: bool = False
    """Completion hooks run for hits too."""
    flow_parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])


class Claim:
    """One call's dealings with the cache: its key, what was found, and the lock that it holds."""

    def __init__(
        self,
        options: CacheOptions,
        results: ResultFactory,
        context: TaskRunContext,
        log: RunLog,
        locks: KeyLocks | None,
    ) -> None:
        self.options = options
        self.key: str | None = None
        self.handle: BaseResult[Any] | None = None
        """The value that was found."""
        self._results = results
        self.context = context
        self._log = log
        self._locks = locks
        self._record: CacheRecord | None = None
        self._components: dict[str, str] = {}
        self._reason = ""
        self._turn: Completion | None = None

    @property
    def is_quick(self) -> bool:
        """Whether a look takes microseconds: in a folder, not over a network."""
        return isinstance(self._results.storage, LocalFiles)

    @property
    def ticket(self) -> CacheTicket:
        """What the executed call needs to know."""
        return CacheTicket(self.key, self.trace("miss"))

    def trace(self, outcome: str) -> dict[str, Any]:
        """Return what `flowyard cache explain` reads."""
        trace: dict[str, Any] = {"outcome": outcome, "reason": self._reason, "components": self._components}
        if self._record is not None:
            trace["task_run_id"] = self._record.task_run_id
        return trace

    # --- the key ----------------------------------------------------------------------------------------

    def look(self) -> bool:
        """Make the key and look for its value; says whether there is one that counts."""
        self._make_key()
        if self.key is None:
            return False
        if self.options.refresh:
            self._reason = "the value is made anew (refresh_cache)"
            return False
        return self.find()

    def _make_key(self) -> None:
        context = self.context
        name = context.task_run.name
        try:
            parts = self.options.policy.components(context, context.parameters, self.options.flow_parameters)
            key = key_of(context, parts)
        except Exception as error:
            self._reason = f"its cache key could not be made: {type(error).__name__}: {error}"
            self._log.error("Task run '%s' is not cached: %s", name, self._reason, exc_info=error)
            return
        self._components = {part.name: part.hash or "" for part in parts}
        if key is None:
            self._reason = "; ".join(part.reason for part in parts if part.reason) or "it has no cache key"
            if parts:
                self._log.warning("Task run '%s' is not cached: %s", name, self._reason)
        elif len(key) > self.options.longest_key:
            self._reason = (
                f"its cache key has {len(key)} characters, and FLOWYARD_API_TASK_CACHE_KEY_MAX_LENGTH allows "
                f"{self.options.longest_key}"
            )
            self._log.warning("Task run '%s' is not cached: %s; return a hash of it", name, self._reason)
        else:
            self.key = key

    # --- the value --------------------------------------------------------------------------------------

    def find(self) -> bool:
        """Look for the value of the key; says whether there is one that counts."""
        assert self.key is not None
        storage, signing_key = self._results.storage, self._results.signing_key
        try:
            record = read_record(storage, self.key, signing_key)
            if record is None:
                self._reason = "no value was kept under its key"
                return False
            self._record = record
            if record.transaction is not None and not self._is_visible(record.transaction):
                self._reason = "the value that was kept belongs to a transaction that has not committed"
                return False
            if record.is_expired(utcnow()):
                self._reason = f"the value that was kept expired at {record.expires}"
                return False
            self.handle = usable_handle(
                storage, record, keep=self._results.cache_result_in_memory, signing_key=signing_key
            )
        except FileNotFoundError:
            self._reason = "the file of the value that was kept is gone"
            return False
        except MissingResult as error:
            self._reason = f"the value that was kept cannot be used: {error}"
            self._log.warning("Task run '%s' is executed: %s", self.context.task_run.name, self._reason)
            return False
        self._reason = f"its key was used by task run {record.task_run_id} on {record.created}"
        return True

    def _is_visible(self, stamp: str) -> bool:
        own: Staging | None = current().transaction
        if own is not None and own.accepts(stamp):
            return True
        return is_committed(self._results.storage, stamp, self._results.signing_key)

    def state(self, flow_run_count: int) -> State[Any]:
        """Put the run into the state Cached, and return that."""
        run = self.context.task_run
        assert self.handle is not None
        assert self._record is not None
        found = StateDetails(
            cache_key=self.key,
            cache_expiration=self._record.expiration(),
            cache_trace=self.trace("hit"),
            transaction=self._record.transaction,
        )
        facts = TaskRunFacts(
            StateType.RUNNING,
            flow_run_count,
            cached_state=State(StateType.COMPLETED, data=self.handle, state_details=found),
        )
        asked = StateDetails(flow_run_id=run.flow_run_id, task_run_id=run.id, cache_key=self.key)
        decision = decide_task_run(run, State(StateType.RUNNING, state_details=asked), now=utcnow(), facts=facts)
        state = decision.state
        assert state is not None, "nothing stops a task run whose flow run this process owns"
        apply_decision(run, decision)
        self.context.recorder.append(TaskRunEntered(run.id, state))
        run_log_for_task(run, self.context.recorder).info("Finished in state %s", str(state))
        return state

    # --- locks ------------------------------------------------------------------------------------------

    def queue_up(self) -> Completion | None:
        """Return what to wait for until it is this call's turn in this flow run; None when it is."""
        assert self._locks is not None
        assert self.key is not None
        turn = Completion()
        first = self._locks.turns.setdefault(self.key, turn)
        if first is not turn:
            return first
        self._turn = turn
        return None

    def take_lock(self) -> bool:
        """Take the lock of the key from other processes and flow runs; False when one of them has it."""
        assert self._locks is not None
        assert self.key is not None
        return self._locks.acquire(self._results.storage, self.key)

    def release(self) -> None:
        """Let others have the key."""
        if self._turn is None:
            return
        assert self._locks is not None
        assert self.key is not None
        turn, self._turn = self._turn, None
        self._locks.release(self._results.storage, self.key)
        del self._locks.turns[self.key]
        turn.finish()


class KeyLocks:
    """Who in a flow run has the turn for which key, and the locks that keep other processes out."""

    def __init__(self) -> None:
        self.turns: dict[str, Completion] = {}
        self._locks: dict[Any, CacheLocks | SharedLocks] = {}

    def acquire(self, storage: Any, key: str) -> bool:
        """Take the lock of a key in a storage.

        True also where there is none: a storage that cannot be listed has no locks, so that only the calls of one flow
        run wait for each other, and where one cannot be taken a call executes rather than fail.
        """
        locks = self._of(storage)
        if locks is None:
            return True
        try:
            return locks.acquire(key)
        except Exception as error:
            get_logger("results").warning(
                "A call goes on without its `cache_lock`: %s: %s", type(error).__name__, error
            )
            return True

    def release(self, storage: Any, key: str) -> None:
        """Give a lock back."""
        locks = self._of(storage)
        if locks is None:
            return
        try:
            locks.release(key)
        except Exception as error:  # it is taken over when this process has ended
            get_logger("results").warning("A `cache_lock` stays behind: %s: %s", type(error).__name__, error)

    def _of(self, storage: Any) -> CacheLocks | SharedLocks | None:
        is_folder = isinstance(storage, LocalFiles)
        name = storage if is_folder else id(storage)  # which the locks keep alive
        locks = self._locks.get(name)
        if locks is None and (is_folder or isinstance(storage, ListedFiles)):
            locks = self._locks.setdefault(name, CacheLocks(storage) if is_folder else SharedLocks(storage))
        return locks


class Look(Effect[T]):
    """A look into the cache, in the context of the run that it is for."""

    __slots__ = ("context", "is_quick", "look", "scope")

    def __init__(self, look: Callable[[], T], context: RunContext, scope: Any, *, is_quick: bool) -> None:
        self.look = look
        self.context = context
        self.scope = scope
        self.is_quick = is_quick

    @override
    def block(self) -> T:
        token = enter(self.context)
        try:
            return self.look()
        finally:
            leave(token)

    @override
    async def perform(self) -> T:
        return self.block() if self.is_quick else await asyncio.to_thread(self.block)

    @override
    def detach(self, resume: Resume) -> None:
        def work() -> None:
            try:
                value: Any = self.block()
            except BaseException as error:  # it belongs to the steps
                value = Thrown(error)
            resume(value)

        if self.is_quick:
            work()
        else:
            self.scope.waiting_room.submit(work)


async def cached_state(
    claim: Claim, here: RunContext, scope: Any, slot: Slot | None, flow_run_count: int
) -> State[Any] | None:
    """Return the state Cached if the value of a call was kept, else None: then it is to be executed.

    With `cache_lock` it then has the lock of the key, until `release`.
    """

    def look(operation: Callable[[], T]) -> Look[T]:
        return Look(operation, here, scope, is_quick=claim.is_quick)

    found = await look(claim.look)
    options = claim.options
    if not found and options.lock and claim.key is not None and not options.refresh:
        pause = _FIRST_PAUSE
        has_lock = False
        while not found and not has_lock:
            turn = claim.queue_up()
            if turn is not None:
                await WaitFor([turn], slot)
            else:
                has_lock = await look(claim.take_lock)
                while not has_lock and not found:
                    await SleepUntil(utcnow() + pause)
                    pause = min(pause * 2, _LONGEST_PAUSE)
                    found = await look(claim.find)
                    has_lock = not found and await look(claim.take_lock)
            found = found or await look(claim.find)
    if not found:
        return None
    claim.release()
    return claim.state(flow_run_count)


def keep_value(call: TaskCall, handle: BaseResult[Any], expires: datetime | None, log: RunLog) -> None:
    """Write the record by which later calls find a value; that this fails is logged, and hurts nobody."""
    ticket, results, run = call.cache, call.spec.results, call.task_run
    if ticket is None or ticket.key is None or handle.to_record()["type"] == "unpersisted":
        return
    record = new_record(
        ticket.key,
        results.storage,
        handle,
        expires=expires,
        components=ticket.trace["components"],
        task_name=call.spec.name,
        task_run_id=str(run.id),
        flow_run_id=None if run.flow_run_id is None else str(run.flow_run_id),
        transaction=call.context.transaction,
    )
    try:
        write_record(results.storage, record, results.signing_key)
    except MissingResult as error:
        log.warning("The value of task run '%s' is not found by later runs: %s", run.name, error)


def expiration_of(call: TaskCall) -> datetime | None:
    """Return when a value that was made now stops to count; None for never."""
    expiration = None if call.cache is None else call.spec.cache.expiration
    return None if expiration is None else utcnow() + expiration


async def releasing(steps: Coroutine[Effect[Any], Any, T], claims: list[Claim]) -> T:
    """Run steps, and give back the locks of the claims that they add to the list, however they end."""
    try:
        return await steps
    finally:
        for claim in claims:
            claim.release()


def claim_of(spec: Any, context: TaskRunContext, log: RunLog, scope: Any) -> Claim:
    """Return the claim of a call that is about to be looked up."""
    return Claim(spec.cache, spec.results, context, log, scope.key_locks if scope is not None else KeyLocks())
