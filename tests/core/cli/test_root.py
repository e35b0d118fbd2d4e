from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any
from typing import cast as typing_cast

import pytest
import typer

from flowyard.cli import config
from flowyard.cli.root import COMMANDS


def test_help_lists_every_command_and_loads_none_of_them() -> None:
    script = (
        "import sys\n"
        "from flowyard.cli import app\n"
        "try:\n"
        "    app(['--help'])\n"
        "except SystemExit as end:\n"
        "    assert end.code == 0, end.code\n"
        "heavy = ('rich', 'sqlalchemy', 'alembic', 'tomlkit', 'flowyard.store')\n"
        "heavy += ('flowyard.local', 'flowyard.cli.config', 'flowyard.cli.flow_run')\n"
        "print('LOADED', [name for name in heavy if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    for name, command in COMMANDS.items():
        assert f"  {name} " in done.stdout
        assert command.help in done.stdout
    assert done.stdout.splitlines()[-1] == "LOADED []"


@pytest.mark.parametrize("name", [*COMMANDS, *(alias for command in COMMANDS.values() for alias in command.aliases)])
def test_every_command_and_alias_has_help(name: str, run: Any) -> None:
    done = run(name, "--help")
    assert done.code == 0
    assert f"flowyard {name}" in done.stdout


@pytest.mark.parametrize("command", [name for name in COMMANDS if name not in ("gc", "version")])
def test_the_line_in_the_list_of_commands_is_what_the_command_says_itself(command: str) -> None:
    module = importlib.import_module(COMMANDS[command].module)
    assert typing_cast("typer.Typer", module.app).info.help == COMMANDS[command].help


def test_a_group_without_a_command_shows_its_help(run: Any) -> None:
    for arguments in ([], ["flow-run"], ["server", "database"]):
        done = run(*arguments)
        assert done.code == 2
        assert "Usage: flowyard" in done.stdout + done.stderr


def test_a_mistyped_command_is_a_usage_error_with_a_hint(run: Any) -> None:
    done = run("flow-rnu", "ls")
    assert done.code == 2
    assert "Did you mean" in done.stderr
    assert "'flow-run'" in done.stderr


@pytest.mark.parametrize("flag", ["--version", "-v"])
def test_the_version_flag_prints_the_version(flag: str, run: Any) -> None:
    done = run(flag)
    assert done.code == 0
    assert done.stdout.strip() == importlib.import_module("importlib.metadata").version("flowyard")


def test_version_says_what_flowyard_runs_on(run: Any, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = run("version", "--output", "json").json()
    assert facts["profile"] == "default"
    assert facts["home"] == str(home)
    assert facts["server_type"] == "embedded"
    assert facts["database"] == "sqlite"
    assert "Python version:" in run("version").stdout
    monkeypatch.setenv("FLOWYARD_API_DATABASE_CONNECTION_URL", "postgresql+asyncpg://me:secret@db/x")
    done = run("version")
    assert "postgresql" in done.stdout
    assert "SQLite" not in done.stdout
    assert "secret" not in done.stdout
    monkeypatch.setenv("FLOWYARD_API_URL", "http://office/api")
    assert run("version", "-o", "json").json()["server_type"] == "server"


def test_an_unknown_profile_is_one_line_and_exit_code_1(run: Any) -> None:
    done = run("--profile", "nope", "config", "view")
    assert done.code == 1
    assert done.stdout == "Unknown profile 'nope'.\n"
    assert done.stderr == ""


def test_the_option_rules_over_the_environment(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run("profile", "create", "team")
    assert run("-p", "team", "config", "set", "FLOWYARD_TASK_RUNNER=process").code == 0
    monkeypatch.setenv("FLOWYARD_TASK_RUNNER", "sequential")
    values = run("-p", "team", "config", "view", "-o", "json").json()
    assert values["profile"] == "team"
    assert values["settings"]["FLOWYARD_TASK_RUNNER"] == {"value": "process", "source": "profile"}
    assert run("config", "view", "-o", "json").json()["settings"]["FLOWYARD_TASK_RUNNER"]["source"] == "env"


def test_errors_are_red_where_colours_are_wanted(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("config", "set", "nonsense", colours=True).stdout.startswith("\x1b[31m")
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in run("config", "set", "nonsense", colours=True).stdout


def test_an_unexpected_exception_shows_a_traceback_unless_tests_want_it(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(config, "load_profiles", broken)
    done = run("config", "view")
    assert done.code == 1
    assert "ZeroDivisionError: a defect" in done.stderr
    assert done.stdout == "An exception occurred.\n"
    monkeypatch.setenv("FLOWYARD_TEST_MODE", "1")
    with pytest.raises(ZeroDivisionError):
        run("config", "view")


def test_an_installed_add_on_adds_commands_but_replaces_none(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metadata = tmp_path / "flowyard_extra-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: flowyard-extra\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[flowyard.cli]\ngreet = flowyard_extra_cli:app\nversion = flowyard_extra_cli:app\n"
    )
    (tmp_path / "flowyard_extra_cli.py").write_text(
        "import typer\napp = typer.Typer()\n@app.command()\ndef greet(name: str): print('hello', name)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    shown = run("--help").stdout
    assert "greet  From flowyard-extra." in shown
    assert run("greet", "Ada").stdout == "hello Ada\n"
    assert "Python version:" in run("version").stdout


def test_the_console_script_works_in_a_process_of_its_own() -> None:
    script = Path(sys.executable).with_name("flowyard")
    done = subprocess.run([script, "config", "view", "--hide-sources"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("FLOWYARD_PROFILE='default'\nFLOWYARD_HOME=")
