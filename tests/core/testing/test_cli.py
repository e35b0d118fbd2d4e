from __future__ import annotations

import os
from collections.abc import Generator

import pytest
from rich.console import Console

from flowyard.testing.cli import invoke_and_assert, temporary_console_width
from flowyard.testing.utilities import flowyard_test_harness


@pytest.fixture(autouse=True)
def harness() -> Generator[None]:
    with flowyard_test_harness():
        yield


def test_an_answer_that_is_as_expected_is_returned() -> None:
    result = invoke_and_assert(
        "flow ls --output json",
        expected_output="[]",
        expected_output_does_not_contain=["x", "y"],
        expected_line_count=1,
    )
    assert result.exit_code == 0


def test_words_can_be_given_one_by_one() -> None:
    result = invoke_and_assert(["version", "--help"], expected_output_contains=["Usage", "version"])
    assert result.exit_code == 0


def test_another_exit_code_fails_and_shows_the_output() -> None:
    with pytest.raises(AssertionError, match=r"(?s)`flowyard nonsense` ended with 2 instead of 0.*No such command"):
        invoke_and_assert("nonsense")


@pytest.mark.parametrize(
    ("expectation", "complaint"),
    [
        ({"expected_output": "nothing"}, "expected\nnothing\n--- output ---\nNo such"),
        ({"expected_output_contains": "nothing"}, "the output lacks\nnothing"),
        ({"expected_output_does_not_contain": ["abc", "No such"]}, "the output must not have\nNo such"),
        ({"expected_line_count": 70}, "instead of 70"),
    ],
)
def test_another_output_fails_and_shows_it(expectation: dict[str, object], complaint: str) -> None:
    with pytest.raises(AssertionError) as caught:
        invoke_and_assert("nonsense", expected_code=None, **expectation)  # pyright: ignore[reportArgumentType]
    assert complaint.split("\n")[0] in str(caught.value)
    assert "No such command" in str(caught.value)


def test_prompts_are_answered_in_order() -> None:
    result = invoke_and_assert(
        "--prompt database reset",
        prompts_and_responses=[("Delete all runs", "n", "Aborted!")],
        expected_code=1,
    )
    assert result.output.index("Delete all runs") < result.output.index("Aborted!")


def test_input_is_given_in_one_way_only() -> None:
    with pytest.raises(ValueError, match="not both"):
        invoke_and_assert("version", user_input="y", prompts_and_responses=[("Sure?", "y")])


def test_the_command_runs_in_a_folder_of_its_own() -> None:
    before = os.getcwd()
    invoke_and_assert("version")
    assert os.getcwd() == before


def test_a_console_can_be_narrow_for_a_while() -> None:
    console = Console(width=100)
    with temporary_console_width(console, 40):
        assert console.width == 40
    assert console.width == 100
