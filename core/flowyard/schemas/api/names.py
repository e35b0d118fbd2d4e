"""The rule for names of objects that stand in URLs."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

BANNED = "/%&><"


def check_name(name: str) -> str:
    """Return a name that can stand in a URL.

    Raises:
        ValueError: it has one of `/ % & > <`.
    """
    if found := [character for character in BANNED if character in name]:
        raise ValueError(f"name {name!r} contains {found!r}; it may not contain any of {list(BANNED)!r}")
    return name


Name = Annotated[str, AfterValidator(check_name)]
"""The name of a flow, block type, deployment, work pool, work queue or worker."""
