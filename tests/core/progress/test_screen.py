from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

import pytest

from flowyard.progress.screen import Screen
from flowyard.progress.streams import MAX_HELD_CHARACTERS, HeldText, StandIn
from flowyard.progress.tally import Tally
from flowyard.schemas.states import StateType

from .terminal import seen


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal() -> Terminal:
    return Terminal()


OpenScreen = Callable[..., Screen]


@pytest.fixture
def open_screen(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> OpenScreen:
    """Return a function, because pytest puts its own streams in place between a fixture and the test."""

    def open_screen(width: int = 100, height: int = 30, stdout: TextIO = terminal) -> Screen:
        monkeypatch.setattr(sys, "stderr", terminal)
        monkeypatch.setattr(sys, "stdout", stdout)
        screen = Screen(terminal, width=width, height=height)
        screen.open()
        return screen

    return open_screen


@pytest.fixture
def tally() -> Tally:
    """100 runs of `parse`: 40 completed in 4 seconds, 2 failed, 3 running."""
    tally = Tally()
    tally.apply(("parse", 100), 0.0)
    for name, kind, count in (
        ("Completed", StateType.COMPLETED, 40),
        ("Failed", StateType.FAILED, 2),
        ("Running", StateType.RUNNING, 3),
    ):
        for _ in range(count):
            tally.apply(("parse", name, kind, None, None), 4.0)
    return tally


def test_a_line_says_name_count_states_rate_and_time_left(
    terminal: Terminal, tally: Tally, open_screen: OpenScreen
) -> None:
    screen = open_screen(120, 30)
    screen.draw(tally, 4.0)
    (line,) = [line for line in seen(terminal.getvalue()) if line]
    words = line.split()
    assert words[0] == "parse"
    assert set(words[1]) <= set("━╸╺")
    assert words[2:] == ["42/100", "Completed", "40", "Failed", "2", "Running", "3", "10/s", "0:00:06"]
    screen.close(tally, 4.0)


def test_text_scrolls_above_the_drawing_untorn(terminal: Terminal, tally: Tally, open_screen: OpenScreen) -> None:
    screen = open_screen()
    for number in range(5):
        print(f"line {number} " + "long " * 40)
        print(f"to stderr {number}", file=sys.stderr)
        screen.draw(tally, 4.0)
    print("after the last drawing")
    screen.close(tally, 4.0)
    print("after the view")
    lines = [line for line in seen(terminal.getvalue()) if line]
    expected = [text for n in range(5) for text in (f"line {n} " + ("long " * 40).rstrip(), f"to stderr {n}")]
    assert lines[:10] == expected
    assert lines[10] == "after the last drawing"
    assert lines[11].startswith("parse ")
    assert lines[12:] == ["after the view"]


def test_a_line_that_is_not_complete_waits_below_the_others(
    terminal: Terminal, tally: Tally, open_screen: OpenScreen
) -> None:
    screen = open_screen()
    print("working ", end="")
    screen.draw(tally, 4.0)
    assert [line.split()[0] for line in seen(terminal.getvalue()) if line] == ["working", "parse"]
    print("done")
    screen.draw(tally, 4.0)
    assert next(line for line in seen(terminal.getvalue()) if line) == "working done"
    print("and", end="")
    screen.close(tally, 4.0)
    assert seen(terminal.getvalue())[-1] == "and"


def test_colours_of_a_line_are_kept(terminal: Terminal, tally: Tally, open_screen: OpenScreen) -> None:
    screen = open_screen()
    print("\x1b[31mred\x1b[0m [bold]x[/bold]")
    screen.close(tally, 4.0)
    assert "\x1b[31mred\x1b[0m [bold]x[/bold]\n" in terminal.getvalue()


def test_after_the_view_the_streams_are_the_real_ones(
    terminal: Terminal, tally: Tally, open_screen: OpenScreen
) -> None:
    screen = open_screen()
    kept = sys.stderr
    assert isinstance(kept, StandIn)
    assert kept.isatty()
    screen.close(tally, 4.0)
    assert (sys.stderr, sys.stdout) == (terminal, terminal)
    kept.write("through a stand-in that was kept\n")
    assert "through a stand-in that was kept" in seen(terminal.getvalue())


def test_a_stream_that_somebody_replaced_meanwhile_is_left(
    terminal: Terminal, tally: Tally, open_screen: OpenScreen, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = open_screen()
    theirs = io.StringIO()
    monkeypatch.setattr(sys, "stdout", theirs)
    screen.close(tally, 4.0)
    assert sys.stdout is theirs


def test_only_terminals_are_held_back(
    terminal: Terminal, tally: Tally, open_screen: OpenScreen, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = io.StringIO()
    screen = open_screen(stdout=file)
    print("to the file")
    assert file.getvalue() == "to the file\n"
    screen.close(tally, 4.0)


def test_the_cursor_is_never_hidden(terminal: Terminal, tally: Tally, open_screen: OpenScreen) -> None:
    screen = open_screen()
    screen.draw(tally, 4.0)
    screen.close(tally, 4.0)
    assert "\x1b[?25l" not in terminal.getvalue()


def test_more_tasks_than_lines_are_summed_up(terminal: Terminal, open_screen: OpenScreen) -> None:
    tally = Tally()
    for number in range(20):
        tally.apply((f"task-{number}", 1), 0.0)
    for number in range(10):
        tally.apply((f"task-{number}", "Completed", StateType.COMPLETED, None, None), 0.0)
    screen = open_screen(100, 8)
    screen.draw(tally, 1.0)
    names = [line.split("  ")[0] for line in seen(terminal.getvalue()) if line]
    assert names == [*(f"task-{number}" for number in range(10, 15)), "and 15 more tasks"]
    screen.close(tally, 1.0)


def test_a_writer_with_too_much_to_say_writes_by_itself() -> None:
    drawn: list[int] = []
    held = HeldText(lambda: drawn.append(len(held.take()[0])))
    held.write("x" * MAX_HELD_CHARACTERS)
    assert drawn == []
    held.write("y\n")
    assert drawn == [MAX_HELD_CHARACTERS + 2]


def test_a_forked_child_writes_straight_through(terminal: Terminal) -> None:
    stand_in = StandIn(terminal, HeldText(lambda: None))
    stand_in._process_id = os.getpid() + 1
    stand_in.write("from the child")
    assert terminal.getvalue() == "from the child"


FLOW = """
    import logging, signal, sys, threading
    from flowyard.logging import setup_logging, get_logger
    from flowyard.progress import for_flow
    from flowyard.schemas.states import State
    from flowyard.settings import get_current_settings

    setup_logging()
    log = get_logger("engine")
    shown = threading.Event()
    view = for_flow(get_current_settings())
    open_drawing = view._open_drawing
    def opened():
        drawing = open_drawing()
        draw = drawing.draw
        def and_tell(*args):
            draw(*args)
            shown.set()
        drawing.draw = and_tell
        return drawing
    view._open_drawing = opened
    with view:
        view.submitted("parse", 3)
        for number in range(2):
            view.entered("parse", State("PENDING"))
            view.entered("parse", State("COMPLETED"), State("PENDING"))
        assert shown.wait(90)
        for number in range(50):
            log.warning("line %d", number)
            print("print", number)
        THE_END
"""


def _run_on_a_pseudo_terminal(ending: str, home: Path) -> tuple[int, str]:
    controller, terminal = pty.openpty()
    script = textwrap.dedent(FLOW).replace("THE_END", ending)
    env = {"FLOWYARD_HOME": str(home), "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"}
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdin=terminal, stdout=terminal, stderr=terminal, env=env
    )
    os.close(terminal)
    output = b""
    while True:
        try:
            data = os.read(controller, 65536)
        except OSError:  # Linux's way to say that nobody has the terminal open any more
            break
        if not data:
            break
        output += data
    os.close(controller)
    return process.wait(), output.decode()


@pytest.mark.parametrize(
    ("ending", "code"),
    [
        ("pass", 0),
        ("raise ValueError('boo')", 1),
        ("signal.raise_signal(signal.SIGINT)", -2),
        ("sys.exit(7)", 7),
    ],
    ids=["end", "exception", "ctrl-c", "exit"],
)
def test_on_a_pseudo_terminal_no_line_is_torn_and_the_end_is_clean(ending: str, code: int, tmp_path: Path) -> None:
    returned, output = _run_on_a_pseudo_terminal(ending, tmp_path)
    assert returned == code, output
    lines = [line for line in seen(output) if line]
    words = [line for line in lines if line.startswith("print ") or "flowyard.engine" in line]
    expected = [f"line {number // 2}" if number % 2 == 0 else f"print {number // 2}" for number in range(100)]
    assert [line.split(" - ")[-1] for line in words] == expected
    (drawn,) = [index for index, line in enumerate(lines) if line.startswith("parse ")]
    assert "2/3  Completed 2" in lines[drawn]
    assert lines.index(words[-1]) < drawn
    if code == 1:
        assert lines[drawn + 1] == "Traceback (most recent call last):"


def test_on_a_pipe_nothing_is_added(tmp_path: Path) -> None:
    code = "import sys; from flowyard.progress import for_flow; from flowyard.settings import get_current_settings;"
    code += "print(for_flow(get_current_settings()), 'rich' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"FLOWYARD_HOME": str(tmp_path), "FLOWYARD_PROGRESS": "always"},
    )
    assert done.stdout == "None False\n"
    assert done.stderr == ""
