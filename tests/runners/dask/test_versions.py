"""Workers that run another Flowyard than the flow's process, or none."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dask.base import annotate
from distributed import Client

from flowyard.flows import flow
from flowyard.task_runners.versions import versions_here
from flowyard.tasks import task
from flowyard.testing.utilities import flowyard_test_harness
from flowyard.testing.workloads import identity
from flowyard_dask import DaskTaskRunner

OTHER = "import flowyard._version\nflowyard._version.__version__ = '0.0.1'\n"
NONE = "raise ModuleNotFoundError(\"No module named 'flowyard_dask'\")\n"


@pytest.fixture(scope="module", autouse=True)
def backend() -> Iterator[None]:
    with flowyard_test_harness():
        yield


@pytest.fixture
def cluster(tmp_path: Path, cluster_of_programs: Any) -> Iterator[Any]:
    made = cluster_of_programs(tmp_path, workers=0)
    yield made
    made.close()


def start_worker(cluster: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, file: str, code: str) -> None:
    """Start a worker in which a module of ours is another one."""
    path = folder / name / file
    path.parent.mkdir(parents=True)
    path.write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(folder / name))
    cluster.workers.append(cluster.start_worker(name, "--resources", f"{name}=1"))
    client: Any
    with Client(cluster.address, set_as_default=False) as client:
        client.wait_for_workers(len(cluster.workers), timeout=60)


def said(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    return sorted({record.getMessage() for record in caplog.records if record.levelno == level})


def test_a_worker_with_another_flowyard_is_told_of_when_the_flow_connects(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    start_worker(cluster, tmp_path, monkeypatch, "other", "sitecustomize.py", OTHER)
    with DaskTaskRunner(address=cluster.address).start():
        (text,) = said(caplog, logging.WARNING)
    assert f"This process: {versions_here()}" in text
    assert f"{versions_here()._replace(flowyard='0.0.1')}" in text
    assert f"pip install flowyard=={versions_here().flowyard}" in text


def test_a_worker_that_comes_later_is_told_of_with_its_first_task(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    start_worker(cluster, tmp_path, monkeypatch, "same", "empty.py", "")

    @flow(task_runner=DaskTaskRunner(address=cluster.address))
    def grown() -> list[str]:
        start_worker(cluster, tmp_path, monkeypatch, "other", "sitecustomize.py", OTHER)
        before = said(caplog, logging.WARNING)
        with annotate(resources={"other": 1}):
            for future in task(identity).map(range(3)):
                future.result()
        return before

    assert grown() == []
    (text,) = said(caplog, logging.WARNING)
    assert "Flowyard 0.0.1" in text


def test_a_worker_without_flowyard_is_named_with_the_way_out(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    start_worker(cluster, tmp_path, monkeypatch, "none", "flowyard_dask/__init__.py", NONE)
    with DaskTaskRunner(address=cluster.address).start() as runner:
        client: Any = runner.session.client
        (address,) = client.scheduler_info()["workers"]
        (text,) = said(caplog, logging.ERROR)
    assert f"No task of this flow can run on {address}: " in text
    assert "No module named 'flowyard_dask'" in text
    assert "flowyard and flowyard-dask" in text
