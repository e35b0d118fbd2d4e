"""A plugin for pytest that tells what processor time each test takes, with all processes that it starts.

`uv run --group dev python -m pytest -n auto -p tests.costs` prints the files and the tests that take most. How long a
test lasts says how busy the machine is; this does so only a little. Linux only: it reads /proc.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from operator import itemgetter
from pathlib import Path

import pytest

_LISTED = 30
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_NAME = "processor_seconds"


class _Meter:
    """Gives to each test what was used since the one before: its fixtures, and what it leaves running, count too."""

    def __init__(self) -> None:
        self._before = _seconds_of_all()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if call.when == "teardown":
            now = _seconds_of_all()
            report.user_properties.append((_NAME, now - self._before))
            self._before = now
        return report


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(_Meter(), "flowyard-costs-meter")
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Table(), "flowyard-costs-table")


class _Table:
    """Collects what the processes that run tests have measured, and prints it at the end."""

    def __init__(self) -> None:
        self._tests: dict[str, float] = {}
        self._files: dict[str, float] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for name, value in report.user_properties:
            if name == _NAME and isinstance(value, float):
                file = report.nodeid.partition("::")[0]
                self._tests[report.nodeid] = value
                self._files[file] = self._files.get(file, 0.0) + value

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        terminalreporter.section(f"processor time: {sum(self._files.values()):.0f} s")
        for counted in (self._files, self._tests):
            for name, seconds in sorted(counted.items(), key=itemgetter(1), reverse=True)[:_LISTED]:
                terminalreporter.write_line(f"{seconds:8.2f} s  {name}")
            terminalreporter.write_line("")


def _seconds_of_all() -> float:
    """Return the processor time of this process and of all that it started, those that have ended included."""
    ticks = 0
    waiting = [os.getpid()]
    while waiting:
        folder = Path("/proc", str(waiting.pop()))
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15]))  # its own, of its threads, and of children that it waited for
            for children in folder.glob("task/*/children"):
                waiting += map(int, children.read_text().split())
        except OSError:
            continue  # it has ended meanwhile
    return ticks / _TICKS_PER_SECOND
