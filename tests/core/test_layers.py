"""The import layers of pyproject.toml hold, and a module outside of them is noticed."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PYPROJECT = ROOT / "pyproject.toml"


def contract() -> dict[str, Any]:
    return tomllib.loads(PYPROJECT.read_text())["tool"]["importlinter"]["contracts"][0]


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "import sys; from importlinter.cli import lint_imports_command as main; main()"]
    return subprocess.run([*command, "--no-cache"], cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with our contract, whose package has one empty module for every name in it."""
    (tmp_path / "pyproject.toml").write_text(PYPROJECT.read_text())
    package = tmp_path / "flowyard"
    package.mkdir()
    (package / "__init__.py").write_text("")
    for layer in contract()["layers"]:
        for name in layer.split("|"):
            (package / f"{name.strip().strip('()')}.py").write_text("")
    return tmp_path


def test_a_module_of_flowyard_imports_only_downwards_and_is_in_a_layer() -> None:
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_contract_refuses_an_import_upwards_even_inside_a_function(project: Path) -> None:
    assert lint(project).returncode == 0
    (project / "flowyard" / "schemas.py").write_text("def late():\n    import flowyard.flows\n")
    done = lint(project)
    assert done.returncode == 1
    assert "flowyard.schemas -> flowyard.flows" in done.stdout


def test_the_contract_refuses_a_module_that_is_in_no_layer(project: Path) -> None:
    (project / "flowyard" / "homeless.py").write_text("")
    done = lint(project)
    assert done.returncode == 1
    assert "homeless" in done.stdout + done.stderr
