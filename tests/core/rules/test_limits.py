from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowyard.exceptions import RateLimitWithoutDecay, SlotsOverLimit
from flowyard.rules.limits import LimitUse, average_occupancy, decay, decide_slots
from flowyard.schemas.limits import ConcurrencyLimit, SlotMode, SlotRequest

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def use(name: str = "db", *, limit: int = 2, taken: int = 0, earlier: int = 0, active: bool = True) -> LimitUse:
    return LimitUse(ConcurrencyLimit(name=name, limit=limit, active_slots=taken, active=active), earlier)


def request(slots: int = 1, mode: SlotMode = SlotMode.CONCURRENCY) -> SlotRequest:
    return SlotRequest(names=("db",), slots=slots, mode=mode)


def test_a_request_is_granted_when_every_limit_has_room() -> None:
    assert decide_slots(request(), [use("a", taken=1), use("b")]).is_granted


def test_one_full_limit_denies_the_request_and_is_named() -> None:
    answer = decide_slots(request(), [use("a"), use("b", taken=2, earlier=0)])
    assert not answer.is_granted
    assert answer.blocked_by == "b"
    assert answer.retry_after_seconds > 0


def test_nobody_overtakes_a_request_that_waits() -> None:
    answer = decide_slots(request(), [use(taken=0, earlier=3)])
    assert not answer.is_granted
    assert answer.position == 3


def test_an_inactive_limit_lets_everybody_pass() -> None:
    assert decide_slots(request(5), [use(limit=1, taken=9, active=False)]).is_granted


def test_too_many_slots_are_refused_with_the_command_that_makes_them() -> None:
    assert str(SlotsOverLimit("db", 2, 3)).endswith("flowyard gcl update db --limit 3")
    assert str(SlotsOverLimit("tag:db", 0, 1)).endswith("flowyard concurrency-limit create db 1")


def test_more_slots_than_there_are_can_never_be_granted() -> None:
    with pytest.raises(SlotsOverLimit, match="3 slots of concurrency limit 'db' were asked for, and it has 2"):
        decide_slots(request(3), [use()])


def test_a_rate_needs_slots_that_come_back_by_themselves() -> None:
    with pytest.raises(RateLimitWithoutDecay, match="slot-decay-per-second"):
        decide_slots(request(mode=SlotMode.RATE_LIMIT), [use()])


@given(
    slots=st.integers(1, 100),
    per_second=st.floats(0.01, 50),
    looks=st.lists(st.floats(0.0, 3.0), min_size=1, max_size=30),
)
def test_slots_come_back_at_their_rate_however_often_somebody_looks(
    slots: int, per_second: float, looks: list[float]
) -> None:
    left, since, now = slots, NOW, NOW
    for seconds in looks:
        now += timedelta(seconds=seconds)
        left, since = decay(left, per_second=per_second, since=since, now=now)
    at_once, _ = decay(slots, per_second=per_second, since=NOW, now=now)
    # Times are whole microseconds: a slot can be due at one look and a microsecond later at another.
    assert abs(left - at_once) <= 1
    assert 0 <= left <= slots


def test_a_clock_that_is_set_back_gives_no_slots_and_takes_none() -> None:
    assert decay(3, per_second=1.0, since=NOW, now=NOW - timedelta(seconds=5)) == (3, NOW)


def test_the_average_follows_what_is_measured() -> None:
    average = 2.0
    for _ in range(200):
        average = average_occupancy(average, limit=2, seconds=8.0)
    assert average == pytest.approx(8.0, abs=0.01)
    assert average_occupancy(0.0, limit=1, seconds=0.0) == pytest.approx(0.05)
