"""When a failed run is tried again."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from flowyard.rules.decision import RunState
from flowyard.schemas.policies import RetryPolicy
from flowyard.schemas.states import State, StateDetails, StateType

MAX_DELAYS = 50

DelaySpec = float | Sequence[float] | Callable[[int], float | Sequence[float]] | None
"""`retry_delay_seconds`: one number, one per retry (the last repeats), or a function of the number of retries."""


def delay_before(policy: RetryPolicy, retry_number: int, *, spread: float | None = None) -> timedelta:
    """Return how long to wait before a retry.

    Args:
        policy: its `delays` are used in order; the last one repeats.
        retry_number: 1 for the first retry.
        spread: a random draw from [0, 1); used, and needed, only when the policy has a jitter factor.

    Raises:
        ValueError: the policy has a jitter factor and no draw was given, or the draw is outside of [0, 1).
    """
    if not policy.delays:
        return timedelta(0)
    base = policy.delays[min(retry_number, len(policy.delays)) - 1]
    if not policy.jitter_factor:
        return timedelta(seconds=base)
    if spread is None or not 0.0 <= spread < 1.0:
        raise ValueError(
            f"spread={spread!r} must be a random number in [0, 1): "
            f"the policy has jitter_factor={policy.jitter_factor!r}"
        )
    return timedelta(seconds=_jittered(base, policy.jitter_factor, spread))


def _jittered(base: float, factor: float, spread: float) -> float:
    # An interval of a Poisson process (exponentially distributed, mean `base`), clamped to [lower, upper] by inverting
    # its distribution function between the bounds. `upper` is 1 + factor; `lower` is the point with
    # 2**-lower + 2**-upper = 1, i.e. as much probability below the mean as above it, which keeps the mean within
    # 1.5 % of `base` for every factor (tests integrate it).
    upper = 1.0 + factor
    lower = -math.log2(-math.expm1(-upper * math.log(2.0)))
    above_lower, above_upper = math.exp(-lower), math.exp(-upper)
    drawn = -math.log(above_lower + spread * (above_upper - above_lower))
    return base * min(max(drawn, lower), upper)


def settle_failure(
    failure: RunState, *, attempts: int, policy: RetryPolicy, now: datetime, spread: float | None = None
) -> RunState:
    """Return the state a failed run enters next: AwaitingRetry, or `failure` itself.

    `attempts` is how often the run has run; what failed has run once, whatever its counter says. The new state keeps
    message and value of the failure.
    """
    attempts = max(attempts, 1)
    if attempts > policy.retries or failure.state_details.retriable is False:
        return failure
    return awaiting_retry(failure, due=now + delay_before(policy, attempts, spread=spread), now=now)


def settle_crash(crash: RunState, *, crashes: int, policy: RetryPolicy, now: datetime) -> RunState:
    """Return the state a run enters whose worker was lost: AwaitingRetry at once, or `crash` itself.

    `crashes` is how many attempts were lost so far, this one included. The budget is `policy.crash_retries` alone.
    """
    if crashes > policy.crash_retries:
        return crash
    return awaiting_retry(crash, due=now, now=now)


def awaiting_retry(ended: RunState, *, due: datetime, now: datetime) -> RunState:
    """Return the state between two attempts, with message and value of the attempt that ended."""
    details = ended.state_details
    return State(
        StateType.SCHEDULED,
        "AwaitingRetry",
        ended.message,
        ended.data,
        StateDetails(flow_run_id=details.flow_run_id, task_run_id=details.task_run_id, scheduled_time=due),
        now,
    )


def resolve_delays(retries: int, delay_spec: DelaySpec) -> tuple[float, ...]:
    """Return the delays in seconds before retry 1, 2, ... that a `retry_delay_seconds` option means.

    Raises:
        ValueError: there are more than 50 delays, or one is negative or not finite.
        TypeError: a delay is not a number.
    """
    if delay_spec is None:
        return ()
    if callable(delay_spec):
        delay_spec = delay_spec(retries)
    if isinstance(delay_spec, int | float):
        return (_checked(delay_spec),)
    if isinstance(delay_spec, str) or not isinstance(delay_spec, Sequence):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(
            f"retry_delay_seconds={delay_spec!r} must be a number, a list of numbers, or a function that returns one"
        )
    if len(delay_spec) > MAX_DELAYS:
        raise ValueError(
            f"retry_delay_seconds has {len(delay_spec)} delays, at most {MAX_DELAYS} are allowed; "
            "the last one repeats, so a shorter list says the same"
        )
    return tuple(_checked(delay) for delay in delay_spec)


def _checked(delay: float) -> float:
    if isinstance(delay, bool) or not isinstance(delay, int | float):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"retry_delay_seconds has {delay!r} in it: a delay is a number of seconds")
    if not math.isfinite(delay) or delay < 0:
        raise ValueError(f"retry_delay_seconds has {delay!r} in it: a delay is finite and not negative")
    return float(delay)


def exponential_backoff(backoff_factor: float) -> Callable[[int], list[float]]:
    """Return a function for `retry_delay_seconds` whose delays double: `backoff_factor` times 1, 2, 4, ... seconds.

    At most 50 delays are made; the last one repeats.

    Raises:
        ValueError: the factor is negative or not finite.
    """
    if not math.isfinite(backoff_factor) or backoff_factor < 0:
        raise ValueError(f"backoff_factor={backoff_factor!r} must be finite and not negative")

    def delays(retries: int) -> list[float]:
        return [backoff_factor * 2.0**retry for retry in range(min(retries, MAX_DELAYS))]

    return delays
