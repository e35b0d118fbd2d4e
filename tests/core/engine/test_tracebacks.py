from __future__ import annotations

import asyncio
import traceback

import pytest

from flowyard import flow, task
from flowyard.exceptions import ParameterTypeError
from flowyard.task_runners import ConcurrentTaskRunner, ProcessPoolTaskRunner, SequentialTaskRunner

ENTRANCES = ("__call__", "result", "_flow_async", "_task_async")


def functions_in(error: BaseException) -> list[str]:
    return [frame.name for frame in traceback.extract_tb(error.__traceback__)]


@task
def broken():
    raise ValueError("no good")


@task
async def broken_async():
    raise ValueError("no good")


@pytest.mark.parametrize("how", ["call", "submit", "async call", "async submit"])
@pytest.mark.parametrize("runner", [SequentialTaskRunner(), ConcurrentTaskRunner()], ids=repr)
def test_a_traceback_has_one_frame_of_the_engine_between_two_of_the_user(records, runner, how):
    @flow(task_runner=runner)
    def caller():
        return broken() if how == "call" else broken.submit().result()

    @flow(task_runner=runner)
    async def caller_async():
        return await broken_async() if how == "async call" else await broken_async.submit().result()

    with pytest.raises(ValueError, match="no good") as caught:
        asyncio.run(caller_async()) if how.startswith("async") else caller()
    shown = functions_in(caught.value)
    own = [name for name in shown if name in ("caller", "caller_async", "broken", "broken_async")]
    assert own == (["caller_async", "broken_async"] if how.startswith("async") else ["caller", "broken"])
    between = shown[shown.index(own[0]) + 1 : shown.index(own[1])]
    assert len(between) == 1
    assert between[0] in ENTRANCES


def test_the_traceback_in_the_log_of_a_flow_is_as_short(records):
    @flow
    def run():
        broken()

    (line,) = [line for line in records.logs(run(return_state=True)) if "in run" in line]
    assert line.count("  File ") == 3


def test_an_error_of_a_task_in_another_process_is_told_with_its_place(records):
    @flow(task_runner=ProcessPoolTaskRunner(max_workers=1))
    def run():
        broken.submit().result()

    with pytest.raises(ValueError, match="no good") as caught:
        run()
    assert "in broken" in "".join(traceback.format_exception(caught.value))


def test_what_the_engine_itself_raises_keeps_its_frames(records):
    @flow
    def run(number: int):
        return number

    with pytest.raises(ParameterTypeError) as caught:
        run("x")  # pyright: ignore[reportArgumentType]  it is refused
    assert "validate" in functions_in(caught.value)
