"""One definition for both clients: a call is written as a coroutine, and blocks on the client that blocks.

The nouns (`flowyard.client.nouns`) are classes whose methods are `async def` under `@call`. On the async client such a
method is what it looks like. On the blocking client the coroutine is driven here, to its end, over a connection whose
`send` never suspends; type checkers see the colour that each client has.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from types import MethodType
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar, cast, overload

P = ParamSpec("P")
T = TypeVar("T")


class Blocking:
    """Base of clients whose calls block."""

    @property
    def session(self) -> Any:
        """The same nouns on a connection that never suspends."""
        raise NotImplementedError


class Call(Generic[P, T]):
    """A method of both clients; made by `call`."""

    def __init__(self, function: Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]) -> None:
        self._function = function

        @functools.wraps(function)
        def blocking(client: Blocking, *args: P.args, **kwargs: P.kwargs) -> T:
            return finished(function(client.session, *args, **kwargs))

        self._blocking = blocking
        functools.update_wrapper(cast("Callable[..., Any]", self), function)

    @overload
    def __get__(self, instance: None, owner: type[Any]) -> Self: ...
    @overload
    def __get__(self, instance: Blocking, owner: type[Any]) -> Callable[P, T]: ...
    @overload
    def __get__(self, instance: Any, owner: type[Any]) -> Callable[P, Coroutine[Any, Any, T]]: ...

    def __get__(self, instance: Any, owner: type[Any]) -> Any:
        if instance is None:
            return self
        return MethodType(self._blocking if isinstance(instance, Blocking) else self._function, instance)

    def __call__(self, client: Any, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Call it on a client, as `Client.method(client, ...)`."""
        bound = cast("Callable[..., Any]", cast("Any", self).__get__(client, Blocking))
        return bound(*args, **kwargs)


def call(function: Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]) -> Call[P, T]:
    """Make a coroutine function of a noun a method of both clients."""
    return Call(function)


def finished(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return what a coroutine returns that never suspends.

    Raises:
        RuntimeError: it did.
    """
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    coroutine.close()
    raise RuntimeError(f"{coroutine!r} waits for an event loop; on a blocking client nothing may")
