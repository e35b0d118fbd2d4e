"""What tasks ask of Ray: `remote_options` around submissions, or on a task's function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import Context, ContextVar, Token
from types import MappingProxyType, TracebackType
from typing import Any, Self, TypeVar

from flowyard_ray.api import ray

F = TypeVar("F", bound=Callable[..., Any])
Options = Mapping[str, Any]

_NONE: Options = MappingProxyType({})
# Like tags, options belong to who submits, not to the process: threads and event loops must not see each other's.
_current: ContextVar[Options] = ContextVar("flowyard_ray_remote_options", default=_NONE)
_ATTRIBUTE = "__flowyard_ray_options__"
MAX_CALLS = "max_calls"
_OURS = {
    "num_returns": "Flowyard decides how a value comes back",
    "name": "set `task_run_name` on the task instead",
    "retry_exceptions": "set `retries` on the task instead",
}


class remote_options:  # noqa: N801  the name users know
    """Ask Ray for resources: ``with remote_options(num_cpus=2, resources={"special": 1}):`` around submissions.

    Blocks nest: the inner one wins, option by option. ``@remote_options(num_gpus=1)`` below ``@task`` says it for
    every call of one task; a block around the submission wins over that.

    Options are those of ``ray.remote``: ``num_cpus``, ``num_gpus``, ``resources``, ``memory``, ``scheduling_strategy``,
    ``accelerator_type``, ``runtime_env``, ... ``max_retries`` is how often a call whose worker died is executed
    again; each time is recorded and logged, and a call that completed never is. ``max_calls`` is how many calls a
    worker process executes before it ends; 1 for calls with GPUs, whose memory a process would keep, unless given.

    Raises:
        ValueError: Ray does not know an option or its value, or the option would break the records of runs.
    """

    def __init__(self, **options: Any) -> None:
        for name, reason in _OURS.items():
            if name in options:
                raise ValueError(f"remote_options({name}={options[name]!r}) cannot be set: {reason}")
        _check(options)
        self._options = options
        self._tokens: list[Token[Options]] = []

    def __enter__(self) -> None:
        self._tokens.append(_current.set({**_current.get(), **self._options}))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _current.reset(self._tokens.pop())

    def __call__(self, fn: F) -> F:
        """Attach the options to the function of a task."""
        if hasattr(fn, "submit") or not callable(fn):
            raise TypeError(f"@remote_options(...) stands below @task, on the function itself; it got {fn!r}")
        setattr(fn, _ATTRIBUTE, {**self._options, **getattr(fn, _ATTRIBUTE, {})})
        return fn


class RemoteOptionsContext:
    """The options that are in force where it is asked for."""

    def __init__(self, current_remote_options: Mapping[str, Any] | None = None) -> None:
        self.current_remote_options: dict[str, Any] = dict(current_remote_options or {})

    @classmethod
    def get(cls) -> Self:
        """Return what `remote_options` set here; empty outside of it."""
        return cls(_current.get())


def options_of_call(fn: Callable[..., Any], context: Context | None) -> Options:
    """Return the options of a call: those in force where it was submitted, over those of its function.

    Calls that were submitted in one block mostly get the same object, so that what is made from it can be found again.
    """
    around = _current.get() if context is None else context.get(_current, _NONE)
    own: Options | None = getattr(fn, _ATTRIBUTE, None)
    if own is None:
        return around
    return own if not around else {**own, **around}


def max_calls_of(options: Options) -> int:
    """Return how many calls a worker process executes before it ends; 0 for any number. As Ray has it."""
    given: int | None = options.get(MAX_CALLS)
    return given if given is not None else int((options.get("num_gpus") or 0) > 0)


def _check(options: Mapping[str, Any]) -> None:
    """Have Ray look at the options now, where the user wrote them, and not at the first submission."""
    try:
        ray.remote(_nothing).options(**{name: value for name, value in options.items() if name != MAX_CALLS})
        if MAX_CALLS in options:  # Ray takes it at the definition of a function only
            ray.remote(max_calls=options[MAX_CALLS])(_nothing)
    except (TypeError, ValueError) as error:
        raise ValueError(f"remote_options({', '.join(f'{k}={v!r}' for k, v in options.items())}): {error}") from error


def _nothing() -> None:
    pass
