"""When a deployment runs by itself: the three kinds of schedules, as the REST API has them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Self

from croniter import CroniterError, croniter
from pydantic import AfterValidator, Field, PlainSerializer, model_validator

from flowyard.schemas.api.base import Body, Seconds
from flowyard.schemas.recurrence import LONGEST_TEXT, parse, zone_in, zone_of

_RANDOM_OR_HASHED = re.compile(r"(?<![A-Za-z])[RrHh](?![A-Za-z])")


def _check_zone(name: str | None) -> str | None:
    if name is not None:
        zone_of(name)
    return name


Timezone = Annotated[str | None, AfterValidator(_check_zone)]
"""The IANA name of a time zone."""
_Anchor = Annotated[datetime, PlainSerializer(datetime.isoformat, return_type=str, when_used="json")]


class IntervalSchedule(Body):
    """Every so often, counted from an anchor.

    An interval of less than a day is a length of time: two runs are always so far apart, also when the clocks change.
    A longer one counts on the clock of the time zone, so that nine in the morning stays nine in the morning.
    """

    interval: Annotated[Seconds, Field(gt=0)]
    anchor_date: _Anchor | None = None
    """A time that the schedule meets; may be in the future. By default the moment the schedule is made."""
    timezone: Timezone = None
    """By default the zone of the anchor, if it has a named one, or UTC."""

    @model_validator(mode="after")
    def _fill_in(self) -> Self:
        anchor = self.anchor_date or datetime.now(UTC)
        timezone: str = self.timezone or getattr(anchor.tzinfo, "key", None) or "UTC"
        if anchor.tzinfo is None:
            anchor = anchor.replace(tzinfo=zone_of(timezone))
        self.timezone = timezone
        self.anchor_date = anchor.astimezone(UTC)
        return self


class CronSchedule(Body):
    """Whenever the clock of a time zone matches a cron expression.

    While the clocks go back, the hour that comes twice is matched once; while they go forward, what the missing hour
    would have matched runs an hour later.
    """

    cron: str
    """Five fields, or six with seconds at the end, or a word such as `@daily`."""
    timezone: Timezone = None
    """UTC by default."""
    day_or: bool = True
    """Whether one of day of the month and day of the week is enough when both are given; False asks for both."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if _RANDOM_OR_HASHED.search(self.cron):
            raise ValueError(f"cron expression {self.cron!r} is random (R) or hashed (H), which is not supported")
        try:
            croniter(self.cron, day_or=self.day_or)
        except (CroniterError, ValueError, KeyError, AttributeError) as error:
            raise ValueError(f"{self.cron!r} is no cron expression: {error}") from error
        return self


class RRuleSchedule(Body):
    """What a text of RFC 5545 says: rules and single dates, and those that are left out.

    Without DTSTART the rules count from the first of January 2020. COUNT is not supported: use UNTIL.
    """

    rrule: str = Field(json_schema_extra={"maxLength": LONGEST_TEXT})
    timezone: Timezone = None
    """The clock on which the rules are read; by default the zone of DTSTART, or UTC."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        self.timezone = self.timezone or _check_zone(zone_in(self.rrule)) or "UTC"
        parse(self.rrule, zone_of(self.timezone))
        return self


Schedule = IntervalSchedule | CronSchedule | RRuleSchedule
"""A schedule of any kind."""
