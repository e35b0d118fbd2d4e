"""Traces hold to the "Trace Event Format"."""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from typing import Any

import pytest

from flowyard.profiling.timeline import Timeline
from flowyard.profiling.trace import trace_events
from flowyard.profiling.workers import lanes_of
from flowyard.schemas.metrics import TaskMetrics
from flowyard.schemas.states import StateType
from flowyard.testing.timings import make_timeline, make_timing

S = StateType


@pytest.fixture
def timeline() -> Timeline:
    """Two workers, one with two calls at a time; an input, a nested run, a retry, and a call that takes no time."""
    states = [(S.PENDING, 0.0), (S.RUNNING, 1.0), (S.SCHEDULED, 2.0), (S.RUNNING, 4.0), (S.COMPLETED, 5.0)]
    return make_timeline(
        make_timing(1, start=0.5, end=2, metrics=TaskMetrics(worker="a", run_seconds=1.0)),
        make_timing(2, start=1, end=3, metrics=TaskMetrics(worker="a")),
        make_timing(3, start=1, end=5, metrics=TaskMetrics(worker="b"), states=states),
        make_timing(4, start=1.2, end=1.4, parent=1),
        make_timing(5, start=5, end=5, upstream=[1, 3], metrics=TaskMetrics(worker="b")),
        make_timing(6, start=None, end=None, state_type=S.PENDING),
        seconds=6,
    )


@pytest.fixture
def events(timeline: Timeline) -> list[dict[str, Any]]:
    events = list(trace_events(timeline, lanes_of(timeline), name="brave-otter"))
    return json.loads(json.dumps(events, allow_nan=False))


def of(events: list[dict[str, Any]], *phases: str) -> list[dict[str, Any]]:
    return [event for event in events if event["ph"] in phases]


def test_every_event_has_the_fields_of_its_phase(events: list[dict[str, Any]]):
    assert {event["ph"] for event in events} == {"M", "X", "b", "e", "s", "f"}
    for event in events:
        assert isinstance(event["name"], str)
        assert isinstance(event["pid"], int)
        assert isinstance(event["tid"], int)
        if event["ph"] != "M":
            assert event["ts"] >= 0
            assert isinstance(event["cat"], str)
        if event["ph"] == "X":
            assert event["dur"] > 0
        if event["ph"] in "besf":
            assert isinstance(event["id"], int), "Perfetto reads text as hexadecimal digits"


def test_every_track_has_a_name(events: list[dict[str, Any]]):
    names = {
        (event["pid"], event["tid"]): event["args"]["name"] for event in of(events, "M") if "name" in event["args"]
    }
    used = {(event["pid"], event["tid"]) for event in of(events, "X")}
    assert used <= set(names)
    assert {names[pid, 0] for pid, _ in used} == {"flow run brave-otter", "a", "b"}


def test_slices_of_a_track_do_not_overlap(events: list[dict[str, Any]]):
    tracks: defaultdict[tuple[int, int], list[tuple[float, float]]] = defaultdict(list)
    for event in of(events, "X"):
        tracks[event["pid"], event["tid"]].append((event["ts"], event["ts"] + event["dur"]))
    assert len(tracks) == 4, "the flow, two slots of one worker, one of the other"
    for slices in tracks.values():
        slices.sort()
        for (_, end), (start, _) in itertools.pairwise(slices):
            assert end <= start


def test_every_attempt_is_a_slice_with_what_is_known_of_the_run(events: list[dict[str, Any]]):
    slices = [(event["name"], event["ts"], event["dur"]) for event in of(events, "X") if event["cat"] == "work"]
    assert ("work-3", 1e6, 1e6) in slices
    assert ("work-3", 4e6, 1e6) in slices
    first = next(event for event in of(events, "X") if event["name"] == "work-1")
    assert first["args"]["run_seconds"] == 1.0
    assert first["args"]["state"] == "COMPLETED"


def test_what_waits_begins_and_ends_once(events: list[dict[str, Any]]):
    begun = {(event["cat"], event["id"]): event for event in of(events, "b")}
    ended = {(event["cat"], event["id"]): event for event in of(events, "e")}
    assert begun.keys() == ended.keys()
    assert len(begun) == len(of(events, "b")) == len(of(events, "e"))
    waits = [(event["name"], event["ts"], ended[key]["ts"]) for key, event in begun.items()]
    assert ("queued", 0.0, 0.5e6) in waits
    assert ("awaiting retry", 2e6, 4e6) in waits
    assert all(start < end for _, start, end in waits)


def test_arrows_go_from_slice_to_slice_and_forward_in_time(events: list[dict[str, Any]]):
    sources = {event["id"]: event for event in of(events, "s")}
    targets = {event["id"]: event for event in of(events, "f")}
    assert sources.keys() == targets.keys()
    assert len(sources) == 2

    def slice_at(event: dict[str, Any]) -> str:
        return next(
            part["name"]
            for part in of(events, "X")
            if (part["pid"], part["tid"]) == (event["pid"], event["tid"])
            and part["ts"] <= event["ts"] < part["ts"] + part["dur"]
        )

    for number, source in sources.items():
        target = targets[number]
        assert source["name"] == target["name"]
        assert source["cat"] == target["cat"]
        assert target["bp"] == "e"
        assert source["ts"] <= target["ts"]
    assert sorted(slice_at(source) for source in sources.values()) == ["work-1", "work-3"]
    assert {slice_at(target) for target in targets.values()} == {"work-5"}
