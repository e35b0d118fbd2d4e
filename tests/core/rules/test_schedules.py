"""The dates of schedules, above all where the clocks change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from flowyard.rules.schedules import dates_of
from flowyard.schemas.api.schedules import CronSchedule, IntervalSchedule, RRuleSchedule, Schedule

NEW_YORK = "America/New_York"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def hours(schedule: Schedule, start: str, limit: int) -> list[str]:
    """The next dates in UTC, as `day hour:minute`."""
    return [f"{date:%d %H:%M}" for date in dates_of(schedule, start=at(start), limit=limit)]


# --- cron --------------------------------------------------------------------------------------------


def test_an_hourly_cron_skips_the_hour_that_comes_twice() -> None:
    # In New York the clock shows 1:00 at 5:00 and at 6:00 UTC.
    schedule = CronSchedule(cron="0 * * * *", timezone=NEW_YORK)
    assert hours(schedule, "2025-11-02T04:00", 4) == ["02 04:00", "02 05:00", "02 07:00", "02 08:00"]


def test_an_hourly_cron_runs_once_where_an_hour_is_missing() -> None:
    # There is no 2:00 in New York that day: 1:00 is 6:00 UTC, 3:00 is 7:00 UTC.
    schedule = CronSchedule(cron="0 * * * *", timezone=NEW_YORK)
    assert hours(schedule, "2025-03-09T06:00", 3) == ["09 06:00", "09 07:00", "09 08:00"]


def test_a_daily_cron_keeps_its_time_on_the_clock() -> None:
    schedule = CronSchedule(cron="30 9 * * *", timezone=NEW_YORK)
    assert hours(schedule, "2025-03-08T00:00", 3) == ["08 14:30", "09 13:30", "10 13:30"]


def test_a_time_that_the_clock_skips_happens_an_hour_later() -> None:
    schedule = CronSchedule(cron="30 2 * * *", timezone=NEW_YORK)
    assert hours(schedule, "2025-03-08T00:00", 3) == ["08 07:30", "09 07:30", "10 06:30"]
    # Also when one looks between the time that was skipped and the moment it happens.
    assert hours(schedule, "2025-03-09T07:10", 1) == ["09 07:30"]


def test_times_that_were_skipped_come_in_order_with_those_that_follow() -> None:
    schedule = CronSchedule(cron="15,45 2,3 9 3 *", timezone=NEW_YORK)
    assert hours(schedule, "2025-03-09T00:00", 2) == ["09 07:15", "09 07:45"]
    schedule = CronSchedule(cron="30 2,3 9 3 *", timezone=NEW_YORK)
    assert hours(schedule, "2025-03-09T00:00", 1) == ["09 07:30"]


def test_a_cron_asks_for_one_of_its_days_or_for_both() -> None:
    either = CronSchedule(cron="0 0 13 * FRI")
    both = CronSchedule(cron="0 0 13 * FRI", day_or=False)
    assert [date.day for date in dates_of(either, start=at("2025-06-01"), limit=3)] == [6, 13, 20]
    assert [f"{date:%Y-%m-%d}" for date in dates_of(both, start=at("2025-01-01"), limit=2)] == [
        "2025-06-13",
        "2026-02-13",
    ]


def test_a_cron_takes_seconds_and_words() -> None:
    assert hours(CronSchedule(cron="@daily"), "2025-01-01T00:00:00.5", 1) == ["02 00:00"]
    dates = dates_of(CronSchedule(cron="* * * * * */20"), start=at("2025-01-01"), limit=3)
    assert [date.second for date in dates] == [0, 20, 40]


def test_a_cron_that_never_comes_has_no_dates() -> None:
    assert dates_of(CronSchedule(cron="0 0 30 2 *"), start=at("2025-01-01"), limit=3) == []


# --- intervals -----------------------------------------------------------------------------------------


def test_a_short_interval_is_a_length_of_time() -> None:
    schedule = IntervalSchedule(interval=timedelta(hours=1), anchor_date=at("2025-01-01T00:10"), timezone=NEW_YORK)
    assert hours(schedule, "2025-11-02T05:00", 3) == ["02 05:10", "02 06:10", "02 07:10"]


def test_an_interval_of_days_counts_on_the_clock() -> None:
    anchor = datetime(2025, 3, 7, 9, tzinfo=ZoneInfo(NEW_YORK))
    schedule = IntervalSchedule(interval=timedelta(days=1), anchor_date=anchor)
    assert schedule.timezone == NEW_YORK
    assert hours(schedule, "2025-03-08T00:00", 3) == ["08 14:00", "09 13:00", "10 13:00"]


def test_an_anchor_without_a_zone_is_on_the_clock_of_the_schedule() -> None:
    schedule = IntervalSchedule.model_validate(
        {"interval": 86400, "anchor_date": "2025-07-01T09:00:00", "timezone": NEW_YORK}
    )
    assert schedule.anchor_date == at("2025-07-01T13:00")


def test_an_anchor_may_be_in_the_future() -> None:
    schedule = IntervalSchedule(interval=timedelta(minutes=10), anchor_date=at("2030-01-01T00:05"))
    assert hours(schedule, "2025-01-01T00:00", 2) == ["01 00:05", "01 00:15"]


MOMENTS = st.integers(0, 10 * 365 * 86400).map(lambda seconds: at("2020-01-01") + timedelta(seconds=seconds))


@given(
    seconds=st.integers(1, 10 * 86400),
    anchor=MOMENTS,
    start=MOMENTS,
    timezone=st.sampled_from(["UTC", NEW_YORK, "Europe/London", "Australia/Lord_Howe", "Asia/Kolkata"]),
)
def test_dates_are_ordered_and_there_is_none_before_the_start(
    seconds: int, anchor: datetime, start: datetime, timezone: str
) -> None:
    schedule = IntervalSchedule(interval=timedelta(seconds=seconds), anchor_date=anchor, timezone=timezone)
    dates = dates_of(schedule, start=start, limit=20)
    assert dates == sorted(set(dates))
    assert dates[0] >= start
    assert dates[0] - start < timedelta(seconds=seconds) + timedelta(hours=1)
    # Looking again from a date gives that date and the ones after it.
    assert dates_of(schedule, start=dates[3], limit=5) == dates[3:8]


# --- rrules --------------------------------------------------------------------------------------------


def test_an_rrule_keeps_its_time_on_the_clock() -> None:
    schedule = RRuleSchedule(rrule=f"DTSTART;TZID={NEW_YORK}:20250101T090000\nRRULE:FREQ=DAILY")
    assert schedule.timezone == NEW_YORK
    assert hours(schedule, "2025-03-08T00:00", 3) == ["08 14:00", "09 13:00", "10 13:00"]


def test_an_rrule_without_a_start_counts_from_2020() -> None:
    # 2020 began on a Wednesday.
    assert hours(RRuleSchedule(rrule="FREQ=WEEKLY"), "2025-01-02T00:00", 1) == ["08 00:00"]


def test_an_rrule_ends() -> None:
    schedule = RRuleSchedule(rrule="RRULE:FREQ=DAILY;UNTIL=20250103T000000Z")
    assert hours(schedule, "2025-01-02T00:00", 5) == ["02 00:00", "03 00:00"]


def test_sets_of_rules_add_and_leave_out_dates() -> None:
    text = "\n".join(
        [
            "DTSTART:20250101T060000",
            "RRULE:FREQ=DAILY",
            "EXRULE:FREQ=DAILY;BYDAY=SA,SU",
            "EXDATE:20250107T060000",
            "RDATE:20250104T120000",
        ]
    )
    assert hours(RRuleSchedule(rrule=text), "2025-01-03T00:00", 4) == ["03 06:00", "04 12:00", "06 06:00", "08 06:00"]


def test_a_rule_of_seconds_that_began_long_ago_is_not_counted_through() -> None:
    schedule = RRuleSchedule(rrule="DTSTART:19700101T000003\nRRULE:FREQ=SECONDLY;INTERVAL=7")
    first = dates_of(schedule, start=at("2025-06-01"), limit=1)[0]
    assert (first - at("1970-01-01T00:00:03")) % timedelta(seconds=7) == timedelta(0)
    assert timedelta(0) <= first - at("2025-06-01") < timedelta(seconds=7)


# --- what is refused -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"cron": "R * * * *"}, "random"),
        ({"cron": "H H * * *"}, "hashed"),
        ({"cron": "61 * * * *"}, "'61 * * * *'"),
        ({"cron": "@daily", "timezone": "Mars/Olympus"}, "'Mars/Olympus' is no time zone"),
        ({"interval": 0}, "greater than 0"),
        ({"rrule": "FREQ=DAILY;COUNT=3"}, "use UNTIL"),
        ({"rrule": "FREQ=DAILY;INTERVAL=0"}, "greater than 0"),
        ({"rrule": "every day"}, "every"),
        ({"rrule": "RRULE:FREQ=DAILY" + " " * 6500}, "6500"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_schedule_that_cannot_be_read_is_refused(values: dict[str, object], said: str) -> None:
    kind = CronSchedule if "cron" in values else IntervalSchedule if "interval" in values else RRuleSchedule
    with pytest.raises(ValidationError) as caught:
        kind.model_validate(values)
    assert said in str(caught.value)


def test_dates_stop_at_the_end() -> None:
    dates = dates_of(CronSchedule(cron="@hourly"), start=at("2025-01-01"), end=at("2025-01-01T03:00"))
    assert [date.hour for date in dates] == [0, 1, 2, 3]
