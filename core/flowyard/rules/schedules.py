"""The dates of a schedule: pure, given the time from which to look.

Dates are made on the clock of the schedule's time zone and then turned into UTC. A time that the clock skips (spring)
happens as much later as the clock was moved; one that comes twice (autumn) happens the first time only. Two times of
the clock that are the same moment make one date.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

from croniter import CroniterBadDateError, croniter

from flowyard.schemas.api.schedules import CronSchedule, IntervalSchedule, RRuleSchedule, Schedule
from flowyard.schemas.recurrence import parse, zone_of

MOST_DATES = 1000
_DAY = timedelta(days=1)
# A schedule that has had no date for so long has no more; a rule that never matches must not be searched for ever.
_HORIZON = timedelta(days=366 * 5)


def dates_of(
    schedule: Schedule, *, start: datetime, limit: int | None = None, end: datetime | None = None
) -> list[datetime]:
    """Return the next dates of a schedule in UTC, in order, none twice.

    Args:
        schedule: of any kind.
        start: the earliest date there can be.
        limit: how many dates at most; one by default, or 1,000 when there is an end.
        end: the latest date there can be.
    """
    most = min(MOST_DATES if limit is None and end is not None else limit or 1, MOST_DATES)
    return list(islice(iter_dates(schedule, start=start, end=end), most))


def iter_dates(schedule: Schedule, *, start: datetime, end: datetime | None = None) -> Iterator[datetime]:
    """Yield what `dates_of` returns, without a limit on their number.

    Raises:
        ValueError: the schedule cannot be read; one that was stored has been checked.
    """
    start = start.astimezone(UTC)
    last = min(end.astimezone(UTC), start + _HORIZON) if end is not None else start + _HORIZON
    if isinstance(schedule, IntervalSchedule) and schedule.interval < _DAY:
        yield from _instants(schedule, start, last)
        return
    zone = zone_of(schedule.timezone or "UTC")
    local = start.astimezone(zone)
    # What the clock has just skipped happens after the times that follow it.
    skipped = max((local.utcoffset() or _DAY) - ((start - _DAY).astimezone(zone).utcoffset() or _DAY), timedelta(0))
    after = local.replace(tzinfo=None) - skipped
    until = last.astimezone(zone).replace(tzinfo=None)
    for date in _in_utc(_walls(schedule, after, until, zone), zone):
        if date > last:
            return
        if date >= start:
            yield date


def _instants(schedule: IntervalSchedule, start: datetime, last: datetime) -> Iterator[datetime]:
    anchor = schedule.anchor_date
    assert anchor is not None  # the model fills it in
    date = anchor + -((anchor - start) // schedule.interval) * schedule.interval
    while date <= last:
        yield date
        date += schedule.interval


def _walls(schedule: Schedule, after: datetime, until: datetime, zone: ZoneInfo) -> Iterator[datetime]:
    """Yield times on the clock of a zone, in order, from `after` to `until`."""
    if isinstance(schedule, CronSchedule):
        yield from _cron_walls(schedule, after, until)
    elif isinstance(schedule, RRuleSchedule):
        yield from parse(schedule.rrule, zone).walls(after, until)
    else:
        yield from _interval_walls(schedule, after, until, zone)


def _cron_walls(schedule: CronSchedule, after: datetime, until: datetime) -> Iterator[datetime]:
    # It looks for what comes after a time, in whole seconds.
    before = after.replace(microsecond=0) - timedelta(seconds=0 if after.microsecond else 1)
    found = croniter(schedule.cron, before, ret_type=datetime, day_or=schedule.day_or)
    while True:
        try:
            wall: datetime = found.get_next(datetime)
        except CroniterBadDateError:
            return
        if wall > until:
            return
        yield wall


def _interval_walls(schedule: IntervalSchedule, after: datetime, until: datetime, zone: ZoneInfo) -> Iterator[datetime]:
    assert schedule.anchor_date is not None  # the model fills it in
    anchor = schedule.anchor_date.astimezone(zone).replace(tzinfo=None)
    wall = anchor + -((anchor - after) // schedule.interval) * schedule.interval
    while wall <= until:
        yield wall
        wall += schedule.interval


def _in_utc(walls: Iterable[datetime], zone: ZoneInfo) -> Iterator[datetime]:
    """Yield times on a clock as moments, in order, none twice."""
    waiting: list[datetime] = []
    last: datetime | None = None
    for wall in walls:
        date = wall.replace(tzinfo=zone).astimezone(UTC)
        heapq.heappush(waiting, date)
        if date.astimezone(zone).replace(tzinfo=None) != wall:
            continue  # skipped by the clock: what comes next on it may be earlier
        while waiting and waiting[0] <= date:
            moment = heapq.heappop(waiting)
            if moment != last:
                yield moment
            last = moment
    for moment in sorted(set(waiting)):
        if moment != last:
            yield moment
