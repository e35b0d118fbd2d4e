"""Under which keys a paused run leaves what it asks for, and finds what it was given."""

from __future__ import annotations

from typing import Any, Literal

from flowyard.schemas.states import State

Keyset = dict[Literal["description", "response", "schema"], str]
"""The keys of a question's description, of its answer, and of the JSON schema that an answer must fit."""


def keyset_from_base_key(base_key: str) -> Keyset:
    """Return the keys that begin with `base_key`."""
    return {part: f"{base_key}-{part}" for part in ("description", "response", "schema")}


def keyset_from_paused_state(state: State[Any]) -> Keyset:
    """Return the keys that belong to a pause.

    Raises:
        RuntimeError: the state is not Paused.
    """
    if not state.is_paused():
        raise RuntimeError(f"only a paused state has keys for input; this one is {state.type}")
    return keyset_from_base_key(f"{state.name.lower()}-{state.state_details.pause_key}")
