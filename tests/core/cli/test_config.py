from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flowyard.settings import BY_NAME, load_profile


def test_view_shows_what_is_set_and_where_it_comes_from(run: Any, home: Path) -> None:
    run("config", "set", "FLOWYARD_API_URL=http://office/api")
    assert run("config", "view").stdout == (
        "FLOWYARD_PROFILE='default'\n"
        "FLOWYARD_API_URL='http://office/api' (from profile)\n"
        f"FLOWYARD_HOME='{home}' (from env)\n"
    )
    assert "(from" not in run("config", "view", "--hide-sources").stdout


def test_view_can_show_every_setting_with_its_meaning(run: Any) -> None:
    shown = run("config", "view", "--show-defaults", "-o", "json").json()["settings"]
    assert set(shown) == set(BY_NAME)
    assert shown["FLOWYARD_DEBUG_MODE"]["description"] == BY_NAME["FLOWYARD_DEBUG_MODE"].description
    assert "FLOWYARD_DEBUG_MODE='false' (from defaults)" in run("config", "view", "--show-defaults").stdout


def test_secrets_are_shown_only_on_demand(run: Any) -> None:
    assert "s3cret" not in run("config", "set", "FLOWYARD_API_KEY=s3cret").stdout
    assert "s3cret" not in run("config", "view").stdout
    assert "s3cret" not in run("config", "view", "-o", "json").stdout
    assert "s3cret" in run("config", "view", "--show-secrets").stdout


def test_set_says_what_it_set_and_what_rules_over_it(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWYARD_TASK_RUNNER", "process")
    done = run("config", "set", "FLOWYARD_TASK_RUNNER=sequential", "FLOWYARD_API_URL=http://h/api?a=b")
    assert done.stdout == (
        "Set 'FLOWYARD_TASK_RUNNER' to 'sequential'.\n"
        "FLOWYARD_TASK_RUNNER is also set in the environment, which rules over the profile.\n"
        "Set 'FLOWYARD_API_URL' to 'http://h/api?a=b'.\n"
        "Updated profile 'default'.\n"
    )
    assert load_profile("default").to_record()["FLOWYARD_API_URL"] == "http://h/api?a=b"


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("FLOWYARD_API_URL", "Failed to parse argument 'FLOWYARD_API_URL'. Use the format 'NAME=VALUE'."),
        ("=x", "Failed to parse argument"),
        ("FLOWYARD_API_ULR=x", "there is no setting 'FLOWYARD_API_ULR'; did you mean FLOWYARD_API_URL"),
        ("FLOWYARD_HOME=/x", "'FLOWYARD_HOME' cannot be changed with this command"),
        ("FLOWYARD_PROFILES_PATH=/x", "'FLOWYARD_PROFILES_PATH' cannot be changed with this command"),
        ("FLOWYARD_SERVER_API_PORT=x", "setting FLOWYARD_SERVER_API_PORT='x' is invalid: it must be a whole number"),
        ("FLOWYARD_LOGGING_TO_API_BATCH_SIZE=10", "FLOWYARD_LOGGING_TO_API_BATCH_SIZE, which is 10"),
    ],
)
def test_a_bad_argument_sets_nothing(run: Any, home: Path, argument: str, message: str) -> None:
    done = run("config", "set", "FLOWYARD_DEBUG_MODE=1", argument)
    assert done.code == 1
    assert message in done.stdout
    assert len(done.stdout.splitlines()) == 1
    assert not home.exists()


def test_unset_removes_what_is_set(run: Any) -> None:
    run("config", "set", "FLOWYARD_DEBUG_MODE=1")
    assert run("config", "unset", "FLOWYARD_DEBUG_MODE").stdout == (
        "Unset 'FLOWYARD_DEBUG_MODE'.\nUpdated profile 'default'.\n"
    )
    assert load_profile("default").to_record() == {}
    done = run("config", "unset", "FLOWYARD_DEBUG_MODE")
    assert (done.code, done.stdout) == (1, "'FLOWYARD_DEBUG_MODE' is not set in profile 'default'.\n")
    done = run("config", "unset", "FLOWYARD_DBUG_MODE")
    assert (done.code, "did you mean FLOWYARD_DEBUG_MODE" in done.stdout) == (1, True)


def test_a_broken_profile_can_be_found_and_mended(run: Any, home: Path) -> None:
    home.mkdir()
    (home / "profiles.toml").write_text(
        '[profiles.default]\nFLOWYARD_DEBUG_MODE = "perhaps"\nFLOWYARD_OLD = "1"\nFLOWYARD_TASK_RUNNER = "process"\n'
    )
    done = run("config", "validate")
    assert done.code == 1
    assert "FLOWYARD_OLD" in done.stdout
    assert run("config", "unset", "FLOWYARD_OLD").code == 0
    assert "FLOWYARD_DEBUG_MODE='perhaps'" in run("config", "validate").stdout
    assert run("config", "set", "FLOWYARD_DEBUG_MODE=true").code == 0
    done = run("config", "validate")
    assert (done.code, done.stdout) == (0, "Configuration valid!\n")
    assert load_profile("default").to_record() == {
        "FLOWYARD_DEBUG_MODE": "true",
        "FLOWYARD_TASK_RUNNER": "process",
    }


def test_validate_looks_at_the_environment_and_at_references(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWYARD_PROGRESS", "never ever")
    assert "auto, always, never" in run("config", "validate").stdout
    monkeypatch.setenv("FLOWYARD_PROGRESS", "never")
    monkeypatch.setenv("FLOWYARD_UI_SERVE_BASE", "${FLOWYARD_UI_SERVE_BASE}/x")
    done = run("config", "validate")
    assert done.code == 1
    assert "refers to itself" in done.stdout


def test_a_home_that_cannot_be_written_is_one_clear_line(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FLOWYARD_HOME", str(tmp_path / "file" / "home"))
    assert run("config", "view").code == 0
    done = run("config", "set", "FLOWYARD_DEBUG_MODE=1")
    assert done.code == 1
    assert "cannot be written" in done.stdout
    assert len(done.stdout.splitlines()) == 1
