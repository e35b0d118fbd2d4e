"""Runs one measured program in a fresh process with a fresh home, and drops what it prints."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from benchmarks.workloads.reply import REPLY_VARIABLE

ROOT = Path(__file__).resolve().parent.parent
TIME_LIMIT = 900.0
_KEPT_LINES = 60


class RunFailed(Exception):
    """A measured program ended with an error; carries the end of what it printed."""


@dataclass(frozen=True, slots=True)
class Arm:
    """One side of a comparison: a program, and what it runs in."""

    label: str
    command: tuple[str, ...]
    """Arguments of the interpreter, e.g. `-m benchmarks.workloads.noop --tasks 100`."""
    subject: str = "flowyard"
    """`flowyard`, or the name of a peer."""
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    script: bool = False
    """Whether the command is a script of the environment rather than arguments of its interpreter."""
    warm_home: bool = False
    """Whether the home has been used before, by the same command."""
    replies: bool = True
    """Whether the program writes figures of its own; one that does not is timed from outside only."""
    time_limit: float = TIME_LIMIT


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of one run."""

    values: dict[str, float]
    console_lines: int
    home: Path
    """The home of the run; gone when the context ends."""


def workload(name: str, **options: str | int | bool) -> tuple[str, ...]:
    """Return the command of a workload; `True` is a flag."""
    command = ["-m", f"benchmarks.workloads.{name}"]
    for option, value in options.items():
        if value is False:
            continue
        command.append("--" + option.replace("_", "-"))
        if value is not True:
            command.append(str(value))
    return tuple(command)


@contextmanager
def run(arm: Arm, python: Path, home_template: Path | None = None) -> Generator[Reply]:
    """Run an arm once; its home can be looked at inside the context.

    Raises:
        RunFailed: it ended with an error, or not within the time limit.
    """
    with tempfile.TemporaryDirectory(prefix="flowyard-benchmark-", ignore_cleanup_errors=True) as folder:
        home = Path(folder, "home")
        if home_template:
            shutil.copytree(home_template, home)
        else:
            home.mkdir()
        reply_path = Path(folder, "reply")
        if arm.warm_home:
            _execute(arm, python, home, reply_path)
            reply_path.unlink(missing_ok=True)
        begin = time.perf_counter()
        lines = _execute(arm, python, home, reply_path)
        values = {"process_seconds": time.perf_counter() - begin}
        if reply_path.exists():
            values |= json.loads(reply_path.read_text(encoding="utf-8"))
        elif arm.replies:
            raise RunFailed(f"{arm.label}: the program ended without a reply")
        yield Reply(values, lines, home)


def environment(arm: Arm, home: Path, reply_path: Path) -> dict[str, str]:
    """Return the environment of a measured process: nothing of the user's settings, byte code caches on."""
    kept = {
        name: value for name, value in os.environ.items() if name in ("PATH", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT")
    }
    return {
        **kept,
        "HOME": str(home),
        "FLOWYARD_HOME": str(home),
        "PREFECT_HOME": str(home),
        "FLOWYARD_LOGGING_LEVEL": "ERROR",
        "PREFECT_LOGGING_LEVEL": "ERROR",
        # Prefect would measure the time-outs of its telemetry on a machine without network.
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        # A busy machine does not start Prefect 3's server within the 20 s that it gives itself.
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        "PYTHONPATH": str(ROOT),
        REPLY_VARIABLE: str(reply_path),
        **arm.environment,
    }


def _execute(arm: Arm, python: Path, home: Path, reply_path: Path) -> int:
    """Run the command to its end; returns how many lines it printed."""
    program = [str(python.parent / arm.command[0])] if arm.script else [str(python), arm.command[0]]
    with subprocess.Popen(
        [*program, *arm.command[1:]],
        env=environment(arm, home, reply_path),
        cwd=home,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        assert process.stdout is not None
        drain = _Drain(process.stdout)
        try:
            code = process.wait(arm.time_limit)
        except subprocess.TimeoutExpired:
            process.kill()
            raise RunFailed(f"{arm.label}: not done within {arm.time_limit:.0f} s") from None
        drain.join(10)
    if code:
        raise RunFailed(f"{arm.label}: ended with code {code}; it said:\n{drain.tail()}")
    return drain.count


class _Drain(threading.Thread):
    """Reads a pipe to its end: counts lines, keeps the last few for an error message."""

    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__(daemon=True)
        self._stream = stream
        self._last: deque[bytes] = deque(maxlen=_KEPT_LINES)
        self.count = 0
        self.start()

    def run(self) -> None:
        for line in self._stream:
            self.count += 1
            self._last.append(line)

    def tail(self) -> str:
        return b"".join(self._last).decode("utf-8", "replace")


def own_interpreter() -> Path:
    """Return the interpreter that Flowyard is measured with: the one that runs this."""
    return Path(sys.executable)
