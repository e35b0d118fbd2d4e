"""Checks of decorator options that flows and tasks share."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import Any, cast

from flowyard.exceptions import InvalidNameError

_BANNED_CHARACTERS = ("/", "%", "&", ">", "<")


def check_function(fn: object, decorator: str) -> None:
    """Refuse what cannot be decorated.

    Raises:
        TypeError: `fn` is not callable.
    """
    if not callable(fn):
        raise TypeError(f"@{decorator} needs a function, not {fn!r}")


def is_async_function(fn: Callable[..., Any]) -> bool:
    """Say whether calling `fn` gives something to await (a coroutine or an async generator)."""
    while True:
        if isinstance(fn, functools.partial):
            fn = cast("Callable[..., Any]", fn.func)
        elif hasattr(fn, "__wrapped__"):
            fn = cast("Callable[..., Any]", fn.__wrapped__)  # pyright: ignore[reportFunctionMemberAccess]
        else:
            break
    target = fn if inspect.isroutine(fn) else getattr(fn, "__call__", fn)  # noqa: B004  it is the method that is looked at
    return inspect.iscoroutinefunction(target) or inspect.isasyncgenfunction(target)


def check_name(name: object, kind: str) -> None:
    """Refuse a name that is not text, or has a character that URLs and paths cannot carry.

    Raises:
        TypeError: it is not a string.
        InvalidNameError: it has a banned character.
    """
    if not isinstance(name, str):
        hint = f" Did you mean to call the decorator with options, `@{kind}(...)`?" if callable(name) else ""
        raise TypeError(f"{kind} name must be a string, not {name!r}.{hint}")
    banned = [character for character in _BANNED_CHARACTERS if character in name]
    if banned and kind == "flow":
        raise InvalidNameError(f"flow name {name!r} has {' '.join(banned)} in it: these characters are not allowed")


def check_run_name(template: object, option: str) -> None:
    """Refuse a run name that is neither a template nor a function.

    Raises:
        TypeError: it is something else.
    """
    if template is not None and not isinstance(template, str) and not callable(template):
        raise TypeError(
            f"{option}={template!r} must be a template such as '{{parameter}}-run', or a function without arguments"
        )


def check_cache_expiration(expiration: object) -> None:
    """Refuse an expiration that is no duration.

    Raises:
        TypeError: it is not a `timedelta`.
    """
    if expiration is not None and not isinstance(expiration, timedelta):
        raise TypeError(f"cache_expiration={expiration!r} must be a timedelta, such as `timedelta(hours=1)`")


def check_hooks(hooks: object, option: str) -> Sequence[Callable[..., Any]]:
    """Return the hooks of one option as a tuple; None gives none.

    Raises:
        TypeError: it is not a list, or something in it cannot be called.
        ValueError: the list is empty.
    """
    if hooks is None:
        return ()
    if not isinstance(hooks, Iterable) or isinstance(hooks, (str, bytes)):
        raise TypeError(f"{option}={hooks!r} must be a list of functions, such as `{option}=[my_hook]`")
    found = tuple(cast("Iterable[object]", hooks))
    if not found:
        raise ValueError(f"{option}=[] has no hook in it; leave the option away, or name a function")
    for hook in found:
        if not callable(hook):
            raise TypeError(f"{option} has {hook!r} in it, which cannot be called: `{option}=[my_hook]`")
    return cast("Sequence[Callable[..., Any]]", found)


def check_number(value: object, option: str, *, whole: bool = False) -> None:
    """Refuse an option that is not None and not a number of at least 0.

    Raises:
        TypeError: it is not a number (or, with `whole`, not a whole one).
        ValueError: it is negative.
    """
    if value is None:
        return
    kinds = (int,) if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds):
        raise TypeError(f"{option}={value!r} must be a {'whole ' if whole else ''}number, or None for the default")
    if value < 0:
        raise ValueError(f"{option}={value!r} must not be negative")
