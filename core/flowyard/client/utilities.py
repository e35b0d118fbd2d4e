"""Clients for functions that take one, or do without."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from flowyard.client.orchestration import FlowyardClient, get_client

P = ParamSpec("P")
R = TypeVar("R")


def get_or_create_client(client: FlowyardClient | None = None) -> tuple[FlowyardClient, bool]:
    """Return the client that is given and True, or else a new one and False: who calls this opens and closes that."""
    return (get_client(), False) if client is None else (client, True)


def client_injector(func: Callable[Concatenate[FlowyardClient, P], Awaitable[R]]) -> Callable[P, Awaitable[R]]:
    """Give an async function an open client as its first argument, one for each call."""

    @functools.wraps(func)
    async def with_client(*args: P.args, **kwargs: P.kwargs) -> R:
        async with get_client() as client:
            return await func(client, *args, **kwargs)

    return with_client


def inject_client(fn: Callable[P, Coroutine[Any, Any, R]]) -> Callable[P, Coroutine[Any, Any, R]]:
    """Give an async function an open client as its keyword argument `client`, unless the caller gives it one."""

    @functools.wraps(fn)
    async def with_client(*args: P.args, **kwargs: P.kwargs) -> R:
        given = cast("dict[str, Any]", kwargs)
        client, is_callers = get_or_create_client(given.pop("client", None))
        call = cast("Callable[..., Coroutine[Any, Any, R]]", fn)
        if is_callers:
            return await call(*args, client=client, **given)
        async with client:
            return await call(*args, client=client, **given)

    return with_client
