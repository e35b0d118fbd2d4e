"""Calling the command line in tests, and saying what it must answer."""

from __future__ import annotations

import os
import shlex
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from tempfile import TemporaryDirectory

from rich.console import Console
from typer.testing import CliRunner, Result

from flowyard.cli import app


def check_contains(cli_result: Result, content: str, should_contain: bool) -> None:
    """Check that the output has, or has not, a text; neither's white space at the ends of lines counts.

    Raises:
        AssertionError: it is otherwise; shows the output.
    """
    output = _normalised(cli_result.output)
    content = _normalised(content)
    if (content in output) is should_contain:
        return
    wanted = "lacks" if should_contain else "must not have"
    raise AssertionError(f"the output {wanted}\n{content}\n--- output ---\n{output}")


def invoke_and_assert(
    command: str | list[str],
    user_input: str | None = None,
    prompts_and_responses: Sequence[tuple[str, str] | tuple[str, str, str]] = (),
    expected_output: str | None = None,
    expected_output_contains: str | Iterable[str] | None = None,
    expected_output_does_not_contain: str | Iterable[str] | None = None,
    expected_line_count: int | None = None,
    expected_code: int | None = 0,
    echo: bool = True,
    temp_dir: str | None = None,
) -> Result:
    """Run a `flowyard` command in this process and check its answer.

    Args:
        command: what follows `flowyard`: one line as in a shell, or a list of words.
        user_input: what is typed.
        prompts_and_responses: pairs of a prompt that must be shown and what is typed there; a third text must then be
            shown as the choice.
        expected_output: the whole output, but for white space at the ends.
        expected_output_contains: a text, or several, that the output must have.
        expected_output_does_not_contain: a text, or several, that it must not have.
        expected_line_count: how many lines it must have.
        expected_code: the exit code; None for any.
        echo: print the output, for pytest to show when the test fails.
        temp_dir: the folder the command runs in; by default an empty one.

    Raises:
        AssertionError: the answer is another; shows it.
        ValueError: both `user_input` and `prompts_and_responses` are given.
    """
    if prompts_and_responses:
        if user_input is not None:
            raise ValueError("give user_input or prompts_and_responses, not both")
        user_input = "\n".join(step[1] for step in prompts_and_responses) + "\n"
    arguments = shlex.split(command) if isinstance(command, str) else command
    with _folder(temp_dir):
        result = CliRunner().invoke(app, arguments, input=user_input, catch_exceptions=False)
    if echo:
        print(result.output)  # noqa: T201  pytest keeps it for a test that fails
    if expected_code is not None and result.exit_code != expected_code:
        raise AssertionError(
            f"`flowyard {shlex.join(arguments)}` ended with {result.exit_code} instead of {expected_code}"
            f"\n--- output ---\n{result.output}"
        )
    if expected_output is not None and _normalised(result.output) != _normalised(expected_output):
        raise AssertionError(f"expected\n{_normalised(expected_output)}\n--- output ---\n{_normalised(result.output)}")
    for step in prompts_and_responses:
        for text in (step[0], *step[2:]):
            check_contains(result, text, should_contain=True)
    for text in _texts(expected_output_contains):
        check_contains(result, text, should_contain=True)
    for text in _texts(expected_output_does_not_contain):
        check_contains(result, text, should_contain=False)
    if expected_line_count is not None and (count := len(result.output.splitlines())) != expected_line_count:
        raise AssertionError(f"{count} lines instead of {expected_line_count}\n--- output ---\n{result.output}")
    return result


def _texts(given: str | Iterable[str] | None) -> Iterable[str]:
    if given is None:
        return ()
    return (given,) if isinstance(given, str) else given


def _normalised(text: str) -> str:
    return "\n".join(line.strip() for line in text.strip().splitlines())


@contextmanager
def _folder(path: str | None) -> Generator[None]:
    before = os.getcwd()
    with TemporaryDirectory() as empty:
        os.chdir(path or empty)
        try:
            yield
        finally:
            os.chdir(before)


@contextmanager
def temporary_console_width(console: Console, width: int) -> Generator[None]:
    """Let a rich console be `width` columns wide within the block."""
    before = console._width  # pyright: ignore[reportPrivateUsage]  `console.width` would fix what follows the terminal
    console.width = width
    try:
        yield
    finally:
        console._width = before  # pyright: ignore[reportPrivateUsage]
