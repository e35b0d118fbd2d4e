"""The `@flow` decorator and the `Flow` it makes."""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, Literal, ParamSpec, Self, overload

from typing_extensions import TypeVar

from flowyard.annotations import NotSet
from flowyard.context import current
from flowyard.engine.calls import call_flow
from flowyard.engine.flow_template import FlowTemplate
from flowyard.engine.tracebacks import hide_engine
from flowyard.engine.visualization import visualize_call
from flowyard.entrypoints import (
    load_flow_from_entrypoint,
    load_flow_from_script,
    load_flows_from_script,
    select_flow,
    start_info,
)
from flowyard.logging.loggers import get_logger
from flowyard.options import check_function, check_hooks, check_name, check_number, check_run_name, is_async_function
from flowyard.parameters.binding import CallSignature, raise_for_reserved_arguments
from flowyard.parameters.schema import ParameterSchema, parameter_schema
from flowyard.parameters.validation import ParameterValidator
from flowyard.results.options import flow_result_options
from flowyard.rules.retries import resolve_delays
from flowyard.schemas.policies import RetryPolicy
from flowyard.schemas.states import State, StateType
from flowyard.settings import get_current_settings
from flowyard.task_runners.base import TaskRunner
from flowyard.task_runners.registry import resolve_task_runner, task_runner_named

__all__ = [
    "Flow",
    "flow",
    "load_flow_from_entrypoint",
    "load_flow_from_script",
    "load_flows_from_script",
    "select_flow",
]

P = ParamSpec("P")
R = TypeVar("R", default=Any)
_RESERVED = ("return_state", "wait_for")
_HOOKS = {
    StateType.COMPLETED: "on_completion",
    StateType.FAILED: "on_failure",
    StateType.CANCELLING: "on_cancellation",
    StateType.CRASHED: "on_crashed",
    StateType.RUNNING: "on_running",
}


class Flow(Generic[P, R]):
    """A function whose calls are recorded as flow runs. Made by `@flow`, which describes the options."""

    def __init__(
        self,
        fn: Callable[P, R],
        name: str | None = None,
        version: str | None = None,
        flow_run_name: str | Callable[[], str] | None = None,
        retries: int | None = None,
        retry_delay_seconds: float | None = None,
        task_runner: TaskRunner | type[TaskRunner] | str | None = None,
        description: str | None = None,
        timeout_seconds: float | None = None,
        validate_parameters: bool = True,
        persist_result: bool | None = None,
        result_storage: Any = None,
        result_serializer: Any = None,
        cache_result_in_memory: bool = True,
        log_prints: bool | None = None,
        on_completion: Sequence[Callable[..., Any]] | None = None,
        on_failure: Sequence[Callable[..., Any]] | None = None,
        on_cancellation: Sequence[Callable[..., Any]] | None = None,
        on_crashed: Sequence[Callable[..., Any]] | None = None,
        on_running: Sequence[Callable[..., Any]] | None = None,
    ) -> None:
        check_function(fn, "flow")
        functools.update_wrapper(self, fn)
        self.fn = fn
        self.isasync = is_async_function(fn)
        if name is not None:
            check_name(name, "flow")
        self.name: str = name if name is not None else getattr(fn, "__name__", type(fn).__name__).replace("_", "-")
        check_name(self.name, "flow")
        self.version = version if version is not None else _version_of(fn)
        self.description = description if description is not None else inspect.getdoc(fn)
        check_run_name(flow_run_name, "flow_run_name")
        self.flow_run_name = flow_run_name
        raise_for_reserved_arguments(fn, _RESERVED)
        self.signature = CallSignature(fn)
        check_number(retries, "retries", whole=True)
        check_number(retry_delay_seconds, "retry_delay_seconds")
        check_number(timeout_seconds, "timeout_seconds")
        self.retries = retries
        self.retry_delay_seconds = retry_delay_seconds
        self.timeout_seconds = float(timeout_seconds) if timeout_seconds else None
        self._task_runner = resolve_task_runner(task_runner)
        self.should_validate_parameters = validate_parameters
        self._validator = ParameterValidator(fn) if validate_parameters else None
        self.persist_result = persist_result
        self.result_storage = result_storage
        self.result_serializer = result_serializer
        self.cache_result_in_memory = cache_result_in_memory
        self.log_prints = log_prints
        self.on_completion = check_hooks(on_completion, "on_completion")
        self.on_failure = check_hooks(on_failure, "on_failure")
        self.on_cancellation = check_hooks(on_cancellation, "on_cancellation")
        self.on_crashed = check_hooks(on_crashed, "on_crashed")
        self.on_running = check_hooks(on_running, "on_running")

    @property
    def task_runner(self) -> TaskRunner:
        """The runner that runs of this flow use a copy of; the setting `FLOWYARD_TASK_RUNNER` where none was given."""
        if self._task_runner is None:
            return task_runner_named(get_current_settings().FLOWYARD_TASK_RUNNER)
        if isinstance(self._task_runner, str):
            return task_runner_named(self._task_runner)
        return self._task_runner

    @functools.cached_property
    def parameters(self) -> ParameterSchema:
        """The parameters as a JSON schema."""
        return parameter_schema(self.fn)

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
        """Run the flow and return its value, or its final state with ``return_state=True``.

        A sync flow blocks. An async flow gives an awaitable, except in a sync flow or task, where it runs to its end.
        Inside a flow run this is a subflow.

        Raises:
            ParameterBindError: the arguments do not fit the function.
            ParameterTypeError: a parameter does not have the annotated type; the run is recorded as Failed.
            BaseException: what the function raised, when no retry is left.
        """
        if current().is_loading:
            get_logger("engine").warning(
                "Flow %r was called while its script is being loaded, and does not run; put the call under "
                '`if __name__ == "__main__":`',
                self.name,
            )
            return None
        parameters = self.signature.bind(args, kwargs)
        tracker = current().tracker
        if tracker is not None:
            return tracker.call(self.name, parameters, is_async=self.isasync, wait_for=wait_for, is_flow=True)
        try:
            return call_flow(self._template(), parameters, wait_for, return_state=return_state)
        except Exception as error:
            hide_engine(error)
            raise

    def _run(self, *args: Any, **kwargs: Any) -> Any:
        """Run the flow and return its final state: what code for early versions of Prefect 2 calls."""
        return self(*args, return_state=True, **kwargs)

    def visualize(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Draw the tasks of the flow and how they depend on each other, as `<name>.png`, and return the graph.

        The flow's own code runs, its tasks do not: they give stand-ins, or their `viz_return_value`. Needs the package
        `graphviz` (`flowyard[viz]`) and the program `dot`. An async flow's graph is awaited where a loop runs.

        Raises:
            FlowVisualizationError: Graphviz is not installed, or the flow's code raised.
            TaskVizReturnValueError: the code looks at the value of a task that has no `viz_return_value`.
        """
        bound_args, bound_kwargs = self.signature.to_call(self.signature.bind(args, kwargs))
        return visualize_call(self.name, self.fn, bound_args, bound_kwargs, is_async=self.isasync)

    def validate_parameters(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters converted to the annotated types.

        Raises:
            ParameterTypeError: names each parameter that does not fit.
        """
        return (self._validator or ParameterValidator(self.fn)).validate(parameters)

    def serialize_parameters(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters as JSON types; what JSON cannot carry becomes the text `<TypeName>`."""
        return {name: _as_json(value) for name, value in parameters.items()}

    def _template(self) -> FlowTemplate:
        settings = get_current_settings()
        parent = current().flow_run
        retries = self.retries if self.retries is not None else settings.FLOWYARD_FLOW_DEFAULT_RETRIES
        delay = self.retry_delay_seconds
        if delay is None:
            delay = settings.FLOWYARD_FLOW_DEFAULT_RETRY_DELAY_SECONDS
        return FlowTemplate(
            flow=self,
            fn=self.fn,
            signature=self.signature,
            name=self.name,
            is_async=self.isasync,
            task_runner=self.task_runner,
            version=self.version,
            policy=RetryPolicy(retries=retries, delays=resolve_delays(retries, delay)),
            timeout_seconds=self.timeout_seconds,
            flow_run_name=self.flow_run_name,
            log_prints=self.log_prints,
            validate=self._validator.validate if self._validator is not None else None,
            serialize=self.serialize_parameters,
            start=start_info(self.fn),
            results=flow_result_options(
                self,
                settings,
                parent=parent.scope.results if parent is not None and parent.scope is not None else None,
                parent_flow=parent.flow if parent is not None else None,
            ),
            hooks={kind: hooks for kind, option in _HOOKS.items() if (hooks := getattr(self, option))},
        )

    # --- copies ---------------------------------------------------------------------------------------------

    def with_options(
        self,
        *,
        name: str | None = None,
        version: str | None = None,
        retries: int | None = None,
        retry_delay_seconds: float | None = None,
        description: str | None = None,
        flow_run_name: str | Callable[[], str] | None = None,
        task_runner: TaskRunner | type[TaskRunner] | str | None = None,
        timeout_seconds: float | None = None,
        validate_parameters: bool | None = None,
        persist_result: bool | type[NotSet] | None = NotSet,
        result_storage: Any = NotSet,
        result_serializer: Any = NotSet,
        cache_result_in_memory: bool | None = None,
        log_prints: bool | type[NotSet] | None = NotSet,
        on_completion: Sequence[Callable[..., Any]] | None = None,
        on_failure: Sequence[Callable[..., Any]] | None = None,
        on_cancellation: Sequence[Callable[..., Any]] | None = None,
        on_crashed: Sequence[Callable[..., Any]] | None = None,
        on_running: Sequence[Callable[..., Any]] | None = None,
    ) -> Self:
        """Return a copy of the flow with the given options; what is not given stays as it is.

        For results and prints, None means "the default", which is not the same as leaving it away.
        """
        kept = self._options()
        changed = {
            "name": name,
            "version": version,
            "retries": retries,
            "retry_delay_seconds": retry_delay_seconds,
            "description": description,
            "flow_run_name": flow_run_name,
            "task_runner": task_runner,
            "timeout_seconds": timeout_seconds,
            "validate_parameters": validate_parameters,
            "cache_result_in_memory": cache_result_in_memory,
            "on_completion": on_completion,
            "on_failure": on_failure,
            "on_cancellation": on_cancellation,
            "on_crashed": on_crashed,
            "on_running": on_running,
        }
        kept.update({option: value for option, value in changed.items() if value is not None})
        nullable = {
            "persist_result": persist_result,
            "result_storage": result_storage,
            "result_serializer": result_serializer,
            "log_prints": log_prints,
        }
        kept.update({option: value for option, value in nullable.items() if value is not NotSet})
        return type(self)(self.fn, **kept)

    def _options(self) -> dict[str, Any]:
        options: dict[str, Any] = {}
        for name in inspect.signature(Flow.__init__).parameters:
            if name == "task_runner":
                options[name] = self._task_runner
            elif name == "validate_parameters":
                options[name] = self.should_validate_parameters
            elif name in _HOOKS.values():
                options[name] = getattr(self, name) or None
            elif name not in ("self", "fn"):
                options[name] = getattr(self, name)
        return options

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_flow, (type(self), self.fn, self._options())

    def __repr__(self) -> str:
        return f"<Flow {self.name!r}>"


def _rebuild_flow(cls: type[Flow[Any, Any]], fn: Callable[..., Any], options: dict[str, Any]) -> Flow[Any, Any]:
    return cls(fn, **options)


def _version_of(fn: Callable[..., Any]) -> str | None:
    """Return the hash of the file that holds the function; None where there is no file (a console, a notebook)."""
    try:
        path = inspect.getsourcefile(inspect.unwrap(fn))
    except TypeError:
        return None
    if path is None or not Path(path).is_file():
        return None
    return _file_hash(path)


@functools.lru_cache(maxsize=256)  # a module with a hundred flows is read once; a changed file is a new process
def _file_hash(path: str) -> str:
    return hashlib.md5(Path(path).read_bytes(), usedforsecurity=False).hexdigest()


def _as_json(value: Any) -> Any:
    if value is None or value.__class__ in (str, int, bool):
        return value
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError, RecursionError):
        pass
    from pydantic_core import PydanticSerializationError, to_jsonable_python  # noqa: PLC0415  40 ms; plain JSON needs none

    try:
        return to_jsonable_python(value)
    except (PydanticSerializationError, ValueError, RecursionError):
        return f"<{type(value).__name__}>"


@overload
def flow(fn: Callable[P, R], /) -> Flow[P, R]: ...
@overload
def flow(
    *,
    name: str | None = None,
    version: str | None = None,
    flow_run_name: str | Callable[[], str] | None = None,
    retries: int | None = None,
    retry_delay_seconds: float | None = None,
    task_runner: TaskRunner | type[TaskRunner] | str | None = None,
    description: str | None = None,
    timeout_seconds: float | None = None,
    validate_parameters: bool = True,
    persist_result: bool | None = None,
    result_storage: Any = None,
    result_serializer: Any = None,
    cache_result_in_memory: bool = True,
    log_prints: bool | None = None,
    on_completion: Sequence[Callable[..., Any]] | None = None,
    on_failure: Sequence[Callable[..., Any]] | None = None,
    on_cancellation: Sequence[Callable[..., Any]] | None = None,
    on_crashed: Sequence[Callable[..., Any]] | None = None,
    on_running: Sequence[Callable[..., Any]] | None = None,
) -> Callable[[Callable[P, R]], Flow[P, R]]: ...


def flow(fn: Callable[..., Any] | None = None, /, **options: Any) -> Any:  # noqa: D417  the overloads name the options
    """Make a function a flow; use it bare or with options.

    Args:
        fn: the function, sync or async.
        name: default: the function's name with `-` for `_`. The state backend knows a flow by its name.
        version: default: a hash of the file that holds the function.
        flow_run_name: a template over the parameters, or a function without arguments; default: two random words.
        retries: how often a run that failed is tried again from the top; tasks that completed and kept their result
        are not
            executed again.
        retry_delay_seconds: seconds before each retry.
        task_runner: where submitted tasks execute: a runner, its class, or its name; default: the setting
            `FLOWYARD_TASK_RUNNER` (`concurrent`).
        description: default: the docstring.
        timeout_seconds: a run that takes longer fails as TimedOut.
        validate_parameters: convert parameters to their annotated types, and refuse what does not fit.
        persist_result: keep the flow's result in storage; None: only where a feature needs it.
        result_storage: where the results of the flow and its tasks are kept.
        result_serializer: how they are written.
        cache_result_in_memory: keep values in memory as well.
        log_prints: turn `print` into log lines, in the flow and its tasks.
        on_completion: functions `(flow, flow_run, state)` to call when a run completed.
        on_failure: ... when a run failed, with no retry left.
        on_cancellation: ... when a run is being cancelled.
        on_crashed: ... when a run crashed.
        on_running: ... when a run begins, and at each retry.
    """
    if fn is None:
        return functools.partial(Flow, **options)
    return Flow(fn, **options)
