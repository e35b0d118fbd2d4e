from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flowyard.store.versions import CURRENT, VERSIONS


def version(run: Any) -> str | None:
    return run("database", "version", "-o", "json").json()["version"]


def test_upgrade_makes_the_tables_and_downgrade_removes_them(run: Any) -> None:
    assert version(run) is None
    assert "no tables" in run("database", "version").stdout
    assert run("database", "upgrade", "--yes").code == 0
    assert version(run) == CURRENT
    assert run("database", "upgrade", "-y").stdout == f"The database has version {CURRENT} already.\n"
    for _ in VERSIONS:
        assert run("server", "database", "downgrade", "-y").code == 0
    assert version(run) is None


def test_a_dry_run_changes_nothing(run: Any) -> None:
    assert f"to version {CURRENT}" in run("database", "upgrade", "--dry-run").stdout
    assert version(run) is None
    run("database", "upgrade", "-y")
    assert "Would downgrade" in run("database", "downgrade", "--dry-run").stdout
    assert version(run) == CURRENT


@pytest.mark.parametrize("command", ["upgrade", "downgrade", "reset"])
def test_nothing_happens_without_a_yes(run: Any, command: str, home: Path) -> None:
    if command != "upgrade":
        run("database", "upgrade", "-y")
    before = version(run)
    size = (home / "flowyard.db").stat().st_size
    declined = run("--prompt", "database", command, stdin="n\n")
    assert declined.code == 1
    assert "Aborted" in declined.stderr
    nobody = run("database", command)
    assert nobody.code == 1
    assert "use --yes" in nobody.stdout
    assert version(run) == before
    assert (home / "flowyard.db").stat().st_size == size
    assert run("--prompt", "database", command, stdin="y\n").code == 0


def test_an_unknown_revision_is_refused(run: Any) -> None:
    done = run("database", "upgrade", "-y", "-r", "9999")
    assert done.code == 1
    assert "9999" in done.stdout


def test_a_damaged_file_is_one_line_that_says_what_to_do(run: Any, home: Path) -> None:
    home.mkdir()
    (home / "flowyard.db").write_bytes(b"not a database at all" * 500)
    done = run("database", "version")
    assert done.code == 1
    assert str(home / "flowyard.db") in done.stdout
    assert len(done.stdout.splitlines()) == 1
