"""When a deployment runs by itself."""

from __future__ import annotations

from datetime import datetime, timedelta

from flowyard.schemas.api.base import Body
from flowyard.schemas.api.schedules import CronSchedule, IntervalSchedule, RRuleSchedule, Schedule
from flowyard.schemas.recurrence import LONGEST_TEXT as MAX_RRULE_LENGTH

SCHEDULE_TYPES = IntervalSchedule | CronSchedule | RRuleSchedule


class NoSchedule(Body):
    """No schedule: what takes away the one that a deployment has."""


def construct_schedule(
    interval: float | timedelta | None = None,
    anchor_date: datetime | str | None = None,
    cron: str | None = None,
    rrule: str | None = None,
    timezone: str | None = None,
) -> Schedule:
    """Return the schedule that is said by one of `interval`, `cron` and `rrule`.

    Args:
        interval: seconds, or a duration.
        anchor_date: a time that an interval meets; of one in text the form is ISO 8601.
        cron: an expression.
        rrule: a rule of iCalendar.
        timezone: the IANA name of a time zone.

    Raises:
        ValueError: none or several of them are given, or an anchor without an interval.
    """
    given = [name for name, value in (("interval", interval), ("cron", cron), ("rrule", rrule)) if value is not None]
    if len(given) != 1:
        raise ValueError(f"give one of interval, cron and rrule; given: {', '.join(given) or 'none'}")
    if anchor_date is not None and interval is None:
        raise ValueError(f"anchor_date={anchor_date!r} means something with an interval only; leave it out")
    if interval is not None:
        every = interval if isinstance(interval, timedelta) else timedelta(seconds=interval)
        anchor = datetime.fromisoformat(anchor_date) if isinstance(anchor_date, str) else anchor_date
        return IntervalSchedule(interval=every, anchor_date=anchor, timezone=timezone)
    if cron is not None:
        return CronSchedule(cron=cron, timezone=timezone)
    return RRuleSchedule(rrule=f"{rrule}", timezone=timezone)


__all__ = [
    "MAX_RRULE_LENGTH",
    "SCHEDULE_TYPES",
    "CronSchedule",
    "IntervalSchedule",
    "NoSchedule",
    "RRuleSchedule",
    "Schedule",
    "construct_schedule",
]
