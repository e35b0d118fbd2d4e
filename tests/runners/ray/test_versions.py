"""Workers that run another Flowyard than the flow's process."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowyard.flows import flow
from flowyard.task_runners.versions import versions_here
from flowyard.tasks import task
from flowyard.testing.utilities import flowyard_test_harness
from flowyard.testing.workloads import identity
from flowyard_ray import RayTaskRunner, remote_options
from flowyard_ray.remote import explain

pytestmark = [pytest.mark.timeout(400), pytest.mark.usefixtures("ray_driver")]

OTHER = "import flowyard._version\nflowyard._version.__version__ = '0.0.1'\n"


@pytest.fixture(autouse=True)
def backend() -> Iterator[None]:
    with flowyard_test_harness():
        yield


def test_a_worker_with_another_flowyard_is_told_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Path(tmp_path, "sitecustomize.py").write_text(OTHER)
    same = task(identity)

    @flow(task_runner=RayTaskRunner())
    def run() -> list[int]:
        with remote_options(runtime_env={"env_vars": {"PYTHONPATH": str(tmp_path)}}):
            return [future.result() for future in [same.submit(number) for number in range(3)]]

    assert run() == [0, 1, 2]
    # As a set: pytest hears a record once for each logger of ours that it listens to.
    (text,) = {record.getMessage() for record in caplog.records if "different versions" in record.getMessage()}
    assert f"This process: {versions_here()}" in text
    assert f"{versions_here()._replace(flowyard='0.0.1')}" in text
    assert f"pip install flowyard=={versions_here().flowyard}" in text
    assert {record.levelno for record in caplog.records if record.getMessage() == text} == {logging.WARNING}


def test_what_fails_because_of_other_versions_says_so() -> None:
    sender = versions_here()._replace(flowyard="9.9.9")
    with pytest.raises(RuntimeError, match=r"KeyError: 'x'. .*Flowyard 9\.9\.9.*pip install flowyard==9\.9\.9"):
        explain(KeyError("x"), tuple(sender))
    explain(KeyError("x"), tuple(versions_here()))
