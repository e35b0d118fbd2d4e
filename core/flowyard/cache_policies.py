"""What makes two calls of a task the same, for `@task(cache_policy=...)`.

Policies add up (``INPUTS + TASK_SOURCE``), and arguments that do not matter are taken away (``INPUTS - "verbose"``). A
key that a policy makes belongs to its task: another task never has the same one. Only a `cache_key_fn` can make keys
that several tasks share.
"""

from __future__ import annotations

import hashlib
import inspect
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from types import CodeType, FunctionType, SimpleNamespace
from typing import Any, NamedTuple, cast

from typing_extensions import override

from flowyard.results.fingerprints import code_digest, fingerprint

__all__ = [
    "DEFAULT",
    "FLOW_PARAMETERS",
    "INPUTS",
    "NONE",
    "NO_CACHE",
    "RUN_ID",
    "TASK_SOURCE",
    "CacheKeyFnPolicy",
    "CachePolicy",
    "CompoundCachePolicy",
    "FlowParameters",
    "Inputs",
    "KeyComponent",
    "NoCache",
    "RunId",
    "TaskSource",
    "task_input_hash",
]

_TASK = "task"


class KeyComponent(NamedTuple):
    """A part of a cache key: what `flowyard cache explain` compares."""

    name: str
    hash: str | None
    """None when it cannot be told; then the call has no key, and is not cached."""
    reason: str | None = None
    """Why there is no hash."""


@dataclass(frozen=True)
class CachePolicy:
    """A way to make the cache key of a task run. A subclass overrides `components`, or `compute_key` alone."""

    def components(
        self, task_ctx: Any, inputs: Mapping[str, Any], flow_parameters: Mapping[str, Any]
    ) -> Sequence[KeyComponent]:
        """Return the parts of the key; no parts mean no key.

        Args:
            task_ctx: the `TaskRunContext` of the call.
            inputs: its arguments by name, futures resolved.
            flow_parameters: the parameters of its flow run; empty outside of a flow.
        """
        key = self.compute_key(task_ctx, dict(inputs), dict(flow_parameters))
        return [] if key is None else [KeyComponent(type(self).__name__, key)]

    def compute_key(
        self, task_ctx: Any, inputs: dict[str, Any], flow_parameters: dict[str, Any], **kwargs: Any
    ) -> str | None:
        """Return the key, or None when the call is not to be cached."""
        del kwargs
        if type(self).components is CachePolicy.components:
            raise NotImplementedError(f"{type(self).__name__} overrides neither `components` nor `compute_key`")
        return key_of(task_ctx, self.components(task_ctx, inputs, flow_parameters))

    def excluded(self) -> frozenset[str]:
        """Return the names of arguments that were taken away."""
        return frozenset()

    @staticmethod
    def from_cache_key_fn(cache_key_fn: Callable[..., str | None]) -> CacheKeyFnPolicy:
        """Return a policy whose key is what a function ``(context, arguments) -> str | None`` returns."""
        return CacheKeyFnPolicy(cache_key_fn)

    def __add__(self, other: CachePolicy) -> CachePolicy:
        if not isinstance(other, CachePolicy):  # pyright: ignore[reportUnnecessaryIsInstance]  users may add anything
            return NotImplemented
        if isinstance(other, NoCache):
            return self
        return CompoundCachePolicy((*_parts(self), *_parts(other)))

    def __sub__(self, name: str) -> CachePolicy:
        """Return the policy without an argument.

        Raises:
            ValueError: the policy does not look at arguments.
        """
        raise ValueError(f"{self!r} does not look at arguments, so {name!r} cannot be taken away from it; add INPUTS")


def key_of(task_ctx: Any, components: Sequence[KeyComponent]) -> str | None:
    """Return the key that components add up to; None when there are none, or one of them is not known."""
    if not components or any(component.hash is None for component in components):
        return None
    if len(components) == 1 and components[0].name == CacheKeyFnPolicy.component:
        return components[0].hash
    names_task = components[0].name == _TASK
    digest = hashlib.blake2b(b"" if names_task else _task_name(task_ctx.task.fn).encode(), digest_size=16)
    for component in components:
        digest.update(f"\n{len(component.name)}:{component.name}={component.hash}".encode())
    return digest.hexdigest()


@dataclass(frozen=True)
class Inputs(CachePolicy):
    """The arguments of the call, all but the excluded ones."""

    exclude: Sequence[str] = ()

    @override
    def components(
        self, task_ctx: Any, inputs: Mapping[str, Any], flow_parameters: Mapping[str, Any]
    ) -> Sequence[KeyComponent]:
        return _hashed("inputs", {name: value for name, value in inputs.items() if name not in self.exclude})

    @override
    def excluded(self) -> frozenset[str]:
        return frozenset(self.exclude)

    @override
    def __sub__(self, name: str) -> CachePolicy:
        _check_name(name)
        return replace(self, exclude=tuple(sorted({*self.exclude, name})))


@dataclass(frozen=True)
class TaskSource(CachePolicy):
    """The task's own code: instructions, constants and outer variables, not comments, nor the functions it calls.

    Outer variables are those of functions around the task; globals of its module do not count.
    """

    @override
    def components(
        self, task_ctx: Any, inputs: Mapping[str, Any], flow_parameters: Mapping[str, Any]
    ) -> Sequence[KeyComponent]:
        return _source_parts(task_ctx.task.fn)


@dataclass(frozen=True)
class FlowParameters(CachePolicy):
    """The parameters of the flow run."""

    @override
    def components(
        self, task_ctx: Any, inputs: Mapping[str, Any], flow_parameters: Mapping[str, Any]
    ) -> Sequence[KeyComponent]:
        return _hashed("flow_parameters", flow_parameters)


@dataclass(frozen=True)
class RunId(CachePolicy):
    """The flow run: a value counts only inside of it, for retries and repeated calls. Elsewhere, the task run."""

    @override
    def components(
        self, task_ctx: Any, inputs: Mapping[str, Any], flow_parameters: Mapping[str, Any]
    ) -> Sequence[KeyComponent]:
        run = task_ctx.task_run
        return [KeyComponent("run_id", str(run.flow_run_id or run.id))]


@dataclass(frozen=True)
class CacheKeyFnPolicy(CachePolicy):
    """The key that a function returns; the same key in another task is the same key."""

    component = "cache_key_fn"
    cache_key_fn: Callable[..., str | None]

    @override
    def components(
        self, task_ctx: Any, inputs: Mapping[str, Any], flow_parameters: Mapping[str, Any]
    ) -> Sequence[KeyComponent]:
        explained = getattr(self.cache_key_fn, "components", None)
        key = self.cache_key_fn(task_ctx, dict(inputs))
        if key is None:
            # A key function of ours says which argument is to blame.
            parts: Iterable[KeyComponent] = () if explained is None else explained(task_ctx, inputs)
            return [part for part in parts if part.hash is None]
        if not isinstance(key, str):  # pyright: ignore[reportUnnecessaryIsInstance]  it is the user's function
            raise TypeError(f"cache_key_fn {self.cache_key_fn!r} returned {key!r}: it must return a string or None")
        return [KeyComponent(self.component, key)]


@dataclass(frozen=True)
class CompoundCachePolicy(CachePolicy):
    """Several policies: calls are the same where all of them say so."""

    policies: Sequence[CachePolicy] = ()

    @override
    def components(
        self, task_ctx: Any, inputs: Mapping[str, Any], flow_parameters: Mapping[str, Any]
    ) -> Sequence[KeyComponent]:
        parts: dict[str, KeyComponent] = {}
        for policy in self.policies:
            made = policy.components(task_ctx, inputs, flow_parameters)
            if not made:
                return []
            parts.update({part.name: part for part in made})
        return list(parts.values())

    @override
    def excluded(self) -> frozenset[str]:
        return frozenset[str]().union(*(policy.excluded() for policy in self.policies))

    @override
    def __sub__(self, name: str) -> CachePolicy:
        if not any(isinstance(policy, Inputs) for policy in self.policies):
            return super().__sub__(name)
        return replace(
            self, policies=tuple(policy - name if isinstance(policy, Inputs) else policy for policy in self.policies)
        )


@dataclass(frozen=True)
class NoCache(CachePolicy):
    """Every call executes."""

    @override
    def components(
        self, task_ctx: Any, inputs: Mapping[str, Any], flow_parameters: Mapping[str, Any]
    ) -> Sequence[KeyComponent]:
        return []

    @override
    def __add__(self, other: CachePolicy) -> CachePolicy:
        return other


def _parts(policy: CachePolicy) -> Sequence[CachePolicy]:
    return policy.policies if isinstance(policy, CompoundCachePolicy) else (policy,)


def _check_name(name: object) -> None:
    if not isinstance(name, str):
        raise TypeError(f"a cache policy is reduced by the name of an argument, not by {name!r}")


NO_CACHE = NoCache()
NONE = NO_CACHE
INPUTS = Inputs()
TASK_SOURCE = TaskSource()
FLOW_PARAMETERS = FlowParameters()
RUN_ID = RunId()
DEFAULT = INPUTS + TASK_SOURCE + RUN_ID


class _TaskInputHash:
    """The function `task_input_hash`, which can also say of what its keys are made."""

    __name__ = "task_input_hash"

    def components(self, context: Any, arguments: Mapping[str, Any]) -> list[KeyComponent]:
        return [
            KeyComponent(_TASK, context.task.task_key),
            KeyComponent("task_source", _code_hash(inspect.unwrap(context.task.fn))),
            *INPUTS.components(context, arguments, {}),
        ]

    def __call__(self, context: Any, arguments: dict[str, Any]) -> str | None:
        """Return a cache key from the task, its code and its arguments.

        The key changes with the function's own code (its constants too); the code of functions that it calls does not
        count. None when an argument cannot be hashed: the task is not cached then.
        """
        return key_of(context, self.components(context, arguments))

    def __reduce__(self) -> str:
        return "task_input_hash"


task_input_hash = _TaskInputHash()


@dataclass(frozen=True)
class _TaskInputs(CachePolicy):
    """What `task_input_hash` looks at, component by component."""

    @override
    def components(
        self, task_ctx: Any, inputs: Mapping[str, Any], flow_parameters: Mapping[str, Any]
    ) -> Sequence[KeyComponent]:
        return task_input_hash.components(task_ctx, inputs)


def policy_of(
    cache_policy: CachePolicy | None, cache_key_fn: Callable[..., str | None] | None, parameters: Iterable[str]
) -> CachePolicy | None:
    """Return the policy that a task's options ask for; None for no cache.

    Raises:
        ValueError: both options are given, or a policy leaves an argument out that the function does not have.
        TypeError: an option has the wrong type.
    """
    if cache_policy is not None and cache_key_fn is not None:
        raise ValueError("cache_policy and cache_key_fn are both given: they are two ways to say the same; keep one")
    if cache_key_fn is not None:
        if not callable(cache_key_fn) or inspect.iscoroutinefunction(cache_key_fn):
            raise TypeError(
                f"cache_key_fn={cache_key_fn!r} must be a plain function (context, arguments) -> str | None"
            )
        return _TaskInputs() if cache_key_fn is task_input_hash else CacheKeyFnPolicy(cache_key_fn)
    if cache_policy is None or isinstance(cache_policy, NoCache):
        return None
    if not isinstance(cache_policy, CachePolicy):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(
            f"cache_policy={cache_policy!r} is no cache policy: use those of `flowyard.cache_policies`, such as INPUTS"
        )
    names = tuple(parameters)
    if unknown := sorted(cache_policy.excluded() - set(names)):
        raise ValueError(
            f"cache_policy leaves out {', '.join(map(repr, unknown))}, and the function has no such argument; it has "
            f"{', '.join(names) or 'none'}"
        )
    return cache_policy


def _hashed(what: str, values: Mapping[str, Any]) -> list[KeyComponent]:
    parts: list[KeyComponent] = []
    for name in sorted(values):
        value = values[name]
        if isinstance(value, KeyComponent):  # hashed before it travelled
            parts.append(value)
        else:
            hashed = fingerprint({name: value})
            parts.append(KeyComponent(f"{what}.{name}", hashed.value, hashed.reason))
    return parts or [KeyComponent(what, "none")]


def hashed_flow_parameters(policy: CachePolicy, flow_parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a flow run as policies get them: hashed, where hashes are all that is wanted.

    So they are the same in all processes, and are hashed once.
    """
    if all(isinstance(part, (Inputs, TaskSource, RunId, FlowParameters, _TaskInputs)) for part in _parts(policy)):
        wanted = any(isinstance(part, FlowParameters) for part in _parts(policy))
        return {part.name: part for part in _hashed("flow_parameters", flow_parameters)} if wanted else {}
    return dict(flow_parameters)


def _task_name(fn: Callable[..., Any]) -> str:
    """Return what tells a task from others that look the same; its code does not count."""
    module = getattr(fn, "__module__", "")
    name = getattr(fn, "__qualname__", type(fn).__qualname__)
    code = getattr(inspect.unwrap(fn), "__code__", None)
    if module == "__main__" and code is not None:  # which every script is
        module = f"__main__:{os.path.basename(code.co_filename)}"
    return f"{module}.{name}"


def _source_parts(fn: Callable[..., Any]) -> list[KeyComponent]:
    """Return the code of a function, and what it takes from the function that it was made in."""
    plain = inspect.unwrap(fn)
    parts = [KeyComponent("task_source", _code_hash(plain))]
    code, cells = getattr(plain, "__code__", None), getattr(plain, "__closure__", None)
    for name, cell in zip(code.co_freevars if code is not None else (), cells or (), strict=False):
        try:
            value: Any = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
        value = getattr(value, "fn", value)  # the function of a task or flow
        if isinstance(value, FunctionType):
            parts.append(KeyComponent(f"task_source.{name}", _code_hash(value)))
        else:
            hashed = fingerprint({name: value})
            reason = None if hashed.reason is None else hashed.reason.replace("argument", "the outer variable", 1)
            parts.append(KeyComponent(f"task_source.{name}", hashed.value, reason))
    return parts


def _code_hash(fn: Callable[..., Any]) -> str:
    code = getattr(fn, "__code__", None)
    return code_digest(fn).hex() if code is None else _hash_of_code(code)


# 30 microseconds, for something that never changes.
@lru_cache(1024)
def _hash_of_code(code: CodeType) -> str:
    return code_digest(cast("Any", SimpleNamespace(__code__=code))).hex()
