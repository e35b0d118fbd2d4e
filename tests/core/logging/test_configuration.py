from __future__ import annotations

import logging
from pathlib import Path

import pytest

from flowyard.exceptions import InvalidSetting
from flowyard.logging import JournalLogHandler, get_logger, run_log_for_flow, setup_logging
from flowyard.logging.configuration import load_logging_config
from flowyard.logging.handlers import FlowyardConsoleHandler, RootForwarder
from flowyard.schemas.runs import FlowRun
from flowyard.settings import (
    FLOWYARD_API_KEY,
    FLOWYARD_DEBUG_MODE,
    FLOWYARD_LOGGING_INTERNAL_LEVEL,
    FLOWYARD_LOGGING_LEVEL,
    FLOWYARD_LOGGING_SETTINGS_PATH,
    FLOWYARD_LOGGING_TO_API_MAX_LOG_SIZE,
    FLOWYARD_RESULTS_SIGNING_KEY,
    temporary_settings,
)

from .conftest import ListRecorder

YAML = """
version: 1
formatters:
  mine:
    (): flowyard.logging.formatters.FlowyardFormatter
    format: "other %(message)s"
    flow_run_fmt: "FLOW %(flow_run_name)s %(message)s"
handlers:
  console:
    class: flowyard.logging.handlers.FlowyardConsoleHandler
    formatter: mine
loggers:
  flowyard:
    level: ${FLOWYARD_LOGGING_LEVEL}
    handlers: [console]
    propagate: no
"""

TOML = """
version = 1
[formatters.mine]
"()" = "flowyard.logging.formatters.FlowyardFormatter"
format = "other %(message)s"
flow_run_fmt = "FLOW %(flow_run_name)s %(message)s"
[handlers.console]
class = "flowyard.logging.handlers.FlowyardConsoleHandler"
formatter = "mine"
[loggers.flowyard]
level = "${FLOWYARD_LOGGING_LEVEL}"
handlers = ["console"]
propagate = false
"""

JSON = """
{"version": 1,
 "formatters": {"mine": {"()": "flowyard.logging.formatters.FlowyardFormatter", "format": "other %(message)s",
                         "flow_run_fmt": "FLOW %(flow_run_name)s %(message)s"}},
 "handlers": {"console": {"class": "flowyard.logging.handlers.FlowyardConsoleHandler", "formatter": "mine"}},
 "loggers": {"flowyard": {"level": "${FLOWYARD_LOGGING_LEVEL}", "handlers": ["console"], "propagate": false}}}
"""


def _shape() -> dict[str, tuple[int, bool, list[str]]]:
    names = ["", ".engine", ".flow_runs", ".task_runs", ".extra", "._internal", ".server"]
    loggers = [logging.getLogger(f"flowyard{name}") for name in names]
    return {
        logger.name: (logger.level, logger.propagate, [type(h).__name__ for h in logger.handlers]) for logger in loggers
    }


def test_the_defaults_log_info_to_console_and_journal() -> None:
    setup_logging()
    assert _shape() == {
        "flowyard": (logging.INFO, False, ["FlowyardConsoleHandler", "RootForwarder"]),
        "flowyard.engine": (0, True, []),
        "flowyard.flow_runs": (0, True, ["JournalLogHandler"]),
        "flowyard.task_runs": (0, True, ["JournalLogHandler"]),
        "flowyard.extra": (logging.INFO, True, ["JournalLogHandler"]),
        "flowyard._internal": (logging.ERROR, True, []),
        "flowyard.server": (logging.WARNING, True, []),
    }


def test_a_second_call_changes_nothing() -> None:
    first = setup_logging()
    handlers = list(logging.getLogger("flowyard").handlers)
    assert setup_logging() is first
    assert logging.getLogger("flowyard").handlers == handlers


def test_other_settings_configure_anew_and_the_old_ones_come_back() -> None:
    setup_logging()
    before = _shape()
    with temporary_settings({FLOWYARD_LOGGING_LEVEL: "DEBUG", FLOWYARD_LOGGING_INTERNAL_LEVEL: "INFO"}):
        setup_logging()
        assert logging.getLogger("flowyard").level == logging.DEBUG
        assert logging.getLogger("flowyard._internal").level == logging.INFO
    setup_logging()
    assert _shape() == before


def test_settings_that_differ_elsewhere_leave_the_handlers_to_those_who_log() -> None:
    setup_logging()
    handlers = list(logging.getLogger("flowyard.flow_runs").handlers)
    with temporary_settings({FLOWYARD_RESULTS_SIGNING_KEY: "of another flow"}):
        setup_logging()
        assert logging.getLogger("flowyard.flow_runs").handlers == handlers
    with temporary_settings({FLOWYARD_LOGGING_TO_API_MAX_LOG_SIZE: 1000}):
        setup_logging()
        assert logging.getLogger("flowyard.flow_runs").handlers != handlers


def test_debug_mode_logs_debug() -> None:
    with temporary_settings({FLOWYARD_DEBUG_MODE: True}):
        setup_logging()
    assert get_logger("engine").isEnabledFor(logging.DEBUG)


def test_a_level_that_the_user_set_stays() -> None:
    get_logger().setLevel(logging.ERROR)
    setup_logging()
    assert get_logger().level == logging.ERROR
    get_logger("flow_runs").setLevel(logging.DEBUG)
    setup_logging(incremental=False)
    assert get_logger("flow_runs").level == logging.DEBUG


def test_a_handler_that_the_user_attached_stays() -> None:
    setup_logging()
    handler = logging.NullHandler()
    get_logger("task_runs").addHandler(handler)
    setup_logging(incremental=False)
    assert handler in get_logger("task_runs").handlers
    assert len(get_logger("task_runs").handlers) == 2


def test_incremental_changes_levels_only() -> None:
    setup_logging()
    handlers = list(get_logger().handlers)
    with temporary_settings({FLOWYARD_LOGGING_LEVEL: "WARNING"}):
        setup_logging(incremental=True)
    assert get_logger().level == logging.WARNING
    assert get_logger().handlers == handlers


def test_an_unknown_level_is_refused_and_changes_nothing() -> None:
    setup_logging()
    before = _shape()
    with (
        temporary_settings({FLOWYARD_LOGGING_LEVEL: "LOUD"}),
        pytest.raises(InvalidSetting, match=r"FLOWYARD_LOGGING_LEVEL='LOUD'.*WARNING"),
    ):
        setup_logging()
    assert _shape() == before


@pytest.mark.parametrize(("name", "text"), [("l.yml", YAML), ("l.toml", TOML), ("l.json", JSON)])
def test_an_override_file_replaces_the_defaults(
    name: str,
    text: str,
    tmp_path: Path,
    flow_run: FlowRun,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / name).write_text(text)
    recorder = ListRecorder()
    with temporary_settings({FLOWYARD_LOGGING_SETTINGS_PATH: tmp_path / name, FLOWYARD_LOGGING_LEVEL: "WARNING"}):
        setup_logging()
        run_log_for_flow(flow_run, None, recorder).warning("hello")
        get_logger("engine").warning("hello")
        get_logger("engine").info("quiet")
    assert capsys.readouterr().err == "FLOW happy-otter hello\nother hello\n"
    assert recorder.logs == []  # the file has no handler for it


def test_after_an_override_file_the_defaults_come_back(tmp_path: Path) -> None:
    setup_logging()
    before = _shape()
    (tmp_path / "l.toml").write_text(TOML)
    with temporary_settings({FLOWYARD_LOGGING_SETTINGS_PATH: tmp_path / "l.toml"}):
        setup_logging()
    setup_logging()
    assert _shape() == before


def test_the_default_file_is_in_the_home_folder(tmp_path: Path) -> None:
    (tmp_path / "logging.yml").write_text(YAML)
    setup_logging()
    assert _shape()["flowyard.flow_runs"] == (0, True, [])


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("l.json", "{", "cannot be understood"),
        ("l.yml", "a: [", "cannot be understood"),
        ("l.json", "[]", "must hold a mapping"),
        ("l.toml", "version = 2", "dictConfig refuses it: Unsupported version"),
        ("l.toml", "[handlers.x]\nclass = 'nowhere.Handler'\n", "dictConfig refuses it: .*'x'"),
        ("l.toml", "[loggers.flowyard]\nlevel = 'LOUD'\n", "l.toml.* logger 'flowyard' the level 'LOUD'; use one of"),
    ],
)
def test_a_bad_override_file_is_refused_with_the_reason(name: str, text: str, complaint: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with (
        temporary_settings({FLOWYARD_LOGGING_SETTINGS_PATH: tmp_path / name}),
        pytest.raises(InvalidSetting, match=complaint),
    ):
        setup_logging()


def test_without_pyyaml_a_yaml_file_is_refused_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "l.yml").write_text(YAML)
    monkeypatch.setitem(__import__("sys").modules, "yaml", None)
    with pytest.raises(InvalidSetting, match=r"pip install pyyaml.*\.toml or \.json"):
        load_logging_config(tmp_path / "l.yml")


def test_single_values_are_overridden_by_the_environment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FLOWYARD_LOGGING_LOGGERS_FLOWYARD_LEVEL", "ERROR")
    monkeypatch.setenv("FLOWYARD_LOGGING_FORMATTERS_STANDARD_FORMAT", "X %(message)s")
    monkeypatch.setenv("FLOWYARD_LOGGING_LOGGERS_FLOWYARD_EXTRA_HANDLERS", "api, console")
    setup_logging()
    get_logger("engine").warning("quiet")
    get_logger("engine").error("loud")
    assert capsys.readouterr().err == "X loud\n"
    assert [type(h) for h in get_logger("extra").handlers] == [JournalLogHandler, FlowyardConsoleHandler]


@pytest.mark.parametrize(
    "variable",
    ["FLOWYARD_LOGGING_LOGGERS_FLOWYARD_LEVEL", "FLOWYARD_LOGGING_HANDLERS_CONSOLE_LEVEL"],
    ids=["logger", "handler"],
)
def test_a_bad_value_in_the_environment_is_refused_under_the_name_of_its_variable(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "LOUD")
    with pytest.raises(InvalidSetting, match=f"setting {variable}='LOUD' is invalid"):
        setup_logging()


def test_a_bad_level_that_a_file_takes_from_a_setting_is_refused_as_that_setting(tmp_path: Path) -> None:
    (tmp_path / "l.toml").write_text("[loggers.flowyard]\nlevel = '${FLOWYARD_LOGGING_LEVEL}'\n")
    changes = {FLOWYARD_LOGGING_SETTINGS_PATH: tmp_path / "l.toml", FLOWYARD_LOGGING_LEVEL: "LOUD"}
    with temporary_settings(changes), pytest.raises(InvalidSetting, match="setting FLOWYARD_LOGGING_LEVEL='LOUD'"):
        setup_logging()


def test_the_configuration_that_stdlib_applies_is_the_default_one(monkeypatch: pytest.MonkeyPatch) -> None:
    setup_logging()
    fast = _shape()
    monkeypatch.setenv("FLOWYARD_LOGGING_HANDLERS_CONSOLE_LEVEL", "0")  # the default, said through the slow way
    setup_logging(incremental=False)
    slow = _shape()
    assert slow == fast


def test_a_forwarder_steps_back_when_flowyard_propagates(caplog: pytest.LogCaptureFixture) -> None:
    setup_logging()
    get_logger().propagate = True
    get_logger("engine").warning("once")
    assert caplog.messages == ["once"]


def test_the_api_key_does_not_get_into_logs(flow_run: FlowRun, capsys: pytest.CaptureFixture[str]) -> None:
    recorder = ListRecorder()
    with temporary_settings({FLOWYARD_API_KEY: "s3cr3t-key"}):
        setup_logging()
        run_log_for_flow(flow_run, None, recorder).info("asking with %s", {"Authorization": "Bearer s3cr3t-key"})
    assert recorder.messages == ["asking with {'Authorization': 'Bearer ********'}"]
    assert "s3cr3t" not in capsys.readouterr().err


def test_what_is_left_behind_is_one_handler_of_each_kind() -> None:
    for level in ("INFO", "DEBUG", "INFO"):
        with temporary_settings({FLOWYARD_LOGGING_LEVEL: level}):
            setup_logging()
    kinds = [type(handler) for handler in get_logger().handlers]
    assert kinds.count(FlowyardConsoleHandler) == 1
    assert kinds.count(RootForwarder) == 1
