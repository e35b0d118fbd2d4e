from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import flowyard.settings as settings_module
from flowyard.exceptions import InvalidSetting
from flowyard.settings import (
    BY_NAME,
    FLOWYARD_API_DATABASE_CONNECTION_URL,
    FLOWYARD_API_KEY,
    FLOWYARD_API_URL,
    FLOWYARD_DEBUG_MODE,
    FLOWYARD_HOME,
    FLOWYARD_LOGGING_EXTRA_LOGGERS,
    FLOWYARD_LOGGING_LEVEL,
    FLOWYARD_TASK_DEFAULT_RETRIES,
    FLOWYARD_TASK_DEFAULT_RETRY_DELAY_SECONDS,
    FLOWYARD_TASK_RUNNER,
    Setting,
    Settings,
    get_current_settings,
    get_default_settings,
    get_settings_from_env,
    temporary_settings,
)


def read(**env: str) -> Settings:
    return Settings.from_env(env)


# --- values and their types ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("FLOWYARD_DEBUG_MODE", "yes", True),
        ("FLOWYARD_DEBUG_MODE", "OFF", False),
        ("FLOWYARD_CLI_PROMPT", "none", None),
        ("FLOWYARD_CLI_PROMPT", "1", True),
        ("FLOWYARD_SERVER_API_PORT", "80", 80),
        ("FLOWYARD_API_REQUEST_TIMEOUT", "1.5", 1.5),
        ("FLOWYARD_API_DATABASE_TIMEOUT", "None", None),
        ("FLOWYARD_LOGGING_EXTRA_LOGGERS", "dask, ray ,", ["dask", "ray"]),
        ("FLOWYARD_CLIENT_RETRY_EXTRA_CODES", "429,503", frozenset({429, 503})),
        ("FLOWYARD_TASK_DEFAULT_RETRY_DELAY_SECONDS", "3", 3.0),
        ("FLOWYARD_TASK_DEFAULT_RETRY_DELAY_SECONDS", "[1, 2.5]", [1.0, 2.5]),
        ("FLOWYARD_TASK_DEFAULT_RETRY_DELAY_SECONDS", "1,", [1.0]),
        ("FLOWYARD_PROGRESS", "Always", "always"),
        ("FLOWYARD_EVENTS_RETENTION_PERIOD", "90", timedelta(seconds=90)),
        ("FLOWYARD_EVENTS_RETENTION_PERIOD", "2 days, 1:00:30", timedelta(days=2, hours=1, seconds=30)),
        ("FLOWYARD_LOCAL_STORAGE_PATH", "~/results", Path.home() / "results"),
    ],
)
def test_text_from_the_environment_becomes_the_type_of_the_setting(name: str, text: str, value: object) -> None:
    settings = read(**{name: text})
    assert getattr(settings, name) == value
    assert type(getattr(settings, name)) is type(value)
    assert settings.source_of(name) == "env"


@pytest.mark.parametrize(
    ("name", "text", "allowed"),
    [
        ("FLOWYARD_DEBUG_MODE", "maybe", "one of true, false"),
        ("FLOWYARD_SERVER_API_PORT", "eighty", "a whole number"),
        ("FLOWYARD_TASK_DEFAULT_RETRIES", "-1", "at least 0"),
        ("FLOWYARD_API_REQUEST_TIMEOUT", "nan", "a number"),
        ("FLOWYARD_CLIENT_RETRY_EXTRA_CODES", "429,99", "between 100 and 599"),
        ("FLOWYARD_PROGRESS", "sometimes", "auto, always, never"),
        ("FLOWYARD_EVENTS_RETENTION_PERIOD", "a week", "a number of seconds"),
        ("FLOWYARD_TASK_DEFAULT_RETRY_DELAY_SECONDS", "1,-2", "seconds, or several"),
    ],
)
def test_a_bad_value_is_refused_with_its_name_and_what_is_allowed(name: str, text: str, allowed: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        read(**{name: text})
    message = str(caught.value)
    assert name in message
    assert repr(text) in message
    assert allowed in message


def test_a_bad_secret_is_refused_without_showing_it() -> None:
    with pytest.raises(InvalidSetting) as caught:
        Settings({FLOWYARD_API_KEY: 12345})
    assert "12345" not in str(caught.value)


@pytest.mark.parametrize("key", ["fyd_a b", "fyd_a\nb", "schlüssel"])
def test_a_key_that_cannot_be_sent_is_refused_without_showing_it(key: str) -> None:
    with pytest.raises(InvalidSetting, match="FLOWYARD_API_KEY") as caught:
        read(FLOWYARD_API_KEY=key)
    assert key not in f"{caught.value}"


def test_a_key_loses_the_line_break_of_the_file_that_it_came_from() -> None:
    assert read(FLOWYARD_API_KEY="fyd_a\n").FLOWYARD_API_KEY == "fyd_a"


def test_an_empty_variable_counts_as_unset_and_strange_ones_are_not_looked_at() -> None:
    settings = read(FLOWYARD_SERVER_API_PORT="", FLOWYARD_NO_SUCH_THING="1", FLOWYARD_PROFILE="x")
    assert settings == get_default_settings()
    assert settings.source_of("FLOWYARD_SERVER_API_PORT") == "default"


@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_every_setting_has_a_description_and_its_value_survives_being_written_as_text(name: str) -> None:
    setting = BY_NAME[name]
    assert setting.name == name
    assert setting.description.endswith(".")
    assert setting.parse(setting.kind.render(setting.default)) == setting.default


def test_every_field_of_settings_is_a_module_level_name() -> None:
    names = [name for name in settings_module.__all__ if name.startswith("FLOWYARD_")]
    assert names == sorted(BY_NAME)
    for name, setting in BY_NAME.items():
        assert getattr(settings_module, name) is setting


@given(st.lists(st.floats(min_value=0, max_value=1e9), min_size=1) | st.floats(min_value=0, max_value=1e9))
def test_retry_delays_survive_being_written_as_text(delays: float | list[float]) -> None:
    kind = FLOWYARD_TASK_DEFAULT_RETRY_DELAY_SECONDS.kind
    assert kind.parse(kind.render(delays)) == delays


# --- values that follow from others -------------------------------------------------------------------


def test_paths_and_the_database_follow_the_home_folder(tmp_path: Path) -> None:
    settings = read(FLOWYARD_HOME=str(tmp_path))
    assert tmp_path / "storage" == settings.FLOWYARD_LOCAL_STORAGE_PATH
    assert f"sqlite:///{tmp_path}/flowyard.db" == settings.FLOWYARD_API_DATABASE_CONNECTION_URL


def test_a_relative_home_is_made_absolute() -> None:
    assert read(FLOWYARD_HOME="somewhere").FLOWYARD_HOME == Path.cwd() / "somewhere"


def test_references_go_through_several_settings_and_leave_other_dollars_alone() -> None:
    settings = read(
        FLOWYARD_API_DATABASE_PASSWORD="pa$$word${X}",
        FLOWYARD_SERVER_API_HOST="db",
        FLOWYARD_API_DATABASE_CONNECTION_URL=(
            "postgresql://me:${FLOWYARD_API_DATABASE_PASSWORD}@$FLOWYARD_SERVER_API_HOST/x"
        ),
        FLOWYARD_UI_API_URL="${FLOWYARD_API_URL}",
        FLOWYARD_API_URL="http://${FLOWYARD_SERVER_API_HOST}:${FLOWYARD_SERVER_API_PORT}/api",
    )
    assert settings.FLOWYARD_API_DATABASE_CONNECTION_URL == "postgresql://me:pa$$word${X}@db/x"
    assert settings.FLOWYARD_UI_API_URL == "http://db:4200/api"


def test_a_setting_that_refers_to_itself_is_refused() -> None:
    settings = read(FLOWYARD_API_URL="${FLOWYARD_UI_URL}", FLOWYARD_UI_URL="${FLOWYARD_API_URL}")
    with pytest.raises(InvalidSetting, match="refers to itself"):
        _ = settings.FLOWYARD_API_URL


def test_debug_mode_rules_over_the_log_levels() -> None:
    settings = read(FLOWYARD_DEBUG_MODE="1", FLOWYARD_LOGGING_LEVEL="ERROR")
    assert settings.FLOWYARD_LOGGING_LEVEL == "DEBUG"
    assert settings.FLOWYARD_LOGGING_INTERNAL_LEVEL == "DEBUG"


def test_the_dashboard_address_follows_the_api_address() -> None:
    assert read(FLOWYARD_API_URL="http://h:1/api/").FLOWYARD_UI_URL == "http://h:1"
    assert read().FLOWYARD_UI_URL is None


def test_a_log_record_may_not_be_larger_than_a_batch() -> None:
    with pytest.raises(InvalidSetting, match="FLOWYARD_LOGGING_TO_API_BATCH_SIZE, which is 10"):
        read(FLOWYARD_LOGGING_TO_API_BATCH_SIZE="10", FLOWYARD_LOGGING_TO_API_MAX_LOG_SIZE="11")


@pytest.mark.parametrize(
    "env",
    [{"FLOWYARD_API_URL": "http://h:4200"}, {"FLOWYARD_API_DATABASE_PASSWORD": "x"}],
    ids=["API address without /api", "password that the URL does not use"],
)
def test_values_that_are_hardly_meant_bring_a_warning(env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    with pytest.warns(UserWarning, match=next(iter(env))):
        get_settings_from_env()


# --- Settings -----------------------------------------------------------------------------------------


def test_settings_are_frozen_and_a_misspelt_name_gets_a_hint() -> None:
    settings = Settings()
    with pytest.raises(AttributeError, match="temporary_settings"):
        settings.FLOWYARD_API_URL = "x"  # type: ignore[misc]
    with pytest.raises(AttributeError, match="did you mean FLOWYARD_API_URL"):
        _ = settings.FLOWYARD_API_ULR
    with pytest.raises(InvalidSetting, match="did you mean FLOWYARD_API_URL"):
        Settings({"FLOWYARD_API_ULR": "x"})


def test_copies_take_updates_over_defaults_over_what_is_set() -> None:
    settings = Settings({FLOWYARD_API_URL: "http://a/api", FLOWYARD_TASK_DEFAULT_RETRIES: 1})
    changed = settings.copy_with_update(
        updates={FLOWYARD_TASK_RUNNER: "sequential"},
        set_defaults={FLOWYARD_TASK_DEFAULT_RETRIES: 5, FLOWYARD_DEBUG_MODE: True},
        restore_defaults=[FLOWYARD_API_URL],
    )
    assert changed.FLOWYARD_API_URL is None
    assert changed.FLOWYARD_TASK_DEFAULT_RETRIES == 1
    assert changed.FLOWYARD_DEBUG_MODE is True
    assert changed.FLOWYARD_TASK_RUNNER == "sequential"
    assert settings.FLOWYARD_TASK_RUNNER == "concurrent"
    assert changed.source_of(FLOWYARD_TASK_RUNNER) == "code"
    assert changed.source_of(FLOWYARD_API_URL) == "default"


def test_secrets_can_be_left_out_of_environment_variables() -> None:
    settings = Settings({FLOWYARD_API_DATABASE_CONNECTION_URL: "postgresql://me:secret@h/d", FLOWYARD_TASK_RUNNER: "x"})
    assert settings.to_environment_variables(exclude_unset=True, exclude_secrets=True) == {"FLOWYARD_TASK_RUNNER": "x"}


def test_environment_variables_give_another_process_the_same_values(tmp_path: Path) -> None:
    settings = Settings(
        {
            FLOWYARD_HOME: tmp_path,
            FLOWYARD_LOGGING_EXTRA_LOGGERS: ["a", "b"],
            FLOWYARD_TASK_DEFAULT_RETRY_DELAY_SECONDS: [1, 2],
        }
    )
    again = Settings.from_env(settings.to_environment_variables())
    assert {name: getattr(again, name) for name in BY_NAME} == {name: getattr(settings, name) for name in BY_NAME}
    assert settings.to_environment_variables(exclude_unset=True) == {
        "FLOWYARD_HOME": str(tmp_path),
        "FLOWYARD_LOGGING_EXTRA_LOGGERS": "a,b",
        "FLOWYARD_TASK_DEFAULT_RETRY_DELAY_SECONDS": "1.0,2.0",
    }
    assert settings.to_environment_variables(include=[FLOWYARD_API_DATABASE_CONNECTION_URL]) == {
        "FLOWYARD_API_DATABASE_CONNECTION_URL": f"sqlite:///{tmp_path}/flowyard.db"
    }
    with pytest.raises(TypeError, match="'FLOWYARD_HOME'"):
        settings.to_environment_variables(include=["FLOWYARD_HOME"])  # type: ignore[list-item]


def test_secrets_are_hidden_and_do_not_show_in_the_repr() -> None:
    settings = Settings({FLOWYARD_API_KEY: "s3cret", FLOWYARD_API_URL: "http://a/api"})
    hidden = settings.with_obfuscated_secrets()
    assert hidden.FLOWYARD_API_KEY == "********"
    assert hidden.FLOWYARD_API_URL == "http://a/api"
    assert "s3cret" not in repr(settings)


def test_hash_keys_are_equal_exactly_for_equal_settings() -> None:
    first = Settings({FLOWYARD_API_URL: "http://a/api"})
    assert first.hash_key() == Settings({FLOWYARD_API_URL: "http://a/api"}).hash_key()
    assert first.hash_key() != Settings({FLOWYARD_API_URL: "http://b/api"}).hash_key()


def test_settings_and_setting_survive_pickling_and_copying() -> None:
    settings = Settings({FLOWYARD_API_URL: "http://a/api"})
    assert pickle.loads(pickle.dumps(settings)) == settings
    assert pickle.loads(pickle.dumps(FLOWYARD_API_URL)) is FLOWYARD_API_URL
    assert copy.deepcopy({FLOWYARD_API_URL: 1})[FLOWYARD_API_URL] == 1


# --- the settings of this process ---------------------------------------------------------------------


def test_a_setting_compares_and_counts_as_its_present_value() -> None:
    assert not FLOWYARD_API_URL
    assert FLOWYARD_LOGGING_LEVEL == "INFO"
    with temporary_settings({FLOWYARD_API_URL: "http://a/api"}) as settings:
        assert FLOWYARD_API_URL
        assert FLOWYARD_API_URL == "http://a/api"
        assert FLOWYARD_API_URL.value() == FLOWYARD_API_URL.value_from(settings) == "http://a/api"
    assert FLOWYARD_API_URL.value() is None


def test_a_setting_is_a_setting_on_a_class_that_has_nothing_to_do_with_settings() -> None:
    class Holder:
        setting = FLOWYARD_API_URL

    assert isinstance(Holder().setting, Setting)
    assert Holder().setting.name == "FLOWYARD_API_URL"


def test_temporary_settings_are_seen_by_all_threads_and_end_with_their_own_block() -> None:
    seen: list[str] = []
    outer = temporary_settings({FLOWYARD_TASK_RUNNER: "outer"})
    inner = temporary_settings({FLOWYARD_DEBUG_MODE: True})
    outer.__enter__()
    inner.__enter__()
    thread = threading.Thread(target=lambda: seen.append(FLOWYARD_TASK_RUNNER.value()))
    thread.start()
    thread.join()
    outer.__exit__(None, None, None)  # not the last one pushed: blocks of two threads may interleave
    assert FLOWYARD_DEBUG_MODE.value() is True
    inner.__exit__(None, None, None)
    assert seen == ["outer"]
    assert FLOWYARD_TASK_RUNNER.value() == "concurrent"
    assert FLOWYARD_DEBUG_MODE.value() is False


def test_a_bad_temporary_value_changes_nothing() -> None:
    with pytest.raises(InvalidSetting), temporary_settings({FLOWYARD_TASK_DEFAULT_RETRIES: "many"}):
        pass
    assert FLOWYARD_TASK_DEFAULT_RETRIES.value() == 0


def test_the_environment_is_read_at_the_first_look_and_not_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWYARD_TASK_RUNNER", "sequential")
    assert get_current_settings().FLOWYARD_TASK_RUNNER == "sequential"
    monkeypatch.setenv("FLOWYARD_TASK_RUNNER", "process")
    assert get_current_settings().FLOWYARD_TASK_RUNNER == "sequential"
    assert get_settings_from_env().FLOWYARD_TASK_RUNNER == "process"


def test_importing_settings_reads_nothing_and_loads_nothing_heavy() -> None:
    # A stand-in for the root package: what that loads is not the matter of this test.
    script = (
        "import importlib.util, os, sys, types; os.environ['FLOWYARD_DEBUG_MODE'] = 'not a flag'; "
        "root = types.ModuleType('flowyard'); sys.modules['flowyard'] = root; "
        f"root.__path__ = [{str(Path(settings_module.__file__).parents[1])!r}]; "
        "import flowyard.settings; "
        "heavy = ('pydantic', 'dataclasses', 'asyncio', 'tomllib', 'tomlkit', 'difflib'); "
        "print([module for module in heavy if module in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
