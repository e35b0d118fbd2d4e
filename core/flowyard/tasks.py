"""The `@task` decorator and the `Task` it makes."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import Any, Generic, Literal, ParamSpec, Self, overload

from typing_extensions import TypeVar

from flowyard.annotations import NotSet
from flowyard.cache_policies import CachePolicy, policy_of, task_input_hash
from flowyard.context import current
from flowyard.duality import returns_awaitable
from flowyard.engine.batching import BatchSize
from flowyard.engine.calls import Submitter, call_task_now
from flowyard.engine.prepared import TaskTemplate
from flowyard.engine.tracebacks import hide_engine
from flowyard.futures.future import AsyncFlowyardFuture, FlowyardFuture
from flowyard.futures.sequences import states_of, states_of_async
from flowyard.options import (
    check_cache_expiration,
    check_function,
    check_hooks,
    check_name,
    check_number,
    check_run_name,
    is_async_function,
)
from flowyard.parameters.binding import CallSignature, raise_for_reserved_arguments
from flowyard.results.fingerprints import code_digest
from flowyard.rules.retries import exponential_backoff, resolve_delays
from flowyard.schemas.states import State
from flowyard.task_mapping import map_calls
from flowyard.task_runners.base import TaskRunner
from flowyard.task_runners.registry import resolve_task_runner
from flowyard.task_templates import runner_named, task_template

__all__ = ["Task", "exponential_backoff", "task", "task_input_hash"]

P = ParamSpec("P")
R = TypeVar("R", default=Any)
Hook = TypeVar("Hook", bound=Callable[..., Any])
RetryDelay = float | int | Sequence[float] | Callable[[int], Sequence[float]]
_RESERVED = ("return_state", "wait_for")


class Task(Generic[P, R]):
    """A function whose calls are recorded as task runs. Made by `@task`, which describes the options."""

    def __init__(
        self,
        fn: Callable[P, R],
        name: str | None = None,
        description: str | None = None,
        tags: Iterable[str] | None = None,
        version: str | None = None,
        cache_key_fn: Callable[..., str | None] | None = None,
        cache_expiration: timedelta | None = None,
        task_run_name: str | Callable[[], str] | None = None,
        retries: int | None = None,
        retry_delay_seconds: RetryDelay | None = None,
        retry_jitter_factor: float | None = None,
        persist_result: bool | None = None,
        result_storage: Any = None,
        result_serializer: Any = None,
        result_storage_key: str | None = None,
        cache_result_in_memory: bool = True,
        timeout_seconds: float | None = None,
        log_prints: bool | None = None,
        refresh_cache: bool | None = None,
        on_completion: Sequence[Callable[..., Any]] | None = None,
        on_failure: Sequence[Callable[..., Any]] | None = None,
        retry_condition_fn: Callable[..., Any] | None = None,
        viz_return_value: Any = None,
        crash_retries: int | None = None,
        task_runner: TaskRunner | type[TaskRunner] | str | None = None,
        cache_policy: CachePolicy | None = None,
        cache_lock: bool = False,
    ) -> None:
        check_function(fn, "task")
        functools.update_wrapper(self, fn)
        self.fn = fn
        self.isasync = is_async_function(fn)
        self.name: str = name if name is not None else getattr(fn, "__name__", type(fn).__name__)
        check_name(self.name, "task")
        self.description = description if description is not None else inspect.getdoc(fn)
        if isinstance(tags, str):
            raise TypeError(f"tags={tags!r} must be a list of strings, such as `tags=[{tags!r}]`")
        self.tags = frozenset(tags or ())
        self.version = version
        raise_for_reserved_arguments(fn, _RESERVED)
        self.signature = CallSignature(fn)
        self.task_key = task_key_of(fn)
        self.cache_key_fn = cache_key_fn
        self.cache_policy = cache_policy
        self.key_policy = policy_of(cache_policy, cache_key_fn, self.signature.names)
        """How cache keys are made, whichever option said so; None for no cache."""
        check_cache_expiration(cache_expiration)
        self.cache_expiration = cache_expiration
        self.refresh_cache = refresh_cache
        self.cache_lock = cache_lock
        check_run_name(task_run_name, "task_run_name")
        self.task_run_name = task_run_name
        check_number(retries, "retries", whole=True)
        check_number(crash_retries, "crash_retries", whole=True)
        check_number(retry_jitter_factor, "retry_jitter_factor")
        check_number(timeout_seconds, "timeout_seconds")
        self.retries = retries
        self.crash_retries = crash_retries
        self.retry_delay_seconds = retry_delay_seconds
        self.retry_jitter_factor = retry_jitter_factor
        if retry_delay_seconds is not None:
            resolve_delays(retries or 0, retry_delay_seconds)  # refused here, where the user wrote it
        self.timeout_seconds = float(timeout_seconds) if timeout_seconds else None
        self.persist_result = persist_result
        self.result_storage = result_storage
        self.result_serializer = result_serializer
        self.result_storage_key = result_storage_key
        self.cache_result_in_memory = cache_result_in_memory
        self.log_prints = log_prints
        self.on_completion = check_hooks(on_completion, "on_completion")
        self.on_failure = check_hooks(on_failure, "on_failure")
        if retry_condition_fn is not None and not callable(retry_condition_fn):
            raise TypeError(
                f"retry_condition_fn={retry_condition_fn!r} must be a function (task, task_run, state) -> bool"
            )
        self.on_commit_hooks: list[Callable[[Any], Any]] = []
        self.on_rollback_hooks: list[Callable[[Any], Any]] = []
        self.retry_condition_fn = retry_condition_fn
        self.viz_return_value = viz_return_value
        self.task_runner = resolve_task_runner(task_runner)

    # --- transactions ---------------------------------------------------------------------------------------

    def on_commit(self, hook: Hook) -> Hook:
        """Have `hook(transaction)` called for each run of the task whose transaction commits; use as a decorator."""
        check_hooks([hook], "on_commit")
        self.on_commit_hooks.append(hook)
        return hook

    def on_rollback(self, hook: Hook) -> Hook:
        """Have `hook(transaction)` called for each run of the task that is rolled back; use as a decorator."""
        check_hooks([hook], "on_rollback")
        self.on_rollback_hooks.append(hook)
        return hook

    # --- calling --------------------------------------------------------------------------------------------

    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    def __call__(
        self, *args: Any, return_state: Literal[True], wait_for: Iterable[Any] | None = None, **kwargs: Any
    ) -> State[R]: ...
    @overload
    def __call__(
        self, *args: Any, wait_for: Iterable[Any] | None, return_state: Literal[False] = False, **kwargs: Any
    ) -> R: ...

    def __call__(
        self, *args: Any, return_state: bool = False, wait_for: Iterable[Any] | None = None, **kwargs: Any
    ) -> Any:
        """Run the task and return its value, or its state with ``return_state=True``.

        Arguments may be futures and states of other runs, however nested: their values are passed. The run starts
        when those and the ones in `wait_for` are completed. An async task gives an awaitable, except in a sync flow
        or task.

        Raises:
            ParameterBindError: the arguments do not fit the function.
            BaseException: what the function raised, when no retry is left.
        """
        parameters = self.signature.bind(args, kwargs)
        tracker = current().tracker
        if tracker is not None:
            return tracker.call(self.name, parameters, **self._drawn(wait_for))
        try:
            return call_task_now(self._template(), parameters, wait_for, return_state=return_state)
        except Exception as error:
            hide_engine(error)
            raise

    def _run(self, *args: Any, **kwargs: Any) -> Any:
        """Run the task and return its final state: what code for early versions of Prefect 2 calls."""
        return self(*args, return_state=True, **kwargs)

    def submit(
        self,
        *args: Any,
        return_state: bool = False,
        wait_for: Iterable[Any] | None = None,
        task_runner: TaskRunner | type[TaskRunner] | str | None = None,
        **kwargs: Any,
    ) -> Any:
        """Hand the call to a task runner (the flow's, or `task_runner`) and return a future at once.

        In an async flow the future of an async task is awaited (``await future.result()``); all others block. With
        ``return_state=True`` the run is waited for, and its state returned.

        Raises:
            ParameterBindError: the arguments do not fit the function.
            MissingContextError: this is not inside a flow.
        """
        parameters = self.signature.bind(args, kwargs)
        tracker = current().tracker
        if tracker is not None:
            return tracker.submit(self.name, parameters, **self._drawn(wait_for))
        submitter = Submitter(self._template(), self._future_class(), _started_elsewhere(task_runner))
        future = submitter.submit(parameters, wait_for)
        if return_state:
            return future.wait()
        return future

    def map(
        self,
        *args: Any,
        return_state: bool = False,
        wait_for: Iterable[Any] | None = None,
        task_runner: TaskRunner | type[TaskRunner] | str | None = None,
        window: int | None = None,
        batch_size: BatchSize | None = None,
        **kwargs: Any,
    ) -> Any:
        """Submit the task once for each item of the iterables among the arguments, and return the futures in order.

        Everything iterable is mapped over, except text, bytes, files, and what is wrapped in `unmapped`; other values
        are passed to every call. Parameters that are not given keep their defaults. A parameter of the function that
        has the name of an option here is the function's.

        Args:
            args: positional arguments of the task.
            return_state: wait, and return the states.
            wait_for: futures and states that every call waits for.
            task_runner: where the calls execute, if not where the flow's do.
            window: pull inputs at most this far ahead of what is done, and return a stream that is iterated once; so
                it is with iterators, which have no length.
            batch_size: how many calls a cluster executes as one piece of work; "auto" aims at 100 ms by what the first
                ones take, at more where the runner says so and there are many.
            kwargs: keyword arguments of the task.

        Raises:
            MappingMissingIterable: there is nothing to iterate over.
            MappingLengthMismatch: the iterables have different lengths.
            MissingContextError: this is not inside a flow.
        """
        options: dict[str, Any] = {"task_runner": task_runner, "window": window, "batch_size": batch_size}
        for name, value in options.items():
            if value is not None and name in self.signature.names:
                kwargs[name] = value
                options[name] = None
        given, defaults = self._given_parameters(args, kwargs)
        tracker = current().tracker
        if tracker is not None:
            return tracker.map(self.name, given, **self._drawn(wait_for))
        future_class = self._future_class()
        submitter = Submitter(self._template(), future_class, _started_elsewhere(options["task_runner"]))
        futures = map_calls(
            submitter,
            self.signature,
            given,
            defaults,
            wait_for=wait_for,
            window=options["window"],
            batch_size=options["batch_size"],
        )
        if return_state:
            return states_of_async(futures) if future_class is AsyncFlowyardFuture else list(states_of(futures))
        return futures

    def _drawn(self, wait_for: Iterable[Any] | None) -> dict[str, Any]:
        """Return what `flow.visualize()` needs to know of a call beside its parameters."""
        return {"is_async": self.isasync, "wait_for": wait_for, "return_value": self.viz_return_value}

    def _given_parameters(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Split the parameters of a call into those that were given and those that keep their defaults."""
        bound = self.signature.bind(args, kwargs)
        given_names = set(self.signature.signature.bind(*args, **kwargs).arguments)
        given = {name: value for name, value in bound.items() if name in given_names}
        return given, {name: value for name, value in bound.items() if name not in given_names}

    def _future_class(self) -> type[FlowyardFuture[Any]]:
        return AsyncFlowyardFuture if returns_awaitable(self.isasync) else FlowyardFuture

    # --- the engine's view ----------------------------------------------------------------------------------

    def _template(self) -> TaskTemplate:
        """Return what the engine needs to know; made once per flow run, on whose options and settings it depends."""
        here = current()
        run = here.task_run or here.flow_run
        scope = run.scope if run is not None else None
        if scope is None:
            return task_template(self, None, None)
        template = scope.templates.get(self)
        if template is None:
            template = scope.templates[self] = task_template(self, scope, here.flow_run)
        return template

    # --- copies ---------------------------------------------------------------------------------------------

    def with_options(
        self,
        *,
        name: str | None = None,
        description: str | None = None,
        tags: Iterable[str] | None = None,
        version: str | None = None,
        cache_key_fn: Callable[..., str | None] | None = None,
        cache_expiration: timedelta | None = None,
        task_run_name: str | Callable[[], str] | None = None,
        retries: int | type[NotSet] | None = NotSet,
        retry_delay_seconds: RetryDelay | type[NotSet] | None = NotSet,
        retry_jitter_factor: float | type[NotSet] | None = NotSet,
        persist_result: bool | type[NotSet] | None = NotSet,
        result_storage: Any = NotSet,
        result_serializer: Any = NotSet,
        result_storage_key: str | type[NotSet] | None = NotSet,
        cache_result_in_memory: bool | None = None,
        timeout_seconds: float | None = None,
        log_prints: bool | type[NotSet] | None = NotSet,
        refresh_cache: bool | type[NotSet] | None = NotSet,
        on_completion: Sequence[Callable[..., Any]] | None = None,
        on_failure: Sequence[Callable[..., Any]] | None = None,
        retry_condition_fn: Callable[..., Any] | None = None,
        viz_return_value: Any = None,
        crash_retries: int | type[NotSet] | None = NotSet,
        task_runner: TaskRunner | type[TaskRunner] | str | type[NotSet] | None = NotSet,
        cache_policy: CachePolicy | type[NotSet] | None = NotSet,
        cache_lock: bool | None = None,
    ) -> Self:
        """Return a copy of the task with the given options; what is not given stays as it is.

        For retries, results, prints and the cache, None means "the default", which is not the same as leaving it away.
        """
        kept = self._options()
        changed = {
            "name": name,
            "description": description,
            "tags": tags,
            "version": version,
            "cache_key_fn": cache_key_fn,
            "cache_expiration": cache_expiration,
            "cache_lock": cache_lock,
            "task_run_name": task_run_name,
            "cache_result_in_memory": cache_result_in_memory,
            "timeout_seconds": timeout_seconds,
            "on_completion": on_completion,
            "on_failure": on_failure,
            "retry_condition_fn": retry_condition_fn,
            "viz_return_value": viz_return_value,
        }
        kept.update({option: value for option, value in changed.items() if value is not None})
        nullable = {
            "retries": retries,
            "retry_delay_seconds": retry_delay_seconds,
            "retry_jitter_factor": retry_jitter_factor,
            "persist_result": persist_result,
            "result_storage": result_storage,
            "result_serializer": result_serializer,
            "result_storage_key": result_storage_key,
            "log_prints": log_prints,
            "refresh_cache": refresh_cache,
            "crash_retries": crash_retries,
            "task_runner": task_runner,
            "cache_policy": cache_policy,
        }
        # They say the same in two ways, and the new one counts.
        if cache_key_fn is not None:
            kept["cache_policy"] = None
        elif cache_policy is not NotSet:
            kept["cache_key_fn"] = None
        kept.update({option: value for option, value in nullable.items() if value is not NotSet})
        copy = type(self)(self.fn, **kept)
        copy.on_commit_hooks, copy.on_rollback_hooks = [*self.on_commit_hooks], [*self.on_rollback_hooks]
        return copy

    def _options(self) -> dict[str, Any]:
        options = {
            name: getattr(self, name)
            for name in inspect.signature(Task.__init__).parameters
            if name not in ("self", "fn")
        }
        # An empty list of hooks is refused, and stands here for "none".
        return options | {name: options[name] or None for name in ("on_completion", "on_failure")}

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_task, (type(self), self.fn, self._options())

    def __repr__(self) -> str:
        return f"<Task {self.name!r}>"


def _started_elsewhere(runner: TaskRunner | type[TaskRunner] | str | None) -> TaskRunner | None:
    """Return the runner that one call asks for; None, the common case, is the flow's."""
    return None if runner is None else runner_named(resolve_task_runner(runner))


def _rebuild_task(cls: type[Task[Any, Any]], fn: Callable[..., Any], options: dict[str, Any]) -> Task[Any, Any]:
    return cls(fn, **options)


def task_key_of(fn: Callable[..., Any]) -> str:
    """Return what identifies a task across runs: its function's name and a hash of its code, equal in all processes."""
    function = inspect.unwrap(fn)
    if not hasattr(function, "__code__"):
        return f"{type(fn).__module__}.{type(fn).__qualname__}"
    return f"{getattr(fn, '__name__', 'task')}-{code_digest(function).hex()[:8]}"


# --- the decorator --------------------------------------------------------------------------------------------------


@overload
def task(fn: Callable[P, R], /) -> Task[P, R]: ...
@overload
def task(
    *,
    name: str | None = None,
    description: str | None = None,
    tags: Iterable[str] | None = None,
    version: str | None = None,
    cache_key_fn: Callable[..., str | None] | None = None,
    cache_expiration: timedelta | None = None,
    task_run_name: str | Callable[[], str] | None = None,
    retries: int | None = None,
    retry_delay_seconds: RetryDelay | None = None,
    retry_jitter_factor: float | None = None,
    persist_result: bool | None = None,
    result_storage: Any = None,
    result_storage_key: str | None = None,
    result_serializer: Any = None,
    cache_result_in_memory: bool = True,
    timeout_seconds: float | None = None,
    log_prints: bool | None = None,
    refresh_cache: bool | None = None,
    on_completion: Sequence[Callable[..., Any]] | None = None,
    on_failure: Sequence[Callable[..., Any]] | None = None,
    retry_condition_fn: Callable[..., Any] | None = None,
    viz_return_value: Any = None,
    crash_retries: int | None = None,
    task_runner: TaskRunner | type[TaskRunner] | str | None = None,
    cache_policy: CachePolicy | None = None,
    cache_lock: bool = False,
) -> Callable[[Callable[P, R]], Task[P, R]]: ...


def task(fn: Callable[..., Any] | None = None, /, **options: Any) -> Any:  # noqa: D417  the overloads name the options
    """Make a function a task; use it bare or with options.

    Args:
        fn: the function, sync or async.
        name: default: the function's name.
        description: default: the docstring.
        tags: tags of every run, in addition to those of `with tags(...)`.
        version: free text, stored with every run.
        cache_key_fn: `(context, parameters) -> key or None`; a run whose key was seen before is not executed again.
        cache_expiration: how long a cached result counts; None for ever.
        cache_policy: of what a key is made instead: the policies of `flowyard.cache_policies`, such as ``INPUTS``.
        cache_lock: of equal calls that run at once, one executes, and the others wait for its value.
        task_run_name: a template over the parameters, or a function without arguments.
        retries: how often a run that raised is tried again.
        retry_delay_seconds: seconds before each retry: a number, a list (the last one repeats), or a function of the
            number of retries that returns a list, such as `exponential_backoff(10)`.
        retry_jitter_factor: spreads the delays: up to `(1 + factor)` times as long, the mean stays.
        persist_result: keep results in storage; None: only where a feature needs it.
        result_storage: where results are kept.
        result_storage_key: a template for the place of a result.
        result_serializer: how results are written.
        cache_result_in_memory: keep the value in memory as well.
        timeout_seconds: a run that takes longer fails as TimedOut.
        log_prints: turn `print` into log lines; None: as the flow does.
        refresh_cache: run and overwrite the cached result.
        on_completion: functions `(task, task_run, state)` to call when a run completed.
        on_failure: functions `(task, task_run, state)` to call when a run failed, with no retry left.
        retry_condition_fn: `(task, task_run, state) -> bool`: whether a failed run shall be retried.
        viz_return_value: what the task returns in `flow.visualize()`.
        crash_retries: how often a run whose worker died is executed again; errors of the function never use this.
        task_runner: where runs of this task execute, if not where the flow's other tasks do: a runner, its class or
            its name.
    """
    if fn is None:
        return functools.partial(Task, **options)
    return Task(fn, **options)
