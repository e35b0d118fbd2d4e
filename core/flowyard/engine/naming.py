"""Names of runs: templates over parameters, and random ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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


def random_name() -> str:
    """Return two words, such as `brave-otter`."""
    import coolname  # noqa: PLC0415  40 ms that a command line without runs need not pay

    return str(coolname.generate_slug(2))
