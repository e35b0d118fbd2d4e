from __future__ import annotations

import os
import stat
import tomllib
from pathlib import Path

import pytest

from flowyard.exceptions import InvalidSetting, MissingProfileError, ProfilesFileError
from flowyard.settings import (
    FLOWYARD_API_URL,
    FLOWYARD_DEBUG_MODE,
    FLOWYARD_PROFILES_PATH,
    FLOWYARD_TASK_RUNNER,
    Profile,
    ProfilesCollection,
    get_current_settings,
    get_settings_from_env,
    load_current_profile,
    load_profile,
    load_profiles,
    save_profiles,
    temporary_settings,
    update_current_profile,
    use_profile,
)


def write(home: Path, text: str) -> Path:
    home.mkdir(exist_ok=True)
    path = home / "profiles.toml"
    path.write_text(text)
    return path


TWO = """\
active = "team"  # chosen by hand

[profiles.team]
# the office server
FLOWYARD_API_URL = "http://office:4200/api"
FLOWYARD_DEBUG_MODE = true

[profiles.home]
FLOWYARD_TASK_RUNNER = "sequential"
"""


# --- which value rules --------------------------------------------------------------------------------


def test_without_a_file_there_is_one_empty_profile(home: Path) -> None:
    assert load_profiles() == ProfilesCollection([Profile("default")], active="default")
    assert load_current_profile() == Profile("default")
    assert not home.exists(), "reading must not make the home folder"


def test_the_active_profile_rules_over_defaults_and_the_environment_over_it(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(home, TWO)
    settings = get_settings_from_env()
    assert settings.FLOWYARD_API_URL == "http://office:4200/api"
    assert settings.FLOWYARD_DEBUG_MODE is True
    assert settings.source_of(FLOWYARD_API_URL) == "profile"
    monkeypatch.setenv("FLOWYARD_API_URL", "http://env/api")
    settings = get_settings_from_env()
    assert settings.FLOWYARD_API_URL == "http://env/api"
    assert settings.source_of(FLOWYARD_API_URL) == "env"


def test_the_variable_names_the_active_profile_before_the_file_does(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(home, TWO)
    monkeypatch.setenv("FLOWYARD_PROFILE", "home")
    assert load_current_profile().name == "home"
    assert get_settings_from_env().FLOWYARD_TASK_RUNNER == "sequential"


def test_a_missing_active_profile_brings_a_warning_and_the_default_one(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(home, TWO)
    monkeypatch.setenv("FLOWYARD_PROFILE", "gone")
    assert get_settings_from_env().FLOWYARD_API_URL is None
    assert "WARNING: Active profile 'gone' not found" in capsys.readouterr().err


def test_a_profile_in_use_rules_for_the_block_below_or_above_the_environment(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(home, TWO)
    monkeypatch.setenv("FLOWYARD_API_URL", "http://env/api")
    with use_profile("team") as settings:
        assert settings is get_current_settings()
        assert FLOWYARD_API_URL == "http://env/api"
    with use_profile("team", override_environment_variables=True):
        assert FLOWYARD_API_URL == "http://office:4200/api"
    with pytest.raises(MissingProfileError, match="unknown profile 'gone'; there are default, home, team"):
        use_profile("gone").__enter__()


def test_a_profiles_path_of_temporary_settings_is_obeyed(tmp_path: Path) -> None:
    with temporary_settings({FLOWYARD_PROFILES_PATH: tmp_path / "mine.toml"}):
        save_profiles(ProfilesCollection([Profile("mine")], active="mine"))
        assert load_profile("mine").name == "mine"
    assert (tmp_path / "mine.toml").exists()


# --- what a file may say ------------------------------------------------------------------------------


def test_an_unknown_name_is_an_error_with_a_hint_when_its_profile_is_used(home: Path) -> None:
    write(home, '[profiles.default]\nFLOWYARD_API_ULR = "x"\n[profiles.other]\n')
    with pytest.raises(InvalidSetting, match="no setting 'FLOWYARD_API_ULR'; did you mean FLOWYARD_API_URL"):
        get_settings_from_env()
    load_profile("other").validate_settings()
    update_current_profile({"FLOWYARD_API_ULR": None})  # so `flowyard config unset` can mend it
    assert get_settings_from_env().FLOWYARD_API_URL is None


def test_a_bad_value_is_an_error_when_its_profile_is_used(home: Path) -> None:
    write(home, '[profiles.default]\nFLOWYARD_DEBUG_MODE = "perhaps"\n')
    with pytest.raises(InvalidSetting, match="FLOWYARD_DEBUG_MODE='perhaps'"):
        get_current_settings()


@pytest.mark.parametrize("line", ['FLOWYARD_DEBUG_MODE = "perhaps"', 'FLOWYARD_API_ULR = "x"'], ids=["value", "name"])
def test_what_a_profile_has_wrong_is_refused_with_the_profile_and_its_file(line: str, home: Path) -> None:
    path = write(home, f"[profiles.default]\n{line}\n")
    with pytest.raises(InvalidSetting) as caught:
        get_settings_from_env()
    assert str(caught.value).endswith(f"(it is from profile 'default' in {str(path)!r})")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("active = ", "is not TOML"),
        ("profiles = 3", "has no tables"),
        ("[profiles]\nteam = 3", "profiles.team=3"),
    ],
)
def test_a_broken_file_is_an_error_that_names_it(home: Path, text: str, problem: str) -> None:
    path = write(home, text)
    with pytest.raises(ProfilesFileError) as caught:
        load_profiles()
    assert str(path) in str(caught.value)
    assert problem in str(caught.value)


# --- writing ------------------------------------------------------------------------------------------


def test_saving_keeps_comments_and_is_for_the_owner_only(home: Path) -> None:
    path = write(home, TWO)
    profiles = load_profiles()
    profiles.update_profile("team", {FLOWYARD_TASK_RUNNER: "process", FLOWYARD_DEBUG_MODE: None})
    profiles.add_profile(Profile.of("new", {"FLOWYARD_DEBUG_MODE": False}))
    profiles.remove_profile("home")
    profiles.set_active("new")
    save_profiles(profiles)
    text = path.read_text()
    assert "# the office server" in text
    assert tomllib.loads(text) == {
        "active": "new",
        "profiles": {
            "default": {},
            "team": {"FLOWYARD_API_URL": "http://office:4200/api", "FLOWYARD_TASK_RUNNER": "process"},
            "new": {"FLOWYARD_DEBUG_MODE": "false"},
        },
    }
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_profiles().to_dict() == profiles.to_dict()
    assert [item.name for item in home.iterdir()] == ["profiles.toml"], "no temporary file is left"


def test_saving_through_a_link_keeps_the_link(home: Path, tmp_path: Path) -> None:
    home.mkdir()
    (tmp_path / "dotfiles.toml").write_text("")
    (home / "profiles.toml").symlink_to(tmp_path / "dotfiles.toml")
    update_current_profile({FLOWYARD_DEBUG_MODE: True})
    assert (home / "profiles.toml").is_symlink()
    assert "FLOWYARD_DEBUG_MODE" in (tmp_path / "dotfiles.toml").read_text()


def test_a_failed_save_leaves_the_old_file_whole(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(home, TWO)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ProfilesFileError, match="No space left on device.*FLOWYARD_HOME"):
        update_current_profile({FLOWYARD_DEBUG_MODE: None})
    assert path.read_text() == TWO
    assert [item.name for item in home.iterdir()] == ["profiles.toml"]


def test_a_home_that_cannot_be_made_can_be_read_but_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FLOWYARD_HOME", str(tmp_path / "file" / "home"))
    assert load_current_profile().name == "default"
    with pytest.raises(ProfilesFileError, match="cannot be written.*FLOWYARD_HOME or FLOWYARD_PROFILES_PATH"):
        update_current_profile({FLOWYARD_DEBUG_MODE: True})


@pytest.mark.parametrize("bad", [{"FLOWYARD_DEBUG_MODE": "perhaps"}, {"FLOWYARD_NOPE": "1"}], ids=["value", "name"])
def test_an_update_with_a_bad_value_or_name_writes_nothing(home: Path, bad: dict[str, str]) -> None:
    with pytest.raises(InvalidSetting):
        update_current_profile({FLOWYARD_TASK_RUNNER: "process", **bad})
    assert not home.exists()


def test_updating_a_profile_that_does_not_exist_says_how_to_make_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWYARD_PROFILE", "gone")
    with pytest.raises(MissingProfileError, match="flowyard profile create gone"):
        update_current_profile({FLOWYARD_DEBUG_MODE: True})


# --- collections --------------------------------------------------------------------------------------


def test_a_collection_refuses_a_second_profile_of_a_name_and_an_unknown_active_one() -> None:
    profiles = ProfilesCollection([Profile("a")], active="a")
    with pytest.raises(ValueError, match="'a' exists already"):
        profiles.add_profile(Profile("a"))
    with pytest.raises(ValueError, match="unknown profile 'b'"):
        profiles.set_active("b")
    profiles.set_active("b", check=False)
    assert profiles.active_profile is None
    assert profiles.names == {"a"}


def test_profiles_of_a_source_can_be_left_out(tmp_path: Path) -> None:
    profiles = ProfilesCollection([Profile("a"), Profile("b", source=tmp_path)])
    assert profiles.without_profile_source(tmp_path).names == {"a"}
