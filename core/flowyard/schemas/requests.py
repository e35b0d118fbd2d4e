"""A request of the REST API and its answer, where they travel without HTTP."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """A request, complete."""

    method: str
    target: str
    """Path and query, encoded; the path begins after the address of the API, with `/`."""
    headers: tuple[tuple[str, str], ...] = ()
    content: bytes = b""


@dataclass(frozen=True, slots=True)
class ApiAnswer:
    """An answer, complete."""

    status_code: int
    headers: tuple[tuple[str, str], ...] = ()
    content: bytes = b""
