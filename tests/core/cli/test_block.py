from __future__ import annotations

import json
from pathlib import Path
from uuid import uuid4

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from flowyard.blocks.system import JSON, Secret
from flowyard.process.backends import close_backends

SECRET = "hunter2-correct-horse"
MODULE = """
from pydantic import SecretStr
from flowyard.blocks.core import Block

class Inner(Block):
    password: SecretStr

class Outer(Block):
    '''What is outside.

    Example:
        Outer(inner=...)
    '''
    inner: Inner
"""


@pytest.fixture
def saved(home: Path) -> dict[str, str]:
    """Two saved blocks, by name."""
    ids = {
        "secret/token": str(Secret(value=SecretStr(SECRET)).save("token")),
        "json/regions": str(JSON(value={"regions": ["eu"]}).save("regions")),
    }
    close_backends()
    return ids


def test_without_blocks_ls_says_how_to_save_one(run):
    assert "No blocks found: save one in Python" in run("block", "ls").stdout
    assert run("block", "ls", "--output", "json").json() == []


def test_saved_blocks_are_listed_without_their_secrets(run, saved):
    done = run("block", "ls")
    assert "json/regions" in done.stdout
    assert done.stdout.index("json/regions") < done.stdout.index("secret/token")
    records = run("blocks", "ls", "--output", "json").json()
    assert {record["slug"]: record["id"] for record in records} == saved
    assert SECRET not in done.stdout + json.dumps(records)


def test_a_block_is_inspected_by_name_or_id_with_asterisks_for_secrets(run, saved):
    for arguments in (("secret/token",), ("--id", saved["secret/token"])):
        done = run("block", "inspect", *arguments)
        assert "value: ********" in done.stdout
        record = run("block", "inspect", *arguments, "-o", "json").json()
        assert record["data"]["value"] == "********"
        assert SECRET not in done.stdout + json.dumps(record)


@pytest.mark.parametrize("command", ["inspect", "delete"])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Give either TYPE/NAME or --id"),
        (("a/b", "--id", str(uuid4())), "Give either TYPE/NAME or --id"),
        (("token",), "'token' is not TYPE/NAME"),
        (("secret/none",), "Block 'secret/none' not found"),
    ],
    ids=["neither", "both", "no slash", "missing"],
)
def test_a_block_that_cannot_be_found_is_an_error(run, saved, command, arguments, message):
    done = run("block", command, *arguments)
    assert (done.code, message in done.stdout) == (1, True), done.stdout


def test_an_id_that_nothing_has_is_an_error(run, saved):
    nobody = str(uuid4())
    done = run("block", "inspect", "--id", nobody)
    assert (done.code, f"no block document {nobody}" in done.stdout) == (1, True)


def test_a_block_is_deleted_after_a_question(run, saved):
    assert run("--prompt", "block", "delete", "json/regions", stdin="n\n").code == 1
    assert run("--no-prompt", "block", "delete", "json/regions").code == 1
    assert run("block", "delete", "json/regions", "--yes").code == 0
    assert run("--prompt", "block", "delete", "--id", saved["secret/token"], stdin="y\n").code == 0
    assert run("block", "ls", "-o", "json").json() == []


def test_the_classes_of_a_file_are_registered(run, tmp_path):
    file = tmp_path / "my_blocks_of_a_file.py"
    file.write_text(MODULE)
    done = run("block", "register", "--file", str(file))
    assert done.code == 0, done.stdout
    assert "Registered 2 block types." in done.stdout
    assert [each["slug"] for each in run("block", "type", "ls", "-o", "json").json()] == ["inner", "outer"]
    assert [each["slug"] for each in run("block", "register", "-f", str(file), "-o", "json").json()] == [
        "inner",
        "outer",
    ]


def test_the_classes_of_a_module_are_registered(run):
    assert "secret" in run("block", "register", "--module", "flowyard.blocks.system").stdout
    kinds = run("block", "type", "ls", "-o", "json").json()
    assert [kind["slug"] for kind in kinds] == ["date-time", "json", "secret", "string"]
    assert all(kind["is_protected"] for kind in kinds)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Give either --module or --file"),
        (("-m", "a", "-f", "b.py"), "Give either --module or --file"),
        (("-f", "blocks.txt"), "is not a Python file"),
        (("-f", "nowhere.py"), "There is no file 'nowhere.py'"),
        (("-m", "no_such_module_at_all"), "There is no module 'no_such_module_at_all'"),
        (("-m", "json"), "There is no block class in 'json'"),
        (("-f", "{broken}"), "raised ZeroDivisionError"),
    ],
    ids=["neither", "both", "suffix", "no file", "no module", "no class", "broken"],
)
def test_what_cannot_be_registered_is_an_error(run, tmp_path, arguments, message):
    broken = tmp_path / "broken.py"
    broken.write_text("1 / 0")
    done = run("block", "register", *(text.format(broken=broken) for text in arguments))
    assert (done.code, message in done.stdout) == (1, True), done.stdout


def test_a_type_is_inspected_with_its_schemas(run, saved):
    done = run("block", "type", "inspect", "secret")
    assert "Secret:       value" in done.stdout
    assert "flowyard.blocks.system:Secret" in done.stdout
    record = run("block", "types", "inspect", "secret", "-o", "json").json()
    assert [schema["fields"]["secret_fields"] for schema in record["schemas"]] == [["value"]]
    assert run("block", "type", "inspect", "none").code == 1


def test_installed_types_are_listed_though_they_are_not_registered(run, saved):
    rows = [line.split() for line in run("block", "type", "ls").stdout.splitlines()]
    assert next(row for row in rows if row and row[0] == "webhook")[-1] == "no"
    assert next(row for row in rows if row and row[0] == "secret")[-1] == "yes"


def test_built_in_types_are_protected_and_others_are_deleted(run, saved, tmp_path):
    file = tmp_path / "my_deleted_blocks.py"
    file.write_text(MODULE)
    run("block", "register", "--file", str(file))
    assert "is built in" in run("block", "type", "delete", "secret", "--yes").stdout
    assert run("block", "type", "delete", "none", "--yes").code == 1
    assert run("block", "type", "delete", "outer", "--yes").code == 0
    assert run("block", "type", "inspect", "outer").code == 1


def test_create_leads_to_the_dashboard_or_says_how_else(run, saved, monkeypatch):
    done = run("block", "create", "secret")
    assert done.code == 1
    assert "FLOWYARD_UI_URL is not set" in done.stdout
    assert "Secret(value=" in done.stdout
    assert "registered are: json, secret" in run("block", "create", "none").stdout
    monkeypatch.setenv("FLOWYARD_UI_URL", "http://localhost:4200/")
    assert "http://localhost:4200/blocks/catalog/secret/create" in run("block", "create", "secret").stdout


def test_the_help_names_every_command():
    from flowyard.cli import app

    text = CliRunner().invoke(app, ["block", "--help"]).stdout
    assert all(name in text for name in ("register", "ls", "inspect", "delete", "create", "type"))
