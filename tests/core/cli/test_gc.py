from __future__ import annotations

from typing import Any


def test_nothing_is_deleted_without_an_age_and_a_yes(run: Any) -> None:
    asked = run("gc")
    assert asked.code == 1
    assert "--older-than 30d" in asked.stdout
    wrong = run("gc", "--older-than", "soon")
    assert wrong.code == 1
    assert "'soon' must be a number and a unit" in wrong.stdout
    unsure = run("gc", "--older-than", "30d")
    assert unsure.code == 1
    assert "--yes" in unsure.stdout


def test_it_says_what_it_would_delete(run: Any) -> None:
    assert run("gc", "--older-than", "30d", "--dry-run", "-o", "json").json() == {
        "dry_run": True,
        "flow_runs": [],
        "task_run_count": 0,
        "file_count": 0,
        "byte_count": 0,
    }
    assert "Deleted 0 flow runs" in run("gc", "--older-than", "1.5h", "--yes").stdout
