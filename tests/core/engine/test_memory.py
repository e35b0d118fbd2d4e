"""What is let go, and when: values, arguments, threads, loops."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import weakref
from collections.abc import Iterator

import pytest

from flowyard import flow, task
from flowyard.task_runners import ConcurrentTaskRunner, SequentialTaskRunner


@pytest.fixture(autouse=True)
def no_records() -> Iterator[None]:
    """Log nothing: pytest collects records, and a record knows its run, which knows its state."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


class Big:
    """Something that can be watched."""


@task
def make():
    return Big()


@task
def take(big):
    return 1


@task
async def make_async():
    return Big()


@task
async def take_async(big):
    return 1


def is_gone(reference, records):
    """Say whether nobody keeps an object; the writer's thread may let go of its batch a moment after the flush."""
    gone = threading.Event()
    held = reference()
    if held is not None:
        weakref.finalize(held, gone.set)
        del held
        records.flush()
        gc.collect()
        return gone.wait(90)
    return True


@pytest.mark.parametrize("runner", [ConcurrentTaskRunner(), SequentialTaskRunner()], ids=repr)
@pytest.mark.parametrize("maker", [make, make_async], ids=["sync", "async"])
class TestInAFlowThatStillRuns:
    def test_a_dropped_future_frees_its_value(self, records, runner, maker):
        @flow(task_runner=runner)
        def run():
            future = maker.submit()
            reference = weakref.ref(future.result())
            kept = reference() is not None
            del future
            return [kept, is_gone(reference, records)]

        assert run() == [True, True]

    def test_a_dropped_value_of_a_direct_call_is_freed(self, records, runner, maker):
        @flow(task_runner=runner)
        def run():
            reference = weakref.ref(maker())
            return is_gone(reference, records)

        assert run() is True

    def test_a_dropped_state_frees_its_value(self, records, runner, maker):
        @flow(task_runner=runner)
        def run():
            reference = weakref.ref(maker(return_state=True).result())
            return is_gone(reference, records)

        assert run() is True

    def test_a_value_that_was_passed_on_is_freed(self, records, runner, maker):
        @flow(task_runner=runner)
        def run():
            future = maker.submit()
            reference = weakref.ref(future.result())
            after = take.submit(future)
            after.wait()
            del future
            return [is_gone(reference, records), after.result()]

        assert run() == [True, 1]


@pytest.mark.parametrize("runner", [ConcurrentTaskRunner(), SequentialTaskRunner()], ids=repr)
@pytest.mark.parametrize("taker", [take, take_async], ids=["sync", "async"])
@pytest.mark.parametrize("how", ["call", "submit", "map"])
def test_arguments_of_a_finished_task_are_not_kept_though_its_future_is(records, runner, taker, how):
    @flow(task_runner=runner)
    def run():
        big = Big()
        reference = weakref.ref(big)
        if how == "call":
            kept = taker(big)
        elif how == "submit":
            kept = taker.submit(big)
            kept.wait()
        else:
            kept = taker.map([big])
            kept.result()
        del big
        return [is_gone(reference, records), kept is not None]

    assert run() == [True, True]


def test_the_future_of_an_abandoned_wait_is_freed(records):
    gate = threading.Event()

    @task
    def wait():
        gate.wait(90)
        return Big()

    @flow
    def run():
        future = wait.submit()
        assert future.wait(timeout=0.001) is None
        gate.set()
        reference = weakref.ref(future.result())
        del future
        return is_gone(reference, records)

    assert run() is True


def test_nothing_of_a_finished_flow_is_kept(records):
    references = []

    def run():
        big = Big()
        references.append(weakref.ref(big))
        take(big)
        take.submit(make.submit()).wait()
        return 1

    made = flow(run)
    references.append(weakref.ref(made))
    made()
    del made, run
    assert all(is_gone(reference, records) for reference in references)


def threads():
    return {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize("fails", [False, True], ids=["completed", "failed"])
def test_a_flow_leaves_no_thread_behind(records, fails):
    @flow
    def run():
        take.map(range(20)).result()
        take_async.submit(1).result()
        if fails:
            raise ValueError

    run(return_state=True)
    before = threads()
    run(return_state=True)
    left = {name for name in threads() - before if not name.startswith("flowyard-journal")}
    assert left == set()
    assert not [name for name in threads() if name.startswith("flowyard-worker")]


def test_an_async_flow_leaves_no_task_on_its_loop(records):
    @flow
    async def run():
        await asyncio.gather(*[take_async(n) for n in range(5)])
        await take_async.submit(1).result()
        return 1

    async def main():
        await run()
        return len(asyncio.all_tasks())

    assert asyncio.run(main()) == 1
