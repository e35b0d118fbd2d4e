"""A flow run pauses, asks for something, and goes on when it is resumed."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest

from flowyard import flow, pause_flow_run, resume_flow_run, suspend_flow_run, task
from flowyard.context import FlowRunContext
from flowyard.exceptions import FlowPauseTimeout, NotPausedError, ObjectNotFound
from flowyard.input import RunInput
from flowyard.process.backends import PROCESS
from flowyard.schemas.states import State

pytestmark = pytest.mark.usefixtures("records")


def run_id() -> UUID:
    here = FlowRunContext.get()
    assert here is not None
    return here.flow_run.id


def state_of(flow_run_id: UUID) -> State[Any]:
    state = PROCESS.backend().control.read_flow_run(flow_run_id).state
    assert state is not None
    return state


@pytest.fixture
def when_paused() -> Any:
    """Call something on another thread as soon as a flow run is paused; its errors fail the test."""
    threads: list[threading.Thread] = []
    errors: list[BaseException] = []

    def start(flow_run_id: UUID, act: Callable[[], object]) -> None:
        def work() -> None:
            deadline = time.monotonic() + 90
            try:
                while not state_of(flow_run_id).is_paused():
                    assert time.monotonic() < deadline
                    time.sleep(0.01)
                act()
            except BaseException as error:
                errors.append(error)

        threads.append(threading.Thread(target=work))
        threads[-1].start()

    yield start
    for thread in threads:
        thread.join(90)
        assert not thread.is_alive()
    assert errors == []


def test_a_flow_waits_until_it_is_resumed(when_paused: Any) -> None:
    @flow
    def waits() -> tuple[str, str]:
        when_paused(run_id(), lambda: resume_flow_run(run_id_here))
        run_id_here = run_id()
        pause_flow_run(timeout=20)
        return "went on", state_of(run_id_here).name

    assert waits() == ("went on", "Running")


def test_an_async_flow_awaits_its_pause(when_paused: Any) -> None:
    @flow
    async def waits() -> str:
        mine = run_id()
        when_paused(mine, lambda: resume_flow_run(mine))
        await pause_flow_run(timeout=20)
        return "went on"

    assert asyncio.run(waits()) == "went on"


def test_a_resumed_run_was_run_once(records: Any, when_paused: Any) -> None:
    @flow
    def waits() -> None:
        mine = run_id()
        when_paused(mine, lambda: resume_flow_run(mine))
        pause_flow_run(timeout=20)

    state = waits(return_state=True)
    assert records.flow_run(state).run_count == 1
    assert records.flow_states(state) == ["Pending", "Running", "Paused", "Running", "Completed"]


def test_a_pause_that_nobody_ends_fails_the_flow() -> None:
    @flow
    def waits() -> None:
        pause_flow_run(timeout=0.2, poll_interval=0.05)

    with pytest.raises(FlowPauseTimeout, match=r"0\.2 s"):
        waits()


def test_a_key_that_has_fired_does_not_fire_again(when_paused: Any) -> None:
    @flow
    def waits() -> str:
        mine = run_id()
        when_paused(mine, lambda: resume_flow_run(mine))
        pause_flow_run(timeout=20, key="check")
        pause_flow_run(timeout=20, key="check")
        return "went on"

    assert waits() == "went on"


class Answer(RunInput):
    name: str
    count: int = 3


def test_a_flow_gets_what_it_asked_for(when_paused: Any) -> None:
    @flow
    def asks() -> Answer:
        mine = run_id()
        when_paused(mine, lambda: resume_flow_run(mine, {"name": "Ann"}))
        return pause_flow_run(wait_for_input=Answer, timeout=20)

    assert asks().model_dump() == {"name": "Ann", "count": 3}


def test_a_flow_gets_a_plain_value(when_paused: Any) -> None:
    @flow
    def asks() -> int:
        mine = run_id()
        when_paused(mine, lambda: resume_flow_run(mine, {"value": 4}))
        return pause_flow_run(wait_for_input=int, timeout=20)

    assert asks() == 4


def test_input_that_does_not_fit_is_refused_and_the_run_stays_paused(when_paused: Any) -> None:
    refused: list[str] = []

    @flow
    def asks() -> Answer:
        mine = run_id()

        def answer() -> None:
            for wrong in (None, {"name": 3}, {"name": "Ann", "color": "red"}):
                with pytest.raises(RuntimeError, match="does not fit") as caught:
                    resume_flow_run(mine, wrong)
                refused.append(str(caught.value))
                assert state_of(mine).is_paused()
            resume_flow_run(mine, {"name": "Ann"})

        when_paused(mine, answer)
        return pause_flow_run(wait_for_input=Answer, timeout=20)

    assert asks().name == "Ann"
    assert "'name' is a required property" in refused[0]
    assert "name: 3 is not of type 'string'" in refused[1]
    assert "color" in refused[2]


def test_a_question_can_have_a_description_and_initial_data(when_paused: Any) -> None:
    found: list[Any] = []

    @flow
    def asks() -> Answer:
        mine = run_id()

        def answer() -> None:
            inputs = PROCESS.backend().control.inputs
            found.extend(inputs.read_many(mine, prefix="paused-1-", limit=5))
            resume_flow_run(mine, {})

        when_paused(mine, answer)
        return pause_flow_run(wait_for_input=Answer.with_initial_data("# Who?", name="Bob"), timeout=20)

    assert asks().name == "Bob"
    by_key = {one.key: one.value for one in found}
    assert by_key["paused-1-description"] == '"# Who?"'
    assert '"default": "Bob"' in by_key["paused-1-schema"]


def test_only_a_paused_run_is_resumed() -> None:
    @flow
    def plain() -> UUID:
        return run_id()

    with pytest.raises(NotPausedError, match="COMPLETED"):
        resume_flow_run(plain())
    with pytest.raises(ObjectNotFound):
        resume_flow_run(uuid4())


def test_a_task_cannot_pause_its_flow() -> None:
    @task
    def pauses() -> None:
        pause_flow_run()

    @flow
    def calls() -> None:
        pauses()

    with pytest.raises(RuntimeError, match="Cannot pause task runs"):
        calls()


def test_nothing_is_paused_outside_of_a_flow() -> None:
    with pytest.raises(RuntimeError, match="inside a flow"):
        pause_flow_run()


def test_a_flow_without_a_deployment_cannot_be_suspended() -> None:
    @flow
    def leaves() -> None:
        suspend_flow_run()

    with pytest.raises(RuntimeError, match="no deployment"):
        leaves()


def test_a_flow_of_a_deployment_leaves_and_keeps_what_is_under_way(records: Any) -> None:
    @task
    def step() -> int:
        return 1

    @flow
    def leaves() -> None:
        PROCESS.backend().control.update_flow_run(run_id(), deployment_id=uuid4())
        step.submit()
        suspend_flow_run(timeout=5)

    state = leaves(return_state=True)
    assert (state.name, state.is_paused()) == ("Suspended", True)
    assert records.task_states(state, "step-0") == ["Pending", "Running", "Completed"]
