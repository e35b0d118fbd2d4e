"""Names of runs: templates over parameters, and random ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any


def render_name(template: str | Callable[[], str], parameters: Mapping[str, Any], option: str) -> str:
    """Return a run's name from its template (`str.format` over the parameters) or from a function.

    Raises:
        TypeError: the function returned something that is not a string.
        ValueError: the template names a parameter or an attribute that does not exist.
    """
    if callable(template):
        name = template()
        if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]  it is the user's function
            raise TypeError(f"{option} {template!r} returned {name!r}: it must return a string")
        return name
    try:
        return template.format(**parameters)
    except (KeyError, IndexError, AttributeError, ValueError) as error:
        raise ValueError(
            f"{option}={template!r} cannot be filled: {type(error).__name__} {error}; it can use the parameters "
            f"{', '.join(parameters) or '(none)'} and their attributes"
        ) from error


def flow_key(fn: Callable[..., Any]) -> str:
    """Return what identifies a flow among those that a flow calls: its module and name.

    A script has the name of its file, whether it is run or loaded to start a run of it again.
    """
    module = fn.__module__
    code = getattr(fn, "__code__", None)
    if code is not None and (module == "__main__" or module.startswith("__flowyard_loader_")):
        module = PurePath(code.co_filename).stem
    return f"{module}.{fn.__qualname__}"
