"""When a request for slots is granted."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from flowyard.exceptions import RateLimitWithoutDecay, SlotsOverLimit
from flowyard.schemas.limits import ConcurrencyLimit, SlotAnswer, SlotMode, SlotRequest

_SHORTEST_OCCUPANCY = 0.1
_UNUSABLE = re.compile(r"[/%&><]")


def check_limit(limit: ConcurrencyLimit) -> None:
    """Refuse a limit that cannot be.

    Raises:
        ValueError: its name is empty or has one of `/ % & > <`, or a number is negative.
    """
    if not limit.name or _UNUSABLE.search(limit.name):
        raise ValueError(f"name={limit.name!r} cannot be the name of a concurrency limit: it has none of / % & > <")
    for attribute in ("limit", "active_slots", "slot_decay_per_second"):
        value = getattr(limit, attribute)
        if value < 0:
            raise ValueError(f"{attribute}={value!r} of a concurrency limit must be 0 or more")


@dataclass(frozen=True, slots=True)
class LimitUse:
    """A limit as a request finds it; its `active_slots` are those of now."""

    limit: ConcurrencyLimit
    earlier_requests: int = 0
    """Requests that came earlier and still wait: slots are given out in the order they were asked for."""
    seconds_since_decay: float = 0.0
    """Time that has not brought a slot back yet."""


def decide_slots(request: SlotRequest, uses: Sequence[LimitUse]) -> SlotAnswer:
    """Grant a request when every active limit has room and nobody waits longer.

    Raises:
        SlotsOverLimit: a limit is smaller than what is asked for: it would never be granted.
        RateLimitWithoutDecay: a rate is asked of a limit whose slots do not come back by themselves.
    """
    answer = SlotAnswer(is_granted=True, takes_slots=any(use.limit.active for use in uses))
    for use in uses:
        limit = use.limit
        if not limit.active:
            continue
        if request.slots > limit.limit:
            raise SlotsOverLimit(limit.name, limit.limit, request.slots)
        if request.mode is SlotMode.RATE_LIMIT and limit.slot_decay_per_second <= 0:
            raise RateLimitWithoutDecay(limit.name)
        if limit.active_slots + request.slots <= limit.limit and not use.earlier_requests:
            continue
        wait = _wait_seconds(request.slots, use)
        if answer.is_granted or wait > answer.retry_after_seconds:
            answer = SlotAnswer(
                is_granted=False, blocked_by=limit.name, position=use.earlier_requests, retry_after_seconds=wait
            )
    return answer


def _wait_seconds(slots: int, use: LimitUse) -> float:
    limit = use.limit
    ahead = slots + limit.denied_slots
    if limit.slot_decay_per_second > 0:
        missing = max(limit.active_slots + ahead - limit.limit, 1)
        return max(missing / limit.slot_decay_per_second - use.seconds_since_decay, 0.0)
    return limit.avg_slot_occupancy_seconds * ahead / max(limit.limit, 1)


def decay(slots: int, *, per_second: float, since: datetime, now: datetime) -> tuple[int, datetime]:
    """Return the slots that are still taken, and from when the next one's time counts.

    The second keeps the fraction of a slot that has passed: however often somebody looks, the rate is the same.
    """
    seconds = (now - since).total_seconds()
    freed = math.floor(seconds * per_second) if seconds > 0 else 0
    if freed >= slots:
        return 0, now
    return slots - freed, since + timedelta(seconds=freed / per_second) if freed else since


def average_occupancy(average: float, *, limit: int, seconds: float) -> float:
    """Return the moving average of how long slots are held, over about two rounds of a limit."""
    weight = 1.0 / (2 * max(limit, 1))
    return average * (1 - weight) + max(seconds, _SHORTEST_OCCUPANCY) * weight
