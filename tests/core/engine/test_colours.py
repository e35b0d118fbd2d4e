"""Every combination of sync and async (behaviour A13): on the stock loop, on uvloop, and where a loop runs already."""

# Wrong options are given on purpose, contexts are known by the test.
# pyright: reportArgumentType=false, reportGeneralTypeIssues=false
from __future__ import annotations

import asyncio
import inspect
import sys

import pytest

from flowyard import flow, task
from flowyard.task_runners import ConcurrentTaskRunner, SequentialTaskRunner


@task
def sync_task(x):
    return x + 1


@task
async def async_task(x):
    await asyncio.sleep(0)
    return x + 1


@flow
def sync_child(x):
    return sync_task(x) + async_task(x)


@flow
async def async_child(x):
    return sync_task(x) + await async_task(x)


TASKS = {"sync task": sync_task, "async task": async_task}
CHILDREN = {"sync subflow": sync_child, "async subflow": async_child}
RUNNERS = [ConcurrentTaskRunner(), ConcurrentTaskRunner(max_workers=1), SequentialTaskRunner()]


def stock(main):
    return asyncio.run(main())


def uvloop_loop(main):
    uvloop = pytest.importorskip("uvloop")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())


LOOPS = {"stock": stock, "uvloop": uvloop_loop}


async def settled(value):
    """Await what is to be awaited."""
    return await value if inspect.isawaitable(value) else value


def in_script(run):
    """Call a sync flow as a script does: no loop runs."""
    return run()


def in_notebook(run):
    """Call a sync flow as a notebook does: a loop runs in this thread."""

    async def cell():
        return run()

    return asyncio.run(cell())


def in_notebook_with_uvloop(run):
    async def cell():
        return run()

    return uvloop_loop(cell)


PLACES = {"script": in_script, "notebook": in_notebook, "notebook on uvloop": in_notebook_with_uvloop}

params_tasks = pytest.mark.parametrize("used", TASKS.values(), ids=list(TASKS))
params_children = pytest.mark.parametrize("used", CHILDREN.values(), ids=list(CHILDREN))
params_runners = pytest.mark.parametrize("runner", RUNNERS, ids=repr)
params_places = pytest.mark.parametrize("place", PLACES.values(), ids=list(PLACES))
params_loops = pytest.mark.parametrize("loop", LOOPS.values(), ids=list(LOOPS))


class TestSyncFlow:
    """Whatever it calls, it gets values: it has no way to await."""

    @params_tasks
    @params_runners
    @params_places
    def test_calls_a_task(self, records, used, runner, place):
        @flow(task_runner=runner)
        def run():
            return used(1)

        assert place(run) == 2

    @params_tasks
    @params_runners
    @params_places
    def test_submits_a_task(self, records, used, runner, place):
        @flow(task_runner=runner)
        def run():
            first = used.submit(1)
            second = used.submit(first)
            return second.result()

        assert place(run) == 3

    @params_tasks
    @params_runners
    @params_places
    def test_maps_a_task(self, records, used, runner, place):
        @flow(task_runner=runner)
        def run():
            return used.map(used.map([1, 2, 3])).result()

        assert place(run) == [3, 4, 5]

    @params_tasks
    @params_runners
    @params_places
    def test_leaves_what_it_submitted_to_the_end(self, records, used, runner, place):
        @flow(task_runner=runner)
        def run():
            used.submit(used.submit(1))

        assert place(lambda: run(return_state=True)).is_completed()

    @params_children
    @params_places
    def test_calls_a_subflow(self, records, used, place):
        @flow
        def run():
            return used(1)

        assert place(run) == 4

    @params_children
    @params_places
    def test_calls_a_subflow_in_a_subflow(self, records, used, place):
        @flow
        async def between_async(x):
            return await settled(used(x))

        @flow
        def between_sync(x):
            return used(x)

        @flow
        def run():
            return [between_sync(1), between_async(1)]

        assert place(run) == [4, 4]

    def test_may_start_a_loop_of_its_own_in_which_async_ones_are_awaited(self, records):
        @flow
        def run():
            async def main():
                return await asyncio.gather(async_task(1), async_child(1), async_task.submit(5).result())

            return asyncio.run(main())

        assert run() == [2, 4, 6]

    @params_tasks
    def test_in_a_task_calls_both_colours(self, records, used):
        @task
        def outer():
            return used(1)

        @task
        async def outer_async():
            return await settled(used(1))

        @flow
        def run():
            return [outer(), outer_async(), outer.submit().result(), outer_async.submit().result()]

        assert run() == [2, 2, 2, 2]


class TestAsyncFlow:
    """Async ones are awaited, sync ones block."""

    @params_tasks
    @params_runners
    @params_loops
    def test_calls_a_task(self, records, used, runner, loop):
        @flow(task_runner=runner)
        async def run():
            called = used(1)
            assert inspect.isawaitable(called) is used.isasync
            return await settled(called)

        assert loop(run) == 2

    @params_tasks
    @params_runners
    @params_loops
    def test_submits_a_task(self, records, used, runner, loop):
        @flow(task_runner=runner)
        async def run():
            first = used.submit(1)
            second = used.submit(first)
            return await settled(second.result())

        assert loop(run) == 3

    @params_tasks
    @params_runners
    @params_loops
    def test_maps_a_task(self, records, used, runner, loop):
        @flow(task_runner=runner)
        async def run():
            return [await settled(future.result()) for future in used.map(used.map([1, 2, 3]))]

        assert loop(run) == [3, 4, 5]

    @params_runners
    @params_loops
    def test_awaits_what_prefect_2_awaits(self, records, runner, loop):
        @flow(task_runner=runner)
        async def run():
            future = await async_task.submit(1)
            futures = await async_task.map([1, 2])
            states = await async_task.map([1], return_state=True)
            state = await async_task.submit(1, return_state=True)
            return [await future.result(), [await one.result() for one in futures], states[0].result(), state.result()]

        assert loop(run) == [2, [2, 3], 2, 2]

    @params_loops
    def test_gathers_tasks_and_subflows(self, records, loop):
        @flow
        async def run():
            return await asyncio.gather(async_task(1), async_child(1), *[async_task(n) for n in range(3)])

        assert loop(run) == [2, 4, 1, 2, 3]

    @params_tasks
    @params_runners
    @params_loops
    def test_leaves_what_it_submitted_to_the_end(self, records, used, runner, loop):
        @flow(task_runner=runner)
        async def run():
            used.submit(used.submit(1))

        assert loop(lambda: run(return_state=True)).is_completed()

    @params_children
    @params_loops
    def test_calls_a_subflow(self, records, used, loop):
        @flow
        async def run():
            return await settled(used(1))

        assert loop(run) == 4

    @params_loops
    def test_mixes_colours_in_one_graph(self, records, loop):
        @flow
        async def run():
            first = sync_task.submit(1)
            second = async_task.submit(first)
            third = sync_task.submit(second)
            return await async_task(third)

        assert loop(run) == 5

    @params_tasks
    @params_runners
    @params_loops
    def test_in_a_task_calls_both_colours(self, records, used, runner, loop):
        @task
        def outer():
            return used(1)

        @task
        async def outer_async():
            return await settled(used(1))

        @flow(task_runner=runner)
        async def run():
            return [outer(), await outer_async(), outer.submit().result(), await outer_async.submit().result()]

        assert loop(run) == [2, 2, 2, 2]

    def test_runs_in_a_notebook_by_awaiting_it(self, records):
        async def cell():
            return await async_child(1)

        assert asyncio.run(cell()) == 4


class TestDeepMixing:
    """Sync code on the background loop's own thread still gets its async tasks run."""

    @pytest.mark.parametrize("how", ["call", "submit", "map"])
    def test_a_sync_subflow_of_an_async_subflow_of_a_sync_flow(self, records, how):
        @flow
        def inner():
            if how == "call":
                return async_task(1)
            if how == "submit":
                return async_task.submit(1).result()
            return async_task.map([1]).result()[0]

        @flow
        async def middle():
            return inner()

        @flow
        def run():
            return middle()

        assert run() == 2

    def test_a_sync_subflow_leaves_its_async_tasks_to_the_end(self, records):
        @flow
        def inner():
            async_task.submit(1)

        @flow
        async def middle():
            inner()
            return 1

        @flow
        def run():
            return middle()

        assert run() == 1

    def test_a_sync_task_of_an_async_task_of_a_sync_flow(self, records):
        @task
        def inner():
            return async_task(1)

        @task
        async def middle():
            return inner()

        @flow
        def run():
            return [middle(), middle.submit().result()]

        assert run() == [2, 2]

    def test_an_async_subflow_of_a_sync_task_of_an_async_task(self, records):
        @task
        def inner():
            return async_child(1)

        @task
        async def middle():
            return inner()

        @flow
        def run():
            return middle()

        assert run() == 4


class TestGenerators:
    def test_of_every_colour_become_lists(self, records):
        @task
        def count():
            yield from range(3)

        @task
        async def count_async():
            for number in range(3):
                yield number

        @flow
        def run():
            return [count(), count_async(), count.submit().result(), count_async.submit().result()]

        @flow
        async def run_async():
            return [count(), await count_async()]

        assert run() == [[0, 1, 2]] * 4
        assert asyncio.run(run_async()) == [[0, 1, 2]] * 2

    def test_an_async_generator_can_be_a_flow(self, records):
        @flow
        async def run():
            for number in range(3):
                yield number

        assert asyncio.run(run()) == [0, 1, 2]


def test_an_async_flow_called_outside_is_a_coroutine(records):
    made = async_child(1)
    assert inspect.iscoroutine(made)
    assert asyncio.run(made) == 4


def test_no_loop_is_touched_by_a_sync_flow_with_sync_tasks(records, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("an event loop was made")

    monkeypatch.setattr(asyncio, "new_event_loop", refuse)

    @flow
    def run():
        return [sync_task(1), sync_task.submit(1).result()]

    assert run() == [2, 2]
    assert sys.modules["asyncio"] is asyncio
