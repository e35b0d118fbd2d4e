"""How a list of rules becomes a table that is looked up once per transition."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

from flowyard.rules.decision import Decision
from flowyard.schemas.states import FINAL_TYPES, StateType

D = TypeVar("D")

Types = frozenset[StateType | None]
"""State types a rule looks at; None stands for a run that has no state yet."""

EVERY: Types = frozenset({None, *StateType})
FINAL: Types = frozenset(FINAL_TYPES)


def only(*types: StateType) -> Types:
    """Return a set of state types."""
    return frozenset(types)


class Rule(NamedTuple, Generic[D]):
    """A rule and the transitions it looks at.

    `check` returns None to let the transition pass on, after changing the draft if it wants to. Any other answer is
    final: what earlier rules changed in the draft is dropped with the proposal they changed it for.
    """

    check: Callable[[D], Decision | None]
    from_types: Types
    to_types: Types


Table = dict[tuple[StateType | None, StateType], tuple[Callable[[D], Decision | None], ...]]


def compile_policy(rules: Sequence[Rule[D]]) -> Table[D]:
    """Return, for every (from, to), the checks that apply, in order of priority."""
    return {
        (from_type, to_type): tuple(
            rule.check for rule in rules if from_type in rule.from_types and to_type in rule.to_types
        )
        for from_type in EVERY
        for to_type in StateType
    }
