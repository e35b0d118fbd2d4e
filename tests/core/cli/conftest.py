from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from flowyard.cli import app
from flowyard.settings.setting import PROCESS


@dataclass(frozen=True)
class Done:
    """What one run of the command line wrote, and its exit code."""

    code: int
    stdout: str
    stderr: str

    def json(self) -> Any:
        assert self.code == 0, self.stdout + self.stderr
        return json.loads(self.stdout)


Run = Callable[..., Done]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty environment with a home of its own."""
    for name in [name for name in os.environ if name.startswith("FLOWYARD")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("FLOWYARD_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "100")
    PROCESS.forget_root()
    yield tmp_path / "home"
    PROCESS.forget_root()
    assert not PROCESS.is_overridden, "a command left its profile in force"


@pytest.fixture
def run() -> Run:
    """Call the command line in this process: `run("flow-run", "ls")`."""

    def call(*arguments: str, stdin: str | None = None, colours: bool = False) -> Done:
        PROCESS.forget_root()  # as a new process would, a command reads environment and profile anew
        result = CliRunner().invoke(app, list(arguments), input=stdin, color=colours)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Done(result.exit_code, result.stdout, result.stderr)

    return call
