"""Every error Flowyard raises on purpose.

Fields are handed to ``super().__init__`` and the sentence is made in ``__str__``, so each error survives
the pickling that brings it back from a worker.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    import httpx


class FlowyardError(Exception):
    """Base of every error of this package."""


PrefectException = FlowyardError  # the name that code written for Prefect 2 catches


# --- runs and their results -------------------------------------------------------------------------


class CrashedRun(FlowyardError):
    """The result of a run that crashed was asked for."""


class FailedRun(FlowyardError):
    """The result of a run that failed was asked for, and its exception is not known."""


class CancelledRun(FlowyardError):
    """The result of a run that was cancelled was asked for."""


class PausedRun(FlowyardError):
    """The result of a paused run was asked for."""

    def __init__(self, *args: object, state: Any = None) -> None:
        super().__init__(*args)
        self.state = state


class UnfinishedRun(FlowyardError):
    """The result of a run that has not finished was asked for."""


class MissingResult(FlowyardError):
    """A run completed, but its value was not kept."""


class CorruptResult(MissingResult):
    """A persisted result is there, and cannot be read: truncated, changed, or of a serializer that is not installed."""

    def __init__(self, where: str, cause: str) -> None:
        super().__init__(where, cause)
        self.where = where
        self.cause = cause

    def __str__(self) -> str:
        return f"the persisted result {self.where!r} cannot be read: {self.cause}; run its task again to make it anew"


class ResultStorageFailed(MissingResult):
    """The storage of a result cannot be read or written now: it is full, away, or refuses."""

    def __init__(self, operation: str, where: str, cause: str) -> None:
        super().__init__(operation, where, cause)
        self.operation = operation
        self.where = where
        self.cause = cause

    def __str__(self) -> str:
        return (
            f"the result {self.where!r} could not be {self.operation}: {self.cause}; "
            "look whether its storage can be reached and has room, and try again"
        )


class SerializationError(FlowyardError, TypeError):
    """A value that must be persisted cannot be turned into bytes."""

    def __init__(self, type_name: str, serializer: str, cause: str) -> None:
        super().__init__(type_name, serializer, cause)
        self.type_name = type_name
        self.serializer = serializer
        self.cause = cause

    def __str__(self) -> str:
        return (
            f"a result of type {self.type_name} cannot be persisted with the {self.serializer!r} serializer: "
            f"{self.cause}; return something else, choose another `result_serializer`, or pass `persist_result=False`"
        )


class UpstreamTaskError(FlowyardError):
    """A task cannot start because an upstream run did not complete."""


class TaskTimedOut(FlowyardError, TimeoutError):
    """A run went on for longer than its `timeout_seconds`."""

    def __init__(self, kind: str, seconds: float) -> None:
        super().__init__(kind, seconds)
        self.kind = kind
        self.seconds = seconds

    def __str__(self) -> str:
        return f"{self.kind} run exceeded timeout of {self.seconds} seconds"


class WouldDeadlock(FlowyardError, RuntimeError):
    """A blocking wait would block the very event loop that has to do the work."""

    def __init__(self, task_name: str, lacks_place: bool = False) -> None:
        super().__init__(task_name, lacks_place)
        self.task_name = task_name
        self.lacks_place = lacks_place
        """The task itself does not need the loop, but its runner does: tasks that run there hold every place of it, or
        the whole cluster runs there."""

    def __str__(self) -> str:
        if self.lacks_place:
            return (
                f"waiting for task {self.task_name!r} here would block an event loop that its task runner needs: async "
                "tasks there hold every place, or its cluster runs there. Await those first, wait beside the loop "
                "(`await asyncio.to_thread(future.result)`, `await asyncio.to_thread(task, ...)` for a direct call), "
                "or give the runner more `max_workers`"
            )
        return (
            f"waiting for task {self.task_name!r} here would block the event loop that runs it; "
            "write `await future.result()` (or `await future.wait()`), or submit the task from a sync flow"
        )


class WorkerLost(FlowyardError, RuntimeError):
    """The process that executed a task died before it reported an outcome."""

    def __init__(self, worker: str, cause: str) -> None:
        super().__init__(worker, cause)
        self.worker = worker
        self.cause = cause

    def __str__(self) -> str:
        return f"worker {self.worker} was lost: {self.cause}"


class UpcallTimeout(FlowyardError, TimeoutError):
    """A remote task asked something of the flow's process, and no answer came."""

    def __init__(self, call: str, runner: str, seconds: float) -> None:
        super().__init__(call, runner, seconds)
        self.call = call
        self.runner = runner
        self.seconds = seconds

    def __str__(self) -> str:
        return (
            f"a task on {self.runner} asked the process of its flow for {self.call!r}, and no answer came within "
            f"{self.seconds:g} s: that process is busy, stopped or cut off; raise "
            "FLOWYARD_TASK_RUNNER_UPCALL_TIMEOUT_SECONDS, or ask in the flow and pass the value to the task"
        )


class UpcallUnavailable(FlowyardError, RuntimeError):
    """A remote task asked something of the flow's process, and its task runner has no way to get there."""

    def __init__(self, call: str) -> None:
        super().__init__(call)
        self.call = call

    def __str__(self) -> str:
        return (
            f"{self.call!r} cannot be asked here: this task executes remotely, and its task runner brings no questions "
            "to the process of the flow; ask in the flow and pass the value to the task"
        )


class ValueLost(WorkerLost):
    """A call could not start: the value of an input was lost with the worker that it was on."""

    def __init__(self, worker: str, run_name: str, inputs: tuple[int, ...] = ()) -> None:
        # What the bases take differs: `args` are what this is made of again.
        FlowyardError.__init__(self, worker, run_name, inputs)
        self.worker = worker
        self.run_name = run_name
        self.inputs = inputs
        """Which upstreams of the call it was; empty when the runner does not know."""
        self.cause = f"value lost with worker {worker}: it was that of task run {run_name!r}"

    def __str__(self) -> str:
        return (
            f"value lost with worker {self.worker}: it was that of task run {self.run_name!r}; `persist_result=True` "
            "keeps values apart from workers, `crash_retries` makes them again"
        )


class UnpicklableValue(FlowyardError, TypeError):
    """A value that must travel to or from another process cannot be pickled."""

    def __init__(self, what: str, type_name: str, cause: str) -> None:
        super().__init__(what, type_name, cause)
        self.what = what
        self.type_name = type_name
        self.cause = cause

    def __str__(self) -> str:
        return (
            f"{self.what} (a {self.type_name}) cannot be sent to another process: {self.cause}; "
            "pass something picklable, create it inside the task, or use ConcurrentTaskRunner"
        )


class RemoteException(FlowyardError):
    """Stands for an exception of another process that could not be pickled, or whose class is not importable here."""

    def __init__(self, type_name: str, message: str, traceback: str = "") -> None:
        super().__init__(type_name, message, traceback)
        self.type_name = type_name
        self.message = message
        self.traceback = traceback
        """The traceback as text, as it was printed where the exception was raised."""

    def __str__(self) -> str:
        return f"{self.type_name}: {self.message}" if self.message else self.type_name


class UnknownWireFormat(FlowyardError, ValueError):
    """Packed records are of a format that this version of Flowyard does not know."""

    def __init__(self, what: str, found: object, known: int) -> None:
        super().__init__(what, found, known)
        self.what = what
        self.found = found
        self.known = known

    def __str__(self) -> str:
        return (
            f"packed records have {self.what} {self.found!r}, and this version of Flowyard knows up to {self.known}; "
            "use the same version of Flowyard on both sides"
        )


# --- definitions and calls --------------------------------------------------------------------------


class ParameterTypeError(FlowyardError):
    """Parameters of a flow do not have the annotated types."""

    def __init__(self, msg: str) -> None:
        super().__init__(msg)


class ParameterBindError(FlowyardError, TypeError):
    """The arguments of a call do not fit the function's signature."""

    def __init__(self, msg: str) -> None:
        super().__init__(msg)


class SignatureMismatchError(FlowyardError, TypeError):
    """Parameters by name do not fit the function's signature."""

    def __init__(self, msg: str) -> None:
        super().__init__(msg)


class ReservedArgumentError(FlowyardError, TypeError):
    """A flow or task function has a parameter with a reserved name."""


class InvalidNameError(FlowyardError, ValueError):
    """A name has a character that is not allowed."""


class MappingLengthMismatch(FlowyardError):
    """Iterables given to `map` have different lengths."""


class MappingMissingIterable(FlowyardError):
    """`map` was given nothing to iterate over."""


class MissingContextError(FlowyardError, RuntimeError):
    """Something that needs a run was used outside of one."""


class VisualizationUnsupportedError(FlowyardError):
    """`flow.visualize()` met something it cannot draw."""


class TaskVizReturnValueError(FlowyardError):
    """`flow.visualize()` met code that looks at a task's value, and no `viz_return_value` is set."""


class FlowVisualizationError(FlowyardError):
    """`flow.visualize()` could not draw the graph."""


# --- loading flows ----------------------------------------------------------------------------------


class MissingFlowError(FlowyardError):
    """No flow of that name is where it was looked for."""


class UnspecifiedFlowError(FlowyardError):
    """There are several flows, and none was named."""


class ScriptError(FlowyardError):
    """A script raised while it was loaded."""

    def __init__(self, user_exc: BaseException, path: str) -> None:
        super().__init__(user_exc, path)
        self.user_exc = user_exc
        self.path = path

    def __str__(self) -> str:
        return f"script at {self.path!r} raised {type(self.user_exc).__name__}: {self.user_exc}"


FlowScriptError = ScriptError


# --- task runners -----------------------------------------------------------------------------------


class TaskRunnerNotStarted(FlowyardError, RuntimeError):
    """A task reached a task runner that is not running."""

    def __init__(self, runner: str) -> None:
        super().__init__(runner)
        self.runner = runner

    def __str__(self) -> str:
        return f"task runner {self.runner!r} is not started; submit inside `with runner.start():`"


class TaskRunnerAlreadyStarted(FlowyardError, RuntimeError):
    """A task runner was started twice; `duplicate()` makes a fresh one."""

    def __init__(self, runner: str) -> None:
        super().__init__(runner)
        self.runner = runner

    def __str__(self) -> str:
        return f"task runner {self.runner!r} is already started; use `runner.duplicate()` for a second run"


class LegacyTaskRunner(FlowyardError, TypeError):
    """A task runner was written against the contract of Prefect 2."""

    def __init__(self, runner: str) -> None:
        super().__init__(runner)
        self.runner = runner

    def __str__(self) -> str:
        return (
            f"task runner {self.runner!r} implements Prefect 2's `wait`; Flowyard's contract is different: "
            "see docs/how-to/write-a-task-runner.md"
        )


class UnknownPlugin(FlowyardError, LookupError):
    """No plug-in of that name is installed."""

    def __init__(self, kind: str, name: str, installed: tuple[str, ...], hint: str = "") -> None:
        super().__init__(kind, name, installed, hint)
        self.kind = kind
        self.name = name
        self.installed = installed
        self.hint = hint

    def __str__(self) -> str:
        hint = f" ({self.hint})" if self.hint else ""
        return f"no {self.kind} named {self.name!r}; installed: {', '.join(self.installed) or 'none'}{hint}"


# --- state backend ----------------------------------------------------------------------------------


class BackendError(FlowyardError):
    """The state backend cannot do what was asked."""


class BackendUnavailable(BackendError):
    """The state backend cannot be opened or read."""

    def __init__(self, where: str, cause: str, advice: str) -> None:
        super().__init__(where, cause, advice)
        self.where = where
        self.cause = cause
        self.advice = advice

    def __str__(self) -> str:
        return f"cannot use the state backend {self.where!r}: {self.cause}; {self.advice}"


class ServerNotStarted(FlowyardError):
    """A server cannot listen where it was told to, or must not."""

    def __init__(self, place: str, cause: str, advice: str) -> None:
        super().__init__(place, cause, advice)
        self.place = place
        self.cause = cause
        self.advice = advice

    def __str__(self) -> str:
        return f"the server cannot listen on {self.place}: {self.cause}; {self.advice}"


class ServerAway(BackendUnavailable):
    """The server does not answer, or says to come again later."""

    retry_after_seconds: float | None = None
    """When it said to come again; for who sends the request again, in this process."""
    may_have_arrived: bool = False
    """Whether the server may have done what was asked: only the answer was lost."""
    is_passing: bool = True
    """Whether it may answer a moment later, without anybody doing anything about it."""
    is_forbidden: bool = False
    """Whether the server knows the key, and that it may never do this."""


class RequestRefused(BackendError):
    """The server has read a request and cannot do anything with it; sending it again would not help."""

    def __init__(self, where: str, cause: str) -> None:
        super().__init__(where, cause)
        self.where = where
        self.cause = cause

    def __str__(self) -> str:
        return f"the server {self.where} refused a request: {self.cause}"


class RecordsNotDurable(BackendError):
    """Records could not be written; says how many and of which runs."""

    def __init__(
        self,
        records: int,
        flow_run_ids: tuple[str, ...],
        cause: str,
        advice: str = "make room or repair the database",
    ) -> None:
        super().__init__(records, flow_run_ids, cause, advice)
        self.records = records
        self.flow_run_ids = flow_run_ids
        self.cause = cause
        self.advice = advice

    def __str__(self) -> str:
        runs = ", ".join(self.flow_run_ids) or "no flow run"
        return (
            f"{self.records} records of flow run(s) {runs} are not on disk: {self.cause}; "
            f"nothing that was committed before is touched; {self.advice}, then run the flow again"
        )


class LeaseLost(BackendError):
    """Another process owns the flow run now; what this one still records is refused."""

    def __init__(self, flow_run_id: str) -> None:
        super().__init__(flow_run_id)
        self.flow_run_id = flow_run_id

    def __str__(self) -> str:
        return (
            f"this process no longer owns flow run {self.flow_run_id}: it was taken over, most likely because "
            "it was believed dead; the run stops here and its late records are refused"
        )


class _OfAnAnswer(BackendError):
    """An error that a client made of the answer of a server."""

    @property
    def http_exc(self) -> BaseException | None:
        """The error of HTTP that it was made of, if it was."""
        return self.__cause__


class ObjectNotFound(_OfAnAnswer, LookupError):
    """An object that was asked for by id or name does not exist."""

    def __init__(self, kind: str, key: object) -> None:
        super().__init__(kind, key)
        self.kind = kind
        self.key = key

    def __str__(self) -> str:
        key = str(self.key) if isinstance(self.key, UUID) else repr(self.key)
        return f"no {self.kind} {key} in the state backend"


class ObjectAlreadyExists(_OfAnAnswer):
    """An object of that name exists already."""

    def __init__(self, kind: str, key: object) -> None:
        super().__init__(kind, key)
        self.kind = kind
        self.key = key

    def __str__(self) -> str:
        return f"{self.kind} {self.key!r} exists already"


class ValueNotStorable(BackendError, ValueError):
    """The database can never take a value, to store it or to look for it: a number of more than 64 bits, say."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause

    def __str__(self) -> str:
        return f"the database cannot take a value: {self.cause}; change it, sending it again would not help"


class FilterTooLong(BackendError, ValueError):
    """A list of a filter has more values than are looked for at once."""

    def __init__(self, number: int, most: int) -> None:
        super().__init__(number, most)
        self.number = number
        self.most = most

    def __str__(self) -> str:
        return f"a list of the filter has {self.number} values; at most {self.most} are taken: ask in several requests"


# --- blocks -------------------------------------------------------------------------------------------


class InvalidValues(FlowyardError, ValueError):
    """Values do not fit the JSON schema that they are held to."""

    def __init__(self, what: str, problems: tuple[str, ...]) -> None:
        super().__init__(what, problems)
        self.what = what
        self.problems = problems

    def __str__(self) -> str:
        return f"{self.what} do not fit their schema: {'; '.join(self.problems)}"


class UnusableSchema(FlowyardError, ValueError):
    """A JSON schema cannot be used to check anything."""

    def __init__(self, what: str, cause: str) -> None:
        super().__init__(what, cause)
        self.what = what
        self.cause = cause

    def __str__(self) -> str:
        return f"the schema of {self.what} cannot be used: {self.cause}"


class UnreadableTemplate(FlowyardError, ValueError):
    """A Jinja template has an error."""

    def __init__(self, line: int, cause: str) -> None:
        super().__init__(line, cause)
        self.line = line
        self.cause = cause

    def __str__(self) -> str:
        return f"the template cannot be read, line {self.line}: {self.cause}"


class UnresolvedPlaceholder(FlowyardError, ValueError):
    """A placeholder (`__prefect_kind`) in values cannot be filled in."""

    def __init__(self, kind: str, cause: str) -> None:
        super().__init__(kind, cause)
        self.kind = kind
        self.cause = cause

    def __str__(self) -> str:
        return f"a placeholder of the kind {self.kind!r} cannot be filled in: {self.cause}"


class GraphTooLarge(BackendError, ValueError):
    """A flow run has more nodes than the server shows in one graph."""

    def __init__(self, flow_run_id: str, max_nodes: int) -> None:
        BackendError.__init__(self, flow_run_id, max_nodes)
        self.flow_run_id = flow_run_id
        self.max_nodes = max_nodes

    def __str__(self) -> str:
        return (
            f"the graph of flow run {self.flow_run_id} has more than {self.max_nodes} nodes; ask for its task runs "
            "page by page, or raise FLOWYARD_API_MAX_FLOW_RUN_GRAPH_NODES"
        )


class BlockNotFound(ObjectNotFound, ValueError):
    """No block of that type was saved under that name."""

    def __init__(self, slug: str, name: str) -> None:
        BackendError.__init__(self, slug, name)
        self.slug = slug
        self.name = name

    def __str__(self) -> str:
        return (
            f"no block {f'{self.slug}/{self.name}'!r} in the state backend; `flowyard block ls` lists those that are "
            "saved, and `.save(name)` saves one"
        )


class BlockNameTaken(ObjectAlreadyExists, ValueError):
    """A block would be saved under a name that another one of its type has."""

    def __init__(self, slug: str, name: str) -> None:
        BackendError.__init__(self, slug, name)
        self.slug = slug
        self.name = name

    def __str__(self) -> str:
        return (
            f"a block {f'{self.slug}/{self.name}'!r} exists already; pass `overwrite=True` to replace it, or choose "
            "another name"
        )


class BlockCycle(BackendError, ValueError):
    """A block would lead back to itself through those it refers to."""

    def __init__(self, slug: str, name: str) -> None:
        super().__init__(slug, name)
        self.slug = slug
        self.name = name

    def __str__(self) -> str:
        return (
            f"block {f'{self.slug}/{self.name}'!r} cannot be saved: through the blocks it refers to it would contain "
            "itself; save one of them without that reference"
        )


class ProtectedBlockError(BackendError):
    """A built-in block type would be deleted."""

    def __init__(self, slug: str) -> None:
        super().__init__(slug)
        self.slug = slug

    def __str__(self) -> str:
        return f"block type {self.slug!r} is built in and cannot be deleted; delete its blocks one by one"


class InvalidBlockRegistration(FlowyardError, TypeError):
    """A class that is no block of its own would be registered as a block type."""

    def __init__(self, class_name: str, reason: str) -> None:
        super().__init__(class_name, reason)
        self.class_name = class_name
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.class_name} cannot be registered as a block type: {self.reason}"


class BlockNotSavedError(FlowyardError, RuntimeError):
    """Something that only a saved block has was asked of one that is not."""

    def __init__(self, class_name: str) -> None:
        super().__init__(class_name)
        self.class_name = class_name

    def __str__(self) -> str:
        return f"this {self.class_name} block is not saved, so nothing can refer to it; call `.save(name)` first"


class InvalidBlockData(FlowyardError, RuntimeError):
    """A saved block does not fit its class any more."""

    def __init__(self, slug: str, name: str, cause: str) -> None:
        super().__init__(slug, name, cause)
        self.slug = slug
        self.name = name
        self.cause = cause

    def __str__(self) -> str:
        return (
            f"block {f'{self.slug}/{self.name}'!r} was saved with other fields than its class has now: {self.cause}; "
            "load it with `validate=False`, set what is missing, and save it again with `overwrite=True`"
        )


class BlockMissingCapabilities(FlowyardError):
    """A block cannot do what it is used for."""


class MissingStorageDriver(FlowyardError, ImportError):
    """The package that reaches a kind of storage is not installed."""

    def __init__(self, scheme: str, package: str, extra: str) -> None:
        super().__init__(scheme, package, extra)
        self.scheme = scheme
        self.package = package
        self.extra = extra
        """The extra of Flowyard that brings the package; empty when there is none."""

    def __str__(self) -> str:
        command = f'pip install "flowyard[{self.extra}]"' if self.extra else "install what fsspec needs for it"
        return f"storage at '{self.scheme}://' needs a package that is not installed ({self.package}): {command}"


class WrongEncryptionKey(BackendError):
    """Secrets were encrypted with another key than the one that is here."""

    def __init__(self, stored: str, source: str, found: str) -> None:
        super().__init__(stored, source, found)
        self.stored = stored
        """Fingerprint of the key that was used."""
        self.source = source
        """Where the key of this process comes from."""
        self.found = found
        """Fingerprint of the key of this process; empty when there is none."""

    def __str__(self) -> str:
        here = f"{self.source} holds key {self.found!r}" if self.found else f"{self.source} holds no key"
        return (
            f"the secrets in the state backend were encrypted with key {self.stored!r}, and {here}; nothing was "
            "changed; set FLOWYARD_SERVER_ENCRYPTION_KEY to the key they were saved with"
        )


# --- settings ---------------------------------------------------------------------------------------


class MissingProfileError(FlowyardError, ValueError):
    """No settings profile of that name exists."""


class InvalidSetting(FlowyardError, ValueError):
    """A setting has a value that cannot be used, or does not exist."""

    def __init__(self, name: str, value: object, advice: str) -> None:
        super().__init__(name, value, advice)
        self.name = name
        self.value = value
        self.advice = advice

    def __str__(self) -> str:
        return f"setting {self.name}={self.value!r} is invalid: {self.advice}"


class UnknownSetting(InvalidSetting):
    """There is no setting of that name."""

    def __str__(self) -> str:
        return f"there is no setting {self.name!r}; {self.advice}"


class ProfilesFileError(FlowyardError):
    """The file of the settings profiles cannot be read or written."""

    def __init__(self, path: str, problem: str, advice: str) -> None:
        super().__init__(path, problem, advice)
        self.path = path
        self.problem = problem
        self.advice = advice

    def __str__(self) -> str:
        return f"the profiles file {self.path!r} {self.problem}; {self.advice}"


# --- recovery -----------------------------------------------------------------------------------------


class CannotContinue(FlowyardError):
    """A flow run cannot be started again."""

    def __init__(self, flow_run_name: str, problem: str, advice: str) -> None:
        super().__init__(flow_run_name, problem, advice)
        self.flow_run_name = flow_run_name
        self.problem = problem
        self.advice = advice

    def __str__(self) -> str:
        return f"flow run {self.flow_run_name!r} cannot be started again: {self.problem}; {self.advice}"


# --- concurrency limits ------------------------------------------------------------------------------


class ConcurrencySlotAcquisitionError(FlowyardError):
    """Slots of a concurrency limit could not be asked for."""


class SlotsOverLimit(ConcurrencySlotAcquisitionError, ValueError):
    """More slots were asked for than a limit has: the request could never be granted."""

    def __init__(self, limit_name: str, limit: int, slots: int) -> None:
        super().__init__(limit_name, limit, slots)
        self.limit_name = limit_name
        self.limit = limit
        self.slots = slots

    def __str__(self) -> str:
        command = f"gcl update {self.limit_name} --limit {self.slots}"
        if self.limit_name.startswith("tag:"):
            command = f"concurrency-limit create {self.limit_name.removeprefix('tag:')} {self.slots}"
        return (
            f"{self.slots} slots of concurrency limit {self.limit_name!r} were asked for, and it has {self.limit}; "
            f"occupy fewer, or raise it: flowyard {command}"
        )


class RateLimitWithoutDecay(ConcurrencySlotAcquisitionError, ValueError):
    """A rate was asked of a limit whose slots do not come back by themselves."""

    def __init__(self, limit_name: str) -> None:
        super().__init__(limit_name)
        self.limit_name = limit_name

    def __str__(self) -> str:
        return (
            f"concurrency limit {self.limit_name!r} has no slot decay, so it cannot limit a rate; give it one: "
            f"flowyard gcl update {self.limit_name} --slot-decay-per-second 1"
        )


class AcquireConcurrencySlotTimeoutError(FlowyardError, TimeoutError):
    """Slots of a concurrency limit were not free in the time that was given."""

    def __init__(self, names: tuple[str, ...], seconds: float, blocked_by: str | None = None) -> None:
        super().__init__(names, seconds, blocked_by)
        self.names = names
        self.seconds = seconds
        self.blocked_by = blocked_by

    def __str__(self) -> str:
        full = f": {self.blocked_by!r} is full" if self.blocked_by is not None else ""
        return (
            f"no slots of concurrency limits {list(self.names)!r} within {self.seconds:g} s{full}; wait longer "
            "(timeout_seconds=...), or see who holds them: flowyard gcl inspect NAME"
        )


# --- signals: not errors, they unwind a run ----------------------------------------------------------


class FlowyardSignal(BaseException):
    """Base of what unwinds a run on purpose; `except Exception` does not stop it."""


PrefectSignal = FlowyardSignal


class Abort(FlowyardSignal):
    """The state backend refused a transition: the run must stop."""


class Pause(FlowyardSignal):
    """The run is paused and must leave its process."""

    def __init__(self, *args: object, state: Any = None) -> None:
        super().__init__(*args)
        self.state = state


class ExternalSignal(BaseException):
    """Base of signals that come from outside the process."""


class TerminationSignal(ExternalSignal):
    """SIGTERM arrived."""

    def __init__(self, signal: int) -> None:
        super().__init__(signal)
        self.signal = signal


# --- pause, suspend, resume ---------------------------------------------------------------------------


class NotPausedError(FlowyardError):
    """A run that is not paused was asked to resume."""


class FlowPauseTimeout(FlowyardError):
    """A pause lasted longer than its timeout."""


class FlowRunWaitTimeout(FlowyardError):
    """A flow run did not finish in the time it was waited for."""


if TYPE_CHECKING:
    # Of HTTP, whose library only clients load: they stand where that is.
    FlowyardHTTPStatusError = httpx.HTTPStatusError
    PrefectHTTPStatusError = FlowyardHTTPStatusError
else:

    def __getattr__(name: str) -> Any:
        if name in ("FlowyardHTTPStatusError", "PrefectHTTPStatusError"):
            return importlib.import_module("flowyard.client.base").FlowyardHTTPStatusError
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def exception_traceback(exc: BaseException) -> str:
    """Return the traceback of `exc` as Python would print it."""
    import traceback  # noqa: PLC0415  slow to import and only needed when something went wrong

    return "".join(traceback.TracebackException.from_exception(exc).format())
