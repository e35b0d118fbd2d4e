"""`concurrency`, `rate_limit` and the limits of tags, through the names that users import."""

# What a test's flow returns is known by the test.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from flowyard import flow, task
from flowyard.concurrency import asyncio as in_async
from flowyard.concurrency.sync import concurrency, rate_limit
from flowyard.exceptions import AcquireConcurrencySlotTimeoutError, SlotsOverLimit
from flowyard.ports.limits import LimitStore
from flowyard.process.control import control_plane
from flowyard.schemas.ids import new_id
from flowyard.schemas.limits import ConcurrencyLimit, SlotRequest
from flowyard.settings import get_current_settings
from flowyard.task_runners import ConcurrentTaskRunner, SequentialTaskRunner


@pytest.fixture
def limits(records: Any) -> LimitStore:
    del records
    return control_plane().limits


@pytest.fixture
def name(limits: LimitStore) -> str:
    """A limit with one slot."""
    return limits.create(ConcurrencyLimit(name=f"limit-{new_id()}", limit=1)).name


@pytest.fixture
def tag(limits: LimitStore) -> str:
    """A tag of which one task runs at a time."""
    made = f"tag-{new_id()}"
    limits.create(ConcurrencyLimit(name=f"tag:{made}", limit=1))
    return made


class TestConcurrency:
    def test_slots_are_held_in_the_block_and_given_back_after_it(self, limits: LimitStore, name: str) -> None:
        with concurrency(name):
            assert limits.read(name).active_slots == 1
        assert limits.read(name).active_slots == 0

    def test_an_error_in_the_block_gives_the_slots_back(self, limits: LimitStore, name: str) -> None:
        with pytest.raises(RuntimeError, match="boom"), concurrency(name):
            raise RuntimeError("boom")
        assert limits.read(name).active_slots == 0

    def test_who_waits_goes_on_when_the_slot_is_free(self, name: str) -> None:
        order: list[str] = []
        waiting = threading.Event()

        def second() -> None:
            waiting.set()
            with concurrency(name):
                order.append("second")

        thread = threading.Thread(target=second)
        with concurrency(name):
            thread.start()
            assert waiting.wait(90)
            order.append("first")
        thread.join(90)
        assert order == ["first", "second"]

    def test_a_timeout_names_the_limit_and_leaves_the_queue(self, limits: LimitStore, name: str) -> None:
        with (
            concurrency(name),
            pytest.raises(AcquireConcurrencySlotTimeoutError, match=f"within 0.05 s: '{name}' is full"),
            concurrency(name, timeout_seconds=0.05),
        ):
            pytest.fail("the slot is held")
        assert limits.read(name).denied_slots == 0

    def test_asking_for_more_than_there_is_says_how_to_raise_the_limit(self, name: str) -> None:
        with pytest.raises(SlotsOverLimit, match=f"gcl update {name} --limit 2"), concurrency(name, occupy=2):
            pytest.fail("there is one slot")

    @pytest.mark.parametrize(("names", "occupy"), [("", 1), ([], 1), (["a", ""], 1), ("a", 0)])
    def test_a_request_that_means_nothing_is_refused(self, names: Any, occupy: int) -> None:
        with pytest.raises(ValueError, match="must be"), concurrency(names, occupy=occupy):
            pytest.fail("it was refused")

    def test_names_without_a_limit_let_everybody_pass(self) -> None:
        with concurrency(["nobody-knows-this", "nor-this"]), concurrency("nobody-knows-this"):
            pass
        assert not control_plane().limits.read("nor-this").active

    def test_async_functions_wait_without_blocking_their_loop(self, limits: LimitStore, name: str) -> None:
        now, most = 0, 0

        async def hold() -> None:
            nonlocal now, most
            async with in_async.concurrency(name):
                now += 1
                most = max(most, now)
                await asyncio.sleep(0)
                now -= 1

        async def several() -> None:
            await asyncio.gather(*(hold() for _ in range(5)))

        asyncio.run(several())
        assert most == 1
        assert limits.read(name).active_slots == 0

    def test_a_cancelled_wait_leaves_the_queue(self, limits: LimitStore, name: str) -> None:
        async def give_up() -> None:
            async with in_async.concurrency(name):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.05), in_async.concurrency(name):
                        pytest.fail("the slot is held")

        asyncio.run(give_up())
        found = limits.read(name)
        assert (found.active_slots, found.denied_slots) == (0, 0)

    def test_a_rate_is_kept(self, limits: LimitStore) -> None:
        limits.create(ConcurrencyLimit(name="twice", limit=1, slot_decay_per_second=0.5))
        rate_limit("twice")
        with pytest.raises(AcquireConcurrencySlotTimeoutError):
            rate_limit("twice", timeout_seconds=0.0)
        rate_limit("twice", timeout_seconds=30)
        assert limits.read("twice").active_slots <= 1

    def test_a_task_that_waits_lets_another_run_in_its_place(self, name: str) -> None:
        @task
        def holder() -> str:
            with concurrency(name):
                # Needs a place in the runner, and the others wait in theirs.
                return helper.submit().result()

        @task
        def helper() -> str:
            return "helped"

        @task
        def waiter() -> str:
            with concurrency(name):
                return "waited"

        @flow(task_runner=ConcurrentTaskRunner(max_workers=2))
        def crowd() -> list[str]:
            return [future.result() for future in [holder.submit(), *(waiter.submit() for _ in range(3))]]

        assert crowd() == ["helped", "waited", "waited", "waited"]

    def test_the_slots_of_a_killed_process_come_back(self, limits: LimitStore, name: str) -> None:
        script = (
            "import os, signal\n"
            "from flowyard.concurrency.sync import concurrency\n"
            f"with concurrency({name!r}):\n"
            "    os.kill(os.getpid(), signal.SIGKILL)\n"
        )
        environment = {**os.environ, "FLOWYARD_HOME": str(get_current_settings().FLOWYARD_HOME)}
        killed = subprocess.run([sys.executable, "-c", script], env=environment, check=False, timeout=90)
        assert killed.returncode == -signal.SIGKILL
        with concurrency(name, timeout_seconds=30):
            assert limits.read(name).active_slots == 1


def wait_until_shown(futures: Sequence[Any]) -> None:
    """Wait until each of some task runs says that it waits for a slot."""
    for future in futures:
        while (state := future.get_state()) is None or state.name != "AwaitingSlot":
            threading.Event().wait(0.005)


class TestTags:
    def test_a_task_run_that_waits_says_what_for(self, records: Any, limits: LimitStore, tag: str) -> None:
        @task(tags=[tag])
        def one() -> int:
            return 1

        holder = SlotRequest(names=(f"tag:{tag}",), slots=1)
        assert limits.acquire(holder).is_granted

        @flow
        def waits() -> int:
            future = one.submit()
            wait_until_shown([future])
            limits.release([holder.lease_id])
            return future.result()

        state = waits(return_state=True)
        assert state.result() == 1
        assert records.task_states(state, "one-0") == ["Pending", "AwaitingSlot", "Running", "Completed"]

    def test_each_task_run_that_waits_says_once_how_many_are_before_it(
        self, records: Any, limits: LimitStore, tag: str
    ) -> None:
        @task(tags=[tag])
        def one(number: int) -> int:
            return number

        elsewhere = SlotRequest(names=(f"tag:{tag}",), slots=1), SlotRequest(names=(f"tag:{tag}",), slots=1)
        assert [limits.acquire(request).is_granted for request in elsewhere] == [True, False]

        @flow
        def waits() -> list[int]:
            futures = [one.submit(number) for number in range(20)]
            wait_until_shown(futures)
            futures.append(one.submit(20))  # behind those that wait already
            wait_until_shown(futures[20:])
            limits.release([request.lease_id for request in elsewhere])
            return [future.result() for future in futures]

        state = waits(return_state=True)
        assert state.result() == list(range(21))
        for name, run in records.task_runs(state).items():
            states = records.states_of(run)
            assert [each.name for each in states] == ["Pending", "AwaitingSlot", "Running", "Completed"], name
            before = int(name.removeprefix("one-")) + 1
            assert states[1].message == f"Waiting for a slot of the limit of tag '{tag}'; {before} before this one."

    def test_task_runs_that_find_room_do_not_wait(self, records: Any, limits: LimitStore, tag: str) -> None:
        limits.update(f"tag:{tag}", limit=50)

        @task(tags=[tag])
        def one(number: int) -> None: ...

        @flow
        def passes() -> None:
            one.map(range(20))

        found = records.all_task_runs(passes(return_state=True))
        assert {tuple(each.name for each in records.states_of(run)) for run in found} == {
            ("Pending", "Running", "Completed")
        }

    def test_task_runs_that_wait_when_their_flow_is_cut_short_are_never_executed(
        self, records: Any, limits: LimitStore, tag: str
    ) -> None:
        executed: list[int] = []

        @task(tags=[tag])
        def one(number: int) -> None:
            executed.append(number)

        holder = SlotRequest(names=(f"tag:{tag}",), slots=1)
        assert limits.acquire(holder).is_granted

        @flow(name="cut-short")
        def stopped() -> None:
            wait_until_shown([one.submit(number) for number in range(3)])
            raise SystemExit(3)

        with pytest.raises(SystemExit):
            stopped()
        limits.release([holder.lease_id])
        found = records.all_task_runs(records.newest_flow_run("cut-short"))
        assert [(run.state.name, records.states_of(run)[-1].name) for run in found] == [("Crashed", "Crashed")] * 3
        assert executed == []
        assert limits.read(f"tag:{tag}").denied_slots == limits.read(f"tag:{tag}").active_slots == 0

    @pytest.mark.parametrize("runner", [SequentialTaskRunner(), ConcurrentTaskRunner(max_workers=4)], ids=str)
    def test_direct_calls_and_submitted_ones_share_the_limit(self, runner: Any, limits: LimitStore, tag: str) -> None:
        lock = threading.Lock()
        now, most = 0, 0

        @task(tags=[tag])
        def one(number: int) -> int:
            nonlocal now, most
            with lock:
                now += 1
                most = max(most, now)
            with lock:
                now -= 1
            return number

        @flow(task_runner=runner)
        def both() -> list[int]:
            futures = [one.submit(number) for number in range(5)]
            called = [one(10), one(11)]
            return [*(future.result() for future in futures), *called]

        assert both() == [0, 1, 2, 3, 4, 10, 11]
        assert most == 1
        assert limits.read(f"tag:{tag}").active_slots == 0

    def test_a_task_called_by_one_with_the_same_tag_runs_in_its_slot(self, tag: str) -> None:
        @task(tags=[tag])
        def inner() -> str:
            return "in"

        @task(tags=[tag])
        def outer() -> list[str]:
            return [inner(), inner.submit().result()]

        @flow
        def nests() -> list[str]:
            return outer.submit().result()

        assert nests() == ["in", "in"]

    def test_a_limit_of_zero_stops_the_task_and_says_why(self, records: Any, limits: LimitStore, tag: str) -> None:
        limits.update(f"tag:{tag}", limit=0)

        @task(tags=[tag])
        def never() -> None: ...

        @flow
        def stopped() -> None:
            never.submit()

        state = stopped(return_state=True)
        run = records.task_runs(state)["never-0"]
        assert run.state.is_crashed()
        assert f"1 slots of concurrency limit 'tag:{tag}' were asked for, and it has 0" in run.state.message
        assert limits.read(f"tag:{tag}").denied_slots == 0

    def test_a_retry_with_a_long_delay_lets_others_have_the_slot(self, records: Any, tag: str) -> None:
        order: list[str] = []

        @task(tags=[tag], retries=1, retry_delay_seconds=1.2)
        def flaky() -> None:
            order.append("flaky")
            if len(order) == 1:
                raise RuntimeError("once")

        @task(tags=[tag])
        def other() -> None:
            order.append("other")

        @flow
        def shares() -> int:
            first = flaky.submit()
            while not order:
                threading.Event().wait(0.005)
            other.submit().result()
            first.result()
            return len(order)

        state = shares(return_state=True)
        assert state.result() == 3
        assert order == ["flaky", "other", "flaky"]
        assert records.task_states(state, "flaky-0")[-1] == "Completed"
