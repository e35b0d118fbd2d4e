"""The state that stands for several."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowyard.rules.aggregate import aggregate, aggregate_states
from flowyard.schemas.states import State, StateType

S = StateType


@pytest.mark.parametrize(
    ("counts", "kind", "message"),
    [
        ({}, S.COMPLETED, "All states completed."),
        ({S.COMPLETED: 3}, S.COMPLETED, "All states completed."),
        ({S.COMPLETED: 3, S.FAILED: 0}, S.COMPLETED, "All states completed."),
        ({S.COMPLETED: 1, S.FAILED: 2, S.CANCELLED: 1}, S.CANCELLED, "1/4 states cancelled."),
        ({S.CANCELLED: 1, S.PAUSED: 1}, S.CANCELLED, "1/2 states cancelled."),
        ({S.COMPLETED: 1, S.FAILED: 2, S.PAUSED: 1}, S.PAUSED, "1/4 states paused."),
        ({S.COMPLETED: 1, S.FAILED: 2}, S.FAILED, "2/3 states failed."),
        ({S.FAILED: 2, S.CRASHED: 1, S.PENDING: 1}, S.FAILED, "3/4 states failed."),
        ({S.COMPLETED: 1, S.PENDING: 2, S.SCHEDULED: 1}, S.FAILED, "3/4 states are not final."),
        ({S.RUNNING: 1, S.CANCELLING: 1}, S.FAILED, "2/2 states are not final."),
    ],
)
def test_the_first_kind_in_order_decides(counts: dict[StateType, int], kind: StateType, message: str) -> None:
    assert aggregate(counts) == (kind, message)


@given(st.lists(st.sampled_from(list(StateType)), max_size=8))
def test_states_and_their_counts_give_the_same(kinds: list[StateType]) -> None:
    assert aggregate_states(State(kind) for kind in kinds) == aggregate(Counter(kinds))


@given(st.lists(st.sampled_from(list(StateType)), max_size=8))
def test_only_all_completed_is_completed(kinds: list[StateType]) -> None:
    kind, _ = aggregate(Counter(kinds))
    assert (kind is S.COMPLETED) == all(each is S.COMPLETED for each in kinds)
