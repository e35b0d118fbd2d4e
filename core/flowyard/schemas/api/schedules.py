"""Schedules, as the REST API has them."""

from __future__ import annotations

from flowyard.schemas.api.base import Body, DateTime, Seconds


class CronSchedule(Body):
    """A cron schedule."""

    cron: str
    timezone: str | None = None
    day_or: bool = True


class IntervalSchedule(Body):
    """An interval schedule."""

    interval: Seconds
    anchor_date: DateTime | None = None
    timezone: str | None = None


class RRuleSchedule(Body):
    """A rrule schedule."""

    rrule: str
    timezone: str | None = None
