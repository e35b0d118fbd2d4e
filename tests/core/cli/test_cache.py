from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from flowyard import flow, task
from flowyard.cache_policies import INPUTS, TASK_SOURCE
from flowyard.process.backends import close_backends


@pytest.fixture(autouse=True)
def backend(home: Path) -> Iterator[None]:
    """Let go of the state backend of a test when it ends."""
    del home
    yield
    close_backends()


def ids_of(work: Any, *arguments: Any) -> list[str]:
    """Run a flow that calls a task with each argument; return the ids of the task runs."""

    @flow
    def calls() -> list[str]:
        return [str(work(argument, return_state=True).state_details.task_run_id) for argument in arguments]

    return calls()


@task(cache_policy=INPUTS)
def square(x: Any) -> list[Any]:
    return ["square of", str(x)]


@task(cache_policy=INPUTS + TASK_SOURCE, cache_expiration=timedelta(microseconds=1))
def short_lived(x: int) -> list[int]:
    return [x]


@task
def plain(x: int) -> int:
    return x


class TestLs:
    def test_an_empty_cache_says_how_values_get_there(self, run) -> None:
        assert "cache_policy" in run("cache", "ls").stdout
        assert run("cache", "ls", "-o", "json").json() == []

    def test_values_are_listed_newest_first(self, run) -> None:
        first, second, _ = ids_of(square, 1, 2, 1)
        listed = run("cache", "ls", "--output", "json").json()
        assert [record["task_run_id"] for record in listed] == [second, first]
        assert listed[0]["components"].keys() == {"inputs.x"}
        assert listed[0]["result"]["value_type"] == "list"
        assert "square" in run("cache", "ls").stdout

    def test_only_those_of_a_task(self, run) -> None:
        ids_of(square, 1)
        ids_of(short_lived, 1)
        listed = run("cache", "ls", "--task", "short_lived", "-o", "json").json()
        assert [(record["task_name"], record["is_expired"]) for record in listed] == [("short_lived", True)]
        assert "expired" in run("cache", "ls").stdout


class TestClear:
    def test_what_was_forgotten_executes_again(self, run) -> None:
        ids_of(square, 1, 2)
        assert run("cache", "clear", "--yes").stdout == "Forgot 2 cached values.\n"
        (again,) = ids_of(square, 1)
        assert run("cache", "explain", again, "-o", "json").json()["outcome"] == "miss"

    def test_only_what_expired(self, run) -> None:
        ids_of(square, 1)
        ids_of(short_lived, 1)
        assert run("cache", "clear", "--expired", "-y", "-o", "json").json() == {"deleted": 1}
        assert [record["task_name"] for record in run("cache", "ls", "-o", "json").json()] == ["square"]

    def test_only_the_keys_that_are_named(self, run) -> None:
        ids_of(square, 1, 2)
        key = run("cache", "ls", "-o", "json").json()[0]["key"]
        assert run("cache", "clear", key, "-y", "-o", "json").json() == {"deleted": 1}
        assert key not in run("cache", "ls").stdout

    def test_it_asks_first(self, run) -> None:
        ids_of(square, 1)
        done = run("--no-prompt", "cache", "clear")
        assert done.code == 1
        assert "Forget 1 cached values? Nobody can be asked here; use --yes" in done.stdout
        assert len(run("cache", "ls", "-o", "json").json()) == 1


class TestExplain:
    def test_a_hit_names_the_run_that_made_the_value(self, run) -> None:
        first, second = ids_of(square, 1, 1)
        report = run("cache", "explain", second, "-o", "json").json()
        assert (report["outcome"], report["source"], report["task_run_id"]) == ("hit", first, second)
        text = run("cache", "explain", second).stdout
        assert "hit: not executed" in text
        assert f"its key was used by task run {first}" in text

    def test_a_miss_names_the_component_that_differs(self, run) -> None:
        first, second = ids_of(short_lived, 1, 2)
        report = run("cache", "explain", second, "-o", "json").json()
        assert report["outcome"] == "miss"
        assert report["reason"] == "no value was kept under its key"
        assert report["compared_with"]["task_run_id"] == first
        assert report["compared_with"]["differing"] == ["inputs.x"]
        text = run("cache", "explain", second).stdout
        assert "inputs.x: differs" in text
        assert "task_source: the same" in text

    def test_an_expired_value_is_told(self, run) -> None:
        _, second = ids_of(short_lived, 1, 1)
        assert "expired at" in run("cache", "explain", second).stdout

    def test_an_argument_that_cannot_be_hashed_is_told(self, run) -> None:
        (only,) = ids_of(square.with_options(name="lock"), threading.Lock())
        text = run("cache", "explain", only).stdout
        assert "argument 'x' (a lock) cannot be hashed" in text
        assert "inputs.x = (cannot be hashed)" in text

    def test_a_task_without_a_cache_says_so(self, run) -> None:
        (only,) = ids_of(plain, 1)
        report = run("cache", "explain", only, "-o", "json").json()
        assert report["outcome"] == "none"
        assert "its task has no cache" in report["reason"]

    def test_an_unknown_run_is_an_error(self, run) -> None:
        done = run("cache", "explain", "00000000-0000-0000-0000-000000000000")
        assert done.code == 1
        assert "flowyard task-run ls" in done.stdout
