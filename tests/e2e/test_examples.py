"""The examples do what they say, as a user starts them."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Protocol

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Return an environment with a home of its own and a terminal of 80 columns."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("FLOWYARD")}
    return {**clean, "FLOWYARD_HOME": str(tmp_path / "home"), "COLUMNS": "80"}


def start(environment: dict[str, str], *command: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, *map(str, command)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


# --- census ---------------------------------------------------------------------------------------------------


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Return a folder with two packages, a module, a file that is not Python, and one that cannot be read."""
    files = {
        "shop/__init__.py": "",
        "shop/cart.py": "import os, json.decoder\n\n\nclass Cart:\n    def total(self):\n        if self:\n"
        "            return 1\n        elif os:\n            for x in ():\n                pass\n",
        "tools/async_io.py": "from asyncio import run\nfrom . import sibling\n\nasync def main(): ...\n",
        "tools/python2.py": "print 'hello'\n",
        "tools/__pycache__/skipped.py": "1 / 0\n",
        "site-packages/skipped.py": "1 / 0\n",
        "single.py": "import os",
    }
    folder = tmp_path / "source"
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "shop" / "gone.py").symlink_to(folder / "nowhere.py")
    return folder


@pytest.mark.parametrize("runner", ["sequential", "concurrent", "process"])
def test_the_census_measures_and_reports_the_same_on_every_runner(
    environment: dict[str, str], source: Path, runner: str
) -> None:
    done = start(environment, EXAMPLES / "census.py", source, "--runner", runner, "--output", "json")
    assert done.stderr == ""
    packages = {package["name"]: package for package in json.loads(done.stdout)["packages"]}
    assert list(packages) == ["shop", "tools", "single"], "sorted by lines"
    assert packages["shop"] == {
        "name": "shop",
        "files": 2,
        "bytes": (source / "shop" / "cart.py").stat().st_size,
        "lines": 10,
        "statements": 8,
        "functions": 1,
        "classes": 1,
        "deepest": 4,
        "imports": {"os": 1, "json": 1},
        "failures": {"shop/gone.py": packages["shop"]["failures"]["shop/gone.py"]},
    }
    assert packages["shop"]["failures"]["shop/gone.py"].startswith("FileNotFoundError: ")
    assert packages["tools"]["imports"] == {"asyncio": 1}
    assert list(packages["tools"]["failures"]) == ["tools/python2.py"]
    assert packages["tools"]["failures"]["tools/python2.py"].startswith("SyntaxError: Missing parentheses")
    assert packages["single"]["lines"] == 1


def test_the_census_tries_a_file_again_that_cannot_be_read_but_not_one_that_is_not_python(
    environment: dict[str, str], source: Path
) -> None:
    start(environment, EXAMPLES / "census.py", source)
    listing = start(environment, "-m", "flowyard.cli", "task-run", "ls", "--state-type", "FAILED", "--output", "json")
    attempts = sorted(run["run_count"] for run in json.loads(listing.stdout))
    assert attempts == [1, 3]


def test_the_report_of_the_census_fits_the_terminal_and_says_where_it_is_recorded(
    environment: dict[str, str], source: Path
) -> None:
    done = start(environment, EXAMPLES / "census.py", source, "--top", "1")
    report, recorded = done.stdout.rstrip("\n").rsplit("\n", 1)
    assert max(map(len, report.splitlines()[1:])) <= 80
    assert "2 more" in report
    assert "2 files could not be measured" in report
    command = recorded.partition("flowyard ")[2].split()
    assert "Completed" in start(environment, "-m", "flowyard.cli", *command).stdout


def test_the_census_measures_only_as_many_files_as_asked(environment: dict[str, str], source: Path) -> None:
    done = start(environment, EXAMPLES / "census.py", source, "--limit", "2", "--output", "json")
    assert [package["name"] for package in json.loads(done.stdout)["packages"]] == ["shop"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        pytest.param(["nowhere"], 2, "nowhere: there is no such folder", id="no folder"),
        pytest.param(["."], 1, "there is no Python file below", id="no files"),
        pytest.param([".", "--limit", "0"], 2, "--limit 0: it must be at least 1", id="no limit"),
        pytest.param([str(EXAMPLES), "--runner", "abacus"], 1, "no task runner named 'abacus'", id="no runner"),
    ],
)
def test_the_census_says_what_is_wrong_with_its_arguments(
    environment: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = start(environment, EXAMPLES / "census.py", *arguments, code=code)
    assert message in done.stderr
    assert "Traceback" not in done.stderr


# --- stars ----------------------------------------------------------------------------------------------------


class GitHub(Protocol):
    """The fixture `github`."""

    requests: Counter[str]
    url: str


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def in_a_hurry(arguments: list[str]) -> list[str]:
    """Return a command that runs the example as it is, but for the seconds between retries."""
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); import github_stars as example; "
        "example.get_stars = example.get_stars.with_options(retry_delay_seconds=0); "
        "sys.exit(example.main(sys.argv[2:]))"
    )
    return ["-c", script, str(EXAMPLES), *arguments]


def test_the_stars_are_printed_after_two_failures_of_each_request(environment: dict[str, str], github: GitHub) -> None:
    done = start(environment, *in_a_hurry(["python/cpython", "pallets/flask", "--api", github.url]))
    assert "python/cpython has 67,890 stars" in done.stderr
    assert github.requests == {"/repos/python/cpython": 3, "/repos/pallets/flask": 3}
    listing = start(environment, "-m", "flowyard.cli", "task-run", "ls", "--output", "json")
    runs = {run["name"]: run for run in json.loads(listing.stdout)}
    assert set(runs) == {"stars of python/cpython", "stars of pallets/flask"}
    assert {run["run_count"] for run in runs.values()} == {3}
    assert {run["state_type"] for run in runs.values()} == {"COMPLETED"}


@pytest.mark.parametrize("github", [1], indirect=True)
def test_the_example_as_written_waits_before_it_asks_again(environment: dict[str, str], github: GitHub) -> None:
    done = start(environment, EXAMPLES / "github_stars.py", "python/cpython", "--api", github.url)
    assert "AwaitingRetry" in done.stderr
    assert "python/cpython has 67,890 stars" in done.stderr


@pytest.mark.parametrize("github", [9], indirect=True)
def test_a_service_that_stays_away_fails_the_run(environment: dict[str, str], github: GitHub) -> None:
    done = start(environment, *in_a_hurry(["python/cpython", "--api", github.url]), code=1)
    assert github.requests == {"/repos/python/cpython": 4}
    assert "Finished in state Failed('Flow run encountered an exception. HTTPError: HTTP Error 503" in done.stderr


def test_the_default_is_the_real_api() -> None:
    module = example("github_stars")
    assert module.API == "https://api.github.com"
    assert module.get_stars.retries == 3
