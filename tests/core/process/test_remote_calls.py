"""What a thread without a run context takes for its control plane, on a worker."""

from __future__ import annotations

from typing import Any, cast

import pytest

from flowyard.exceptions import MissingContextError
from flowyard.ports import ControlPlane
from flowyard.process.remote_calls import RemoteCalls
from flowyard.schemas.ids import new_id

ONE, OTHER = cast("Any", object()), cast("Any", object())


@pytest.fixture
def calls() -> RemoteCalls:
    return RemoteCalls()


def test_there_is_none_where_no_call_executes(calls: RemoteCalls) -> None:
    with calls.executing(new_id(), ONE):
        pass
    assert calls.control() is None


def test_calls_of_one_flow_run_have_the_same_and_that_of_the_newest_is_used(calls: RemoteCalls) -> None:
    flow_run_id = new_id()
    found: list[ControlPlane | None] = []
    with calls.executing(flow_run_id, ONE):
        found.append(calls.control())
        with calls.executing(flow_run_id, OTHER):
            found.append(calls.control())
        found.append(calls.control())
    assert found == [ONE, OTHER, ONE]


def test_between_several_flow_runs_nothing_is_guessed(calls: RemoteCalls) -> None:
    with (
        calls.executing(new_id(), ONE),
        calls.executing(new_id(), OTHER),
        pytest.raises(MissingContextError, match=r"several flow runs.*copy_context"),
    ):
        calls.control()
    assert calls.control() is None
