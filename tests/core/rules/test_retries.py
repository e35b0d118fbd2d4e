"""When a failed run is tried again."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowyard.rules.retries import delay_before, exponential_backoff, resolve_delays, settle_crash, settle_failure
from flowyard.schemas.ids import new_id
from flowyard.schemas.policies import RetryPolicy
from flowyard.schemas.states import State, StateDetails, StateType

NOW = datetime(2024, 5, 1, 12, tzinfo=UTC)
BASES = st.floats(0.001, 10_000)
FACTORS = st.floats(0.001, 100)
SPREADS = st.floats(0, 1, exclude_max=True)


def test_without_delays_a_retry_comes_at_once() -> None:
    assert delay_before(RetryPolicy(retries=3), 1) == timedelta(0)


@pytest.mark.parametrize(("retry_number", "seconds"), [(1, 1), (2, 10), (3, 100), (4, 100), (40, 100)])
def test_delays_are_used_in_order_and_the_last_one_repeats(retry_number: int, seconds: float) -> None:
    policy = RetryPolicy(retries=50, delays=(1, 10, 100))
    assert delay_before(policy, retry_number) == timedelta(seconds=seconds)


@pytest.mark.parametrize("factor", [None, 0, 0.0])
def test_without_a_jitter_factor_the_draw_does_not_matter(factor: float | None) -> None:
    policy = RetryPolicy(retries=1, delays=(10,), jitter_factor=factor)
    assert delay_before(policy, 1, spread=0.9) == timedelta(seconds=10)


@pytest.mark.parametrize("spread", [None, -0.1, 1.0, math.nan])
def test_a_jittered_delay_needs_a_draw_between_zero_and_one(spread: float | None) -> None:
    with pytest.raises(ValueError, match="spread="):
        delay_before(RetryPolicy(retries=1, delays=(10,), jitter_factor=0.5), 1, spread=spread)


def jittered(base: float, factor: float, spread: float) -> float:
    policy = RetryPolicy(retries=1, delays=(base,), jitter_factor=factor)
    return delay_before(policy, 1, spread=spread).total_seconds()


@given(BASES, FACTORS, SPREADS)
def test_a_jittered_delay_stays_between_zero_and_base_times_one_plus_factor(
    base: float, factor: float, spread: float
) -> None:
    assert 0 <= jittered(base, factor, spread) <= base * (1 + factor) + 1e-6


@given(BASES, FACTORS, SPREADS, SPREADS)
def test_a_larger_draw_never_gives_a_shorter_delay(base: float, factor: float, one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert jittered(base, factor, low) <= jittered(base, factor, high)


@pytest.mark.parametrize("factor", [0.01, 0.1, 0.3, 0.5, 1, 2, 5, 20, 100])
def test_jitter_keeps_the_mean_near_the_base(factor: float) -> None:
    steps = 4000
    draws = [jittered(100, factor, (step + 0.5) / steps) for step in range(steps)]
    assert sum(draws) / steps == pytest.approx(100, rel=0.015)


def test_the_bounds_of_jitter_are_reached() -> None:
    assert jittered(10, 1, 0.999999) == pytest.approx(20, rel=1e-3)
    # 2**-lower + 2**-2 = 1
    assert jittered(10, 1, 0) == pytest.approx(10 * math.log2(4 / 3), rel=1e-4)


def failure(**details: Any) -> State[Any]:
    return State("FAILED", None, "boom", ValueError("boom"), StateDetails(**details), NOW)


@given(st.integers(0, 5), st.integers(1, 8))
def test_a_run_fails_once_its_retries_are_spent(retries: int, attempts: int) -> None:
    failed = failure()
    settled = settle_failure(failed, attempts=attempts, policy=RetryPolicy(retries=retries), now=NOW)
    assert (settled is failed) == (attempts > retries)


def test_a_failure_without_any_recorded_attempt_counts_as_the_first() -> None:
    failed = failure()
    assert settle_failure(failed, attempts=0, policy=RetryPolicy(retries=0), now=NOW) is failed


def test_a_retry_keeps_message_value_and_run_but_not_the_other_facts_of_the_failure() -> None:
    failed = failure(flow_run_id=new_id(), task_run_id=new_id(), cache_key="k", retriable=True)
    settled = settle_failure(failed, attempts=1, policy=RetryPolicy(retries=1, delays=(2,)), now=NOW)
    assert (settled.type, settled.name, settled.timestamp) == (StateType.SCHEDULED, "AwaitingRetry", NOW)
    assert (settled.message, settled.data) == (failed.message, failed.data)
    assert settled.id != failed.id
    assert settled.state_details == StateDetails(
        flow_run_id=failed.state_details.flow_run_id,
        task_run_id=failed.state_details.task_run_id,
        scheduled_time=NOW + timedelta(seconds=2),
    )


def test_a_failure_that_is_not_retriable_is_final() -> None:
    failed = failure(retriable=False)
    assert settle_failure(failed, attempts=1, policy=RetryPolicy(retries=5), now=NOW) is failed


@pytest.mark.parametrize(("crashes", "is_final"), [(1, False), (2, False), (3, True)])
def test_a_lost_attempt_is_repeated_at_once_while_its_own_budget_lasts(crashes: int, is_final: bool) -> None:
    crash = State[Any]("CRASHED", None, "worker gone", timestamp=NOW)
    policy = RetryPolicy(retries=0, delays=(60,), crash_retries=2)
    settled = settle_crash(crash, crashes=crashes, policy=policy, now=NOW)
    assert (settled is crash) == is_final
    if not is_final:
        assert settled.name == "AwaitingRetry"
        assert settled.state_details.scheduled_time == NOW


# --- what users write -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "delays"),
    [
        (None, ()),
        (5, (5.0,)),
        (0.5, (0.5,)),
        (0, (0.0,)),
        ([1, 2.5], (1.0, 2.5)),
        ((1, 2), (1.0, 2.0)),
        ([], ()),
        (lambda retries: [float(retries)] * 2, (3.0, 3.0)),
        (lambda retries: retries * 2, (6.0,)),
    ],
    ids=["none", "int", "float", "zero", "list", "tuple", "empty", "function", "function of a number"],
)
def test_delays_can_be_written_as_number_list_or_function(spec: Any, delays: tuple[float, ...]) -> None:
    assert resolve_delays(3, spec) == delays


def test_fifty_delays_are_allowed_and_one_more_is_not() -> None:
    assert len(resolve_delays(50, [1] * 50)) == 50
    with pytest.raises(ValueError, match="51 delays, at most 50"):
        resolve_delays(51, [1] * 51)


@pytest.mark.parametrize("spec", [-1, [1, -1], math.inf, [math.nan], lambda _: [-1]])
def test_a_delay_that_is_negative_or_not_finite_is_refused(spec: Any) -> None:
    with pytest.raises(ValueError, match="finite and not negative"):
        resolve_delays(3, spec)


@pytest.mark.parametrize("spec", ["5", {1: 2}, ["5"], [None], object(), lambda _: "5"])
def test_a_delay_that_is_not_a_number_is_refused(spec: Any) -> None:
    with pytest.raises(TypeError, match="retry_delay_seconds"):
        resolve_delays(3, spec)


def test_exponential_backoff_doubles_each_delay() -> None:
    assert exponential_backoff(10)(3) == [10, 20, 40]


def test_exponential_backoff_without_retries_makes_no_delay() -> None:
    assert exponential_backoff(10)(0) == []


@given(st.floats(0.001, 1e3), st.integers(0, 200))
def test_exponential_backoff_makes_at_most_fifty_delays_that_resolve(factor: float, retries: int) -> None:
    delays = resolve_delays(retries, exponential_backoff(factor))
    assert len(delays) == min(retries, 50)
    assert all(later == 2 * earlier for earlier, later in pairwise(delays))


@pytest.mark.parametrize("factor", [-1, math.inf, math.nan])
def test_a_backoff_factor_that_is_negative_or_not_finite_is_refused(factor: float) -> None:
    with pytest.raises(ValueError, match="backoff_factor="):
        exponential_backoff(factor)
