"""Sync waits in async code that can never end are errors, of every colour."""

# Wrong options are given on purpose, contexts are known by the test.
# pyright: reportArgumentType=false, reportGeneralTypeIssues=false
from __future__ import annotations

import asyncio

import pytest

from flowyard import flow, task
from flowyard.exceptions import WouldDeadlock
from flowyard.futures import as_completed
from flowyard.task_runners import ConcurrentTaskRunner


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


class TestWouldDeadlock:
    """A wait that can never end is an error that says what to write instead."""

    def test_a_sync_task_called_with_a_future_of_the_blocked_loop(self, records):
        @flow
        async def run():
            sync_task(async_task.submit(1))

        with pytest.raises(WouldDeadlock, match=r"await future\.result\(\)"):
            asyncio.run(run())

    def test_waiting_for_a_sync_task_whose_input_needs_the_blocked_loop(self, records):
        @flow
        async def run():
            sync_task.submit(async_task.submit(1)).result()

        with pytest.raises(WouldDeadlock):
            asyncio.run(run())

    def test_a_sync_subflow_called_with_a_future_of_the_blocked_loop(self, records):
        @flow
        async def run():
            sync_child(async_task.submit(1))

        with pytest.raises(WouldDeadlock):
            asyncio.run(run())

    def test_waiting_for_any_of_several_that_need_the_blocked_loop(self, records):
        @flow
        async def run():
            next(as_completed([sync_task.submit(1), await async_task.submit(1)]))

        with pytest.raises(WouldDeadlock, match="async_task"):
            asyncio.run(run())

    def test_mapping_over_a_future_of_the_blocked_loop(self, records):
        @task
        async def some():
            return [1]

        @flow
        async def run():
            sync_task.map(some.submit())

        with pytest.raises(WouldDeadlock):
            asyncio.run(run())

    def test_the_task_run_that_could_not_start_is_recorded(self, records):
        @flow(name="deadlock")
        async def run():
            with pytest.raises(WouldDeadlock):
                sync_task(async_task.submit(1))

        asyncio.run(run(return_state=True))
        run_id = records.newest_flow_run("deadlock")
        assert records.task_states(run_id, "sync_task-0") == ["Pending", "Crashed"]


class TestPlacesHeldByABlockedLoop:
    """Async tasks on a loop can hold every place of a runner: a sync wait on that loop must not last for ever."""

    @pytest.mark.parametrize("before", [1, 2], ids=["one that runs", "one that runs and one in line"])
    def test_waiting_for_a_sync_task_that_gets_no_place_is_refused(self, records, before):
        @flow(task_runner=ConcurrentTaskRunner(max_workers=1))
        async def run():
            for number in range(before):
                await async_task.submit(number)
            with pytest.raises(WouldDeadlock, match=r"hold every place.*to_thread\(future\.result\)"):
                sync_task.submit(1).result()
            return await asyncio.to_thread(sync_task.submit(2).result)

        assert asyncio.run(run()) == 3

    def test_calling_a_sync_task_with_the_future_of_one_that_gets_no_place_is_refused(self, records):
        @flow(task_runner=ConcurrentTaskRunner(max_workers=1))
        async def run():
            await async_task.submit(0)
            with pytest.raises(WouldDeadlock):
                sync_task(sync_task.submit(1))

        asyncio.run(run(return_state=True))

    def test_waiting_for_a_sync_task_that_waits_for_another_is_refused(self, records):
        @flow(task_runner=ConcurrentTaskRunner(max_workers=1))
        async def run():
            first = sync_task.submit(1)
            await async_task.submit(0)
            with pytest.raises(WouldDeadlock):
                sync_task.submit(sync_task.submit(first)).result()
            return "went on"

        assert asyncio.run(run()) == "went on"

    def test_a_free_place_is_waited_for(self, records):
        @flow(task_runner=ConcurrentTaskRunner(max_workers=2))
        async def run():
            await async_task.submit(0)
            return [sync_task.submit(1).result(), *(future.result() for future in sync_task.map([2, 3]))]

        assert asyncio.run(run()) == [2, 3, 4]

    def test_an_async_task_gives_its_own_place_to_the_one_it_blocks_for(self, records):
        @task
        async def outer(x):
            await asyncio.sleep(0)
            blocked_for = sync_task.submit(x)
            # It takes the place as soon as it is free, and keeps it until the loop turns.
            in_line = await async_task.submit(x)
            return blocked_for.result(), await in_line.result()

        @flow(task_runner=ConcurrentTaskRunner(max_workers=1))
        async def run():
            return await (await outer.submit(1)).result()

        assert asyncio.run(run()) == (2, 2)

    def test_an_async_task_does_not_block_for_one_behind_others_of_its_loop(self, records):
        @task
        async def outer():
            await asyncio.sleep(0)
            try:
                return sync_task.submit(1).result()
            except WouldDeadlock:
                return "refused"

        @flow(task_runner=ConcurrentTaskRunner(max_workers=1))
        async def run():
            return [await future.result() for future in [await outer.submit() for _ in range(2)]]

        assert asyncio.run(run()) == ["refused", 2]
