"""Texts of RFC 5545 (RRULE, RDATE, EXRULE, EXDATE, DTSTART) as the times they name on the clock of one time zone.

Everything here is wall-clock time without a zone: nine in the morning stays nine in the morning. What that is in UTC
on a given day is decided where the dates are made: see `rules.schedules`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from dateutil.rrule import rrule, rruleset, rrulestr

LONGEST_TEXT = 6500
_DEFAULT_START = datetime(2020, 1, 1)  # noqa: DTZ001  wall-clock time, see above
_UTC_TIME = re.compile(r"(\d{8}T\d{6})Z")
_ZONED = re.compile(r";TZID=([^:;]+)", re.IGNORECASE)
_FORMAT = "%Y%m%dT%H%M%S"
# Repetitions that have one fixed length: their start can be moved by any number of them without changing a date.
_FIXED_LENGTHS = {
    "SECONDLY": timedelta(seconds=1),
    "MINUTELY": timedelta(minutes=1),
    "HOURLY": timedelta(hours=1),
    "DAILY": timedelta(days=1),
    "WEEKLY": timedelta(weeks=1),
}


def zone_of(name: str) -> ZoneInfo:
    """Return a time zone by its IANA name.

    Raises:
        ValueError: there is none of that name.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"{name!r} is no time zone: use an IANA name such as 'Europe/Berlin' or 'UTC'") from error


@dataclass(frozen=True, slots=True)
class Recurrence:
    """What a text says, line by line. Made by `parse`."""

    start: datetime
    rules: tuple[str, ...]
    dates: tuple[str, ...]
    excluded_rules: tuple[str, ...]
    excluded_dates: tuple[str, ...]

    def walls(self, after: datetime, until: datetime) -> Iterator[datetime]:
        """Yield the times from `after` to `until`, both inclusive, in order."""
        found = rruleset()
        for text in self.rules:
            found.rrule(self._rule(text, after, until))
        for text in self.dates:
            found.rdate(_wall(text))
        for text in self.excluded_rules:
            found.exrule(self._rule(text, after, until))
        for text in self.excluded_dates:
            found.exdate(_wall(text))
        for wall in found.xafter(after, inc=True):
            if wall > until:
                return
            yield wall

    def _rule(self, text: str, after: datetime, until: datetime) -> rrule:
        parts = _parts_of(text)
        start = self.start
        length = _FIXED_LENGTHS.get(parts["FREQ"])
        if length is not None and after > start:
            # Years of seconds would be counted one by one otherwise.
            step = length * int(parts.get("INTERVAL", "1"))
            start += (after - start) // step * step
        rule = rrulestr(text, dtstart=start)
        if not isinstance(rule, rrule):
            raise TypeError(f"{text!r} is not one rule")
        end = _wall(parts["UNTIL"]) if "UNTIL" in parts else until
        return rule.replace(until=min(end, until))


def parse(text: str, zone: ZoneInfo) -> Recurrence:
    """Return what a text says in a time zone; times that name a zone of their own are converted.

    Raises:
        ValueError: it is too long, or is no text of RFC 5545, or has COUNT, which depends on where one starts.
    """
    if len(text) > LONGEST_TEXT:
        raise ValueError(f"an rrule has at most {LONGEST_TEXT} characters, not {len(text)}")
    lines: dict[str, list[str]] = {name: [] for name in ("DTSTART", "RRULE", "EXRULE", "RDATE", "EXDATE")}
    for line in text.split():
        head, colon, value = line.rpartition(":")
        name, _, options = head.upper().partition(";") if colon else ("RRULE", "", "")
        if name not in lines:
            raise ValueError(f"{line!r} is no line of an rrule: use {', '.join(lines)}")
        found = _ZONED.search(head)
        local = zone if found is None else zone_of(found[1])
        if options and found is None and options.upper() not in ("VALUE=DATE-TIME", "VALUE=DATE"):
            raise ValueError(f"{line!r} has an option that is not supported")
        lines[name].append(_in_zone(value, local, zone))
    if not lines["RRULE"] and not lines["RDATE"]:
        raise ValueError(f"{text!r} has neither RRULE nor RDATE")
    if len(lines["DTSTART"]) > 1:
        raise ValueError(f"{text!r} has more than one DTSTART")
    recurrence = Recurrence(
        start=_wall(lines["DTSTART"][0]) if lines["DTSTART"] else _DEFAULT_START,
        rules=tuple(lines["RRULE"]),
        dates=tuple(date for value in lines["RDATE"] for date in value.split(",")),
        excluded_rules=tuple(lines["EXRULE"]),
        excluded_dates=tuple(date for value in lines["EXDATE"] for date in value.split(",")),
    )
    for rule in (*recurrence.rules, *recurrence.excluded_rules):
        _check(rule, recurrence.start)
    for date in (*recurrence.dates, *recurrence.excluded_dates):
        _wall(date)
    return recurrence


def zone_in(text: str) -> str | None:
    """Return the name of the time zone in which a text has its DTSTART; None when it says none."""
    found = re.search(r"DTSTART;TZID=([^:;]+)", text, re.IGNORECASE)
    return None if found is None else found[1]


def _check(rule: str, start: datetime) -> None:
    parts = _parts_of(rule)
    if "COUNT" in parts:
        raise ValueError(f"COUNT in {rule!r} is not supported: use UNTIL")
    if "FREQ" not in parts:
        raise ValueError(f"{rule!r} has no FREQ")
    if "INTERVAL" in parts and not (parts["INTERVAL"].isdigit() and int(parts["INTERVAL"])):
        raise ValueError(f"INTERVAL in {rule!r} must be a whole number greater than 0")
    if "UNTIL" in parts:
        _wall(parts["UNTIL"])
    try:
        rrulestr(rule, dtstart=start)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise ValueError(f"{rule!r} is no rule of RFC 5545: {error}") from error


def _parts_of(rule: str) -> dict[str, str]:
    parts: dict[str, str] = {}
    for part in rule.upper().split(";"):
        name, _, value = part.partition("=")
        parts[name] = value
    return parts


def _in_zone(value: str, local: ZoneInfo, zone: ZoneInfo) -> str:
    """Rewrite the times in a value for a zone; those without `Z` are times of `local`."""

    def from_utc(match: re.Match[str]) -> str:
        return datetime.strptime(match[1], _FORMAT).replace(tzinfo=UTC).astimezone(zone).strftime(_FORMAT)

    def from_local(match: re.Match[str]) -> str:
        return datetime.strptime(match[0], _FORMAT).replace(tzinfo=local).astimezone(zone).strftime(_FORMAT)

    if local is not zone:
        value = re.sub(r"\d{8}T\d{6}(?!Z)", from_local, value)
    return _UTC_TIME.sub(from_utc, value)


def _wall(text: str) -> datetime:
    for form in (_FORMAT, "%Y%m%d"):
        try:
            return datetime.strptime(text, form)  # noqa: DTZ007  wall-clock time, see above
        except ValueError:
            continue
    raise ValueError(f"{text!r} is no time of RFC 5545, such as 20300101T090000")
