"""What people install from a package index: the wheels, with the extras that bring the add-ons."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from importlib.metadata import Distribution
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement
from packaging.tags import Tag
from packaging.utils import canonicalize_name
from packaging.utils import parse_wheel_filename as parse

pytestmark = pytest.mark.timeout(400)  # 12 s on two free cores, most of it in `pip`

ROOT = Path(__file__).parents[2]
OURS = {"flowyard": ROOT, "flowyard-dask": ROOT / "runners/dask", "flowyard-ray": ROOT / "runners/ray"}
ADD_ONS = ["dask", "ray"]
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--isolated"]

ONE_TASK = """
import flowyard, flowyard_dask

@flowyard.task
def double(x: int) -> int:
    return 2 * x

@flowyard.flow(task_runner=flowyard_dask.DaskTaskRunner(cluster_kwargs={"n_workers": 1, "processes": False}))
def one_task() -> int:
    return double.submit(21).result()

if __name__ == "__main__":
    print(one_task(), flowyard.__file__, flowyard_dask.__file__, sep="\\n")
"""


class Index(NamedTuple):
    """Folders of wheels; nothing else is asked."""

    ours: Path
    whole: Path
    """What `flowyard[dask]` needs, packed again from what is installed here."""
    metadata: Path
    """The same for all add-ons, but only what says what a distribution needs: enough to resolve."""


_OTHERS = {"PYTHONPATH", "VIRTUAL_ENV", "PYTHONHOME"}


def run(*command: str | Path, **environment: str) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        env={**{name: value for name, value in os.environ.items() if name not in _OTHERS}, **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def needed(requirements: list[Requirement]) -> Iterator[Distribution]:
    """Yield every installed distribution that the requirements lead to, ours left out."""
    seen: set[tuple[str, frozenset[str]]] = set()
    while requirements:
        requirement = requirements.pop()
        name = canonicalize_name(requirement.name)
        key = name, frozenset(requirement.extras)
        if key in seen:
            continue
        is_new = all(name != other for other, _ in seen)
        seen.add(key)
        distribution = importlib.metadata.distribution(name)
        if is_new and name not in OURS:
            yield distribution
        for text in distribution.requires or ():
            inner = Requirement(text)
            extras = {"", *requirement.extras}
            if inner.marker is None or any(inner.marker.evaluate({"extra": extra}) for extra in extras):
                requirements.append(inner)


def pack(distribution: Distribution, folder: Path, *, only_metadata: bool) -> None:
    """Make a wheel of a distribution that is installed."""
    lines = (distribution.read_text("WHEEL") or "").splitlines()
    tags = [line.partition(": ")[2].split("-") for line in lines if line.startswith("Tag: ")]
    joined = "-".join(".".join(dict.fromkeys(parts)) for parts in zip(*tags, strict=True))
    name = f"{canonicalize_name(distribution.name).replace('-', '_')}-{distribution.version}-{joined}.whl"
    assert {Tag(*tag) for tag in tags} <= parse(name)[3]
    with zipfile.ZipFile(folder / name, "w") as wheel:
        for path in distribution.files or ():
            is_metadata = path.parts[0].endswith(".dist-info")
            # Scripts are made anew from the entry points.
            if path.parts[0] == ".." or path.suffix == ".pyc" or (only_metadata and not is_metadata):
                continue
            if is_metadata and path.name in {"INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json"}:
                continue
            wheel.write(str(path.locate()), path.as_posix())


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    folder = tmp_path_factory.mktemp("index")
    made = Index(folder / "ours", folder / "whole", folder / "metadata")
    for each in made:
        each.mkdir()
    for project in OURS.values():
        run(*PIP, "wheel", "--no-deps", "--no-index", "--no-build-isolation", "-q", "-w", made.ours, project)
    for distribution in needed([Requirement("flowyard[dask]")]):
        pack(distribution, made.whole, only_metadata=False)
    for distribution in needed([Requirement(f"flowyard[{','.join(ADD_ONS)}]")]):
        pack(distribution, made.metadata, only_metadata=True)
    return made


def test_there_is_one_wheel_of_each_distribution_and_it_is_only_the_package(index: Index) -> None:
    wheels = {str(parse(path.name)[0]): path for path in index.ours.iterdir()}
    assert set(wheels) == set(OURS)
    for name, path in wheels.items():
        package = name.replace("-", "_")
        files = zipfile.ZipFile(path).namelist()
        assert {file.partition("/")[0].partition("-")[0] for file in files} == {package}
        assert f"{package}/py.typed" in files
    assert "flowyard/store/migrations/versions/0001_first_tables.py" in zipfile.ZipFile(wheels["flowyard"]).namelist()


@pytest.mark.parametrize("add_on", ADD_ONS)
def test_an_extra_brings_its_add_on(index: Index, add_on: str) -> None:
    folders = ["--find-links", index.ours, "--find-links", index.metadata]
    options = ["--dry-run", "--ignore-installed", "--quiet", "--report", "-"]
    report = json.loads(run(*PIP, "install", "--no-index", *folders, *options, f"flowyard[{add_on}]"))
    chosen = {canonicalize_name(item["metadata"]["name"]) for item in report["install"]}
    assert {"flowyard", f"flowyard-{add_on}", add_on} <= chosen
    assert not {f"flowyard-{other}" for other in ADD_ONS if other != add_on} & chosen


def test_an_environment_of_wheels_runs_a_flow_on_the_add_on(index: Index, tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    venv.create(environment)
    scripts = environment / ("Scripts" if sys.platform == "win32" else "bin")
    folders = ["--find-links", index.ours, "--find-links", index.whole]
    run(*PIP, "--python", scripts / "python", "install", "-q", "--no-index", "--no-compile", *folders, "flowyard[dask]")
    script = tmp_path / "one_task.py"
    script.write_text(ONE_TASK, encoding="utf-8")
    home = {"FLOWYARD_HOME": str(tmp_path / "home"), "FLOWYARD_LOGGING_LEVEL": "ERROR"}
    value, *modules = run(scripts / "python", script, **home).splitlines()
    assert value == "42"
    assert all(Path(module).is_relative_to(environment) for module in modules), modules
    listed = json.loads(run(scripts / "flowyard", "flow-run", "ls", "--output", "json", **home))
    assert [(each["flow_name"], each["state_name"]) for each in listed] == [("one-task", "Completed")]
