"""What is said about workers that run something else than the flow's process."""

from __future__ import annotations

from platform import python_version_tuple

import pytest

from flowyard._version import __version__
from flowyard.task_runners.versions import Versions, mismatch, versions_here

HERE = Versions("1.2.0", "3.11", "3.1.1")


def test_a_process_knows_what_it_runs() -> None:
    found = versions_here()
    assert found.flowyard == __version__
    assert found.python == ".".join(python_version_tuple()[:2])
    assert found.cloudpickle


def test_nothing_is_said_of_workers_that_run_the_same() -> None:
    assert mismatch({"a": HERE, "b": HERE}, here=HERE) is None
    assert mismatch({}, here=HERE) is None


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (HERE._replace(flowyard="1.3.0"), "Flowyard 1.3.0"),
        (HERE._replace(python="3.13"), "Python 3.13"),
        (HERE._replace(cloudpickle="2.0.0"), "cloudpickle 2.0.0"),
    ],
    ids=["flowyard", "python", "cloudpickle"],
)
def test_what_differs_is_said_of_both_sides_with_what_to_do(other: Versions, said: str) -> None:
    text = mismatch({"tcp://a": HERE, "tcp://b": other}, here=HERE)
    assert text is not None
    assert f"This process: {HERE}; worker tcp://b: {other}" in text
    assert said in text
    assert "Python 3.11 with `pip install flowyard==1.2.0 cloudpickle==3.1.1`" in text


def test_many_workers_are_counted_and_not_all_named() -> None:
    text = mismatch({f"w{number}": HERE._replace(python="3.12") for number in range(8)}, here=HERE)
    assert text is not None
    assert "workers w0, w1, w2 and 5 more: Flowyard 1.2.0, Python 3.12" in text
