from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowyard.store.encoding import from_microseconds, record_to_json, storable_text, to_json, to_microseconds

times = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001


@given(times)
def test_a_time_survives_storage_to_the_microsecond(moment: datetime) -> None:
    assert from_microseconds(to_microseconds(moment)) == moment


def test_a_time_of_another_zone_is_stored_as_the_same_moment() -> None:
    moment = datetime(2026, 3, 1, 2, 0, tzinfo=timezone(timedelta(hours=2)))
    assert from_microseconds(to_microseconds(moment)) == datetime(2026, 3, 1, tzinfo=UTC)


def test_a_naive_time_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        to_microseconds(datetime(2026, 3, 1))  # noqa: DTZ001


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(json_values.filter(lambda value: "\x00" not in repr(value) and "\\x00" not in repr(value)))
def test_json_comes_back_as_it_was(value: object) -> None:
    assert (
        json.loads(to_json(value)) == json.loads(json.dumps(value)) == json.loads(to_json(json.loads(to_json(value))))
    )


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        ({"x": float("nan")}, {"x": None}),
        ([float("inf"), 1.5], [None, 1.5]),
        ({"a\x00": "b\udc80"}, {"a\N{REPLACEMENT CHARACTER}": "b" + "\N{REPLACEMENT CHARACTER}" * 3}),
    ],
    ids=["not a number", "infinity", "text that databases refuse"],
)
def test_what_json_cannot_say_is_replaced(value: object, stored: object) -> None:
    assert json.loads(to_json(value)) == stored


@given(
    st.none() | st.text(),
    st.none() | st.booleans() | st.integers(),
    st.none() | st.floats(-1e9, 1e9),
    st.none() | st.floats(),
)
def test_a_record_is_the_json_of_its_values(
    text: str | None, count: int | None, seconds: float | None, anything: float | None
) -> None:
    values = {"text": text, "count": count, "seconds": seconds, "anything": anything}
    stored = json.loads(record_to_json(tuple(values), tuple(values.values())))
    as_usual = json.loads(to_json({name: value for name, value in values.items() if value is not None}))
    assert stored.keys() == as_usual.keys()
    for name, value in as_usual.items():
        assert stored[name] == (pytest.approx(value, abs=1e-6) if isinstance(value, float) else value)


@given(st.text(st.characters()) | st.text(alphabet="a\x00\udc80\ud83dé"))
def test_stored_text_can_always_be_encoded(text: str) -> None:
    stored = storable_text(text)
    assert "\x00" not in stored
    stored.encode()


@given(st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x00")))
def test_harmless_text_is_stored_as_it_is(text: str) -> None:
    assert storable_text(text) == text
