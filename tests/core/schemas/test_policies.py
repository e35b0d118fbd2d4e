"""Retry policies and their records."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowyard.schemas.policies import NO_RETRIES, RetryPolicy

POLICIES = st.builds(
    RetryPolicy,
    retries=st.integers(0, 100),
    delays=st.lists(st.floats(0, 1e6), max_size=4).map(tuple),
    jitter_factor=st.none() | st.floats(0, 10),
    crash_retries=st.integers(0, 5),
)


@given(POLICIES)
def test_a_policy_comes_back_from_its_record(policy: RetryPolicy) -> None:
    assert RetryPolicy.from_record(policy.to_record()) == policy


@pytest.mark.parametrize("record", [None, {}, {"retries": None, "retry_delay": None, "pause_keys": []}], ids=str)
def test_an_empty_record_means_no_retries(record: dict[str, Any] | None) -> None:
    assert RetryPolicy.from_record(record) == NO_RETRIES


@pytest.mark.parametrize(("delay", "delays"), [(5, (5.0,)), (0, (0.0,)), ([1, 2], (1, 2)), ([], ())])
def test_a_delay_of_the_rest_api_is_a_number_or_a_list(delay: Any, delays: tuple[float, ...]) -> None:
    assert RetryPolicy.from_record({"retries": 1, "retry_delay": delay}).delays == delays
