"""The contract of the ledger of concurrency slots; every backend passes it."""

# ruff: noqa: D102  the name of a test says what it checks

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator

import pytest

from flowyard.exceptions import ObjectAlreadyExists, ObjectNotFound, RateLimitWithoutDecay, SlotsOverLimit
from flowyard.ports import Backend
from flowyard.ports.limits import LimitStore
from flowyard.schemas.ids import new_id
from flowyard.schemas.limits import ConcurrencyLimit, SlotMode, SlotRequest


class LimitContract(ABC):
    """What every `LimitStore` must do; override the `backend` fixture."""

    @pytest.fixture
    @abstractmethod
    def backend(self) -> Iterator[Backend]:
        """Yield an open backend that nobody has used before."""

    @pytest.fixture
    def limits(self, backend: Backend) -> LimitStore:
        """Return the ledger of the backend."""
        return backend.control.limits

    def test_a_limit_is_found_by_name_and_by_id(self, limits: LimitStore) -> None:
        made = limits.create(ConcurrencyLimit(name="db", limit=3))
        assert limits.read("db").id == limits.read(str(made.id)).id == made.id
        assert [limit.name for limit in limits.read_many()] == ["db"]
        assert limits.names("d") == ["db"]
        assert limits.names("tag:") == []

    def test_a_second_limit_of_a_name_is_refused(self, limits: LimitStore) -> None:
        limits.create(ConcurrencyLimit(name="db", limit=3))
        with pytest.raises(ObjectAlreadyExists):
            limits.create(ConcurrencyLimit(name="db", limit=1))
        assert limits.read("db").limit == 3

    @pytest.mark.parametrize("name", ["", "a/b", "a%", "<", "a&b"])
    def test_a_name_that_cannot_stand_in_an_address_is_refused(self, limits: LimitStore, name: str) -> None:
        with pytest.raises(ValueError, match="cannot be the name of a concurrency limit"):
            limits.create(ConcurrencyLimit(name=name, limit=1))

    def test_what_is_not_there_cannot_be_read_changed_or_deleted(self, limits: LimitStore) -> None:
        for attempt in (limits.read, limits.delete, limits.holders):
            with pytest.raises(ObjectNotFound):
                attempt("nothing")
        with pytest.raises(ObjectNotFound):
            limits.update("nothing", limit=2)

    def test_slots_are_held_until_they_are_given_back(self, limits: LimitStore) -> None:
        limits.create(ConcurrencyLimit(name="db", limit=2))
        first, second, third = (SlotRequest(names=("db",), slots=1, task_run_id=new_id()) for _ in range(3))
        assert limits.acquire(first).is_granted
        assert limits.acquire(second).is_granted
        denied = limits.acquire(third)
        assert not denied.is_granted
        assert denied.blocked_by == "db"
        found = limits.read("db")
        assert (found.active_slots, found.denied_slots) == (2, 1)
        assert [holder.task_run_id for holder in limits.holders("db")] == [first.task_run_id, second.task_run_id]
        limits.release([first.lease_id], 1.0)
        assert limits.acquire(third).is_granted
        assert limits.read("db").denied_slots == 0

    def test_a_granted_request_that_is_repeated_takes_nothing_more(self, limits: LimitStore) -> None:
        limits.create(ConcurrencyLimit(name="db", limit=2))
        request = SlotRequest(names=("db",), slots=1)
        assert limits.acquire(request).is_granted
        assert limits.acquire(request).is_granted
        assert limits.read("db").active_slots == 1

    def test_slots_of_several_limits_are_granted_all_or_none(self, limits: LimitStore) -> None:
        limits.create(ConcurrencyLimit(name="a", limit=1))
        limits.create(ConcurrencyLimit(name="b", limit=1))
        assert limits.acquire(SlotRequest(names=("b",), slots=1)).is_granted
        both = SlotRequest(names=("a", "b"), slots=1)
        assert limits.acquire(both).blocked_by == "b"
        assert limits.read("a").active_slots == 0

    def test_slots_are_given_out_in_the_order_they_were_asked_for(self, limits: LimitStore) -> None:
        limits.create(ConcurrencyLimit(name="db", limit=3))
        holder = SlotRequest(names=("db",), slots=2)
        large, small = SlotRequest(names=("db",), slots=3), SlotRequest(names=("db",), slots=1)
        assert limits.acquire(holder).is_granted
        assert not limits.acquire(large).is_granted
        waiting = limits.acquire(small)
        assert not waiting.is_granted
        assert waiting.position == 1
        limits.release([large.lease_id])
        assert limits.acquire(small).is_granted

    def test_an_unknown_name_becomes_an_inactive_limit_that_lets_everybody_pass(self, limits: LimitStore) -> None:
        for _ in range(3):
            assert limits.acquire(SlotRequest(names=("new",), slots=5)).is_granted
        assert not limits.read("new").active
        assert limits.names() == []

    def test_what_can_never_be_granted_is_an_error(self, limits: LimitStore) -> None:
        limits.create(ConcurrencyLimit(name="db", limit=1))
        with pytest.raises(SlotsOverLimit):
            limits.acquire(SlotRequest(names=("db",), slots=2))
        with pytest.raises(RateLimitWithoutDecay):
            limits.acquire(SlotRequest(names=("db",), slots=1, mode=SlotMode.RATE_LIMIT))
        assert limits.read("db").active_slots == 0

    def test_slots_with_decay_come_back_by_themselves(self, limits: LimitStore) -> None:
        limits.create(ConcurrencyLimit(name="api", limit=2, slot_decay_per_second=20.0))
        for _ in range(2):
            assert limits.acquire(SlotRequest(names=("api",), slots=1, mode=SlotMode.RATE_LIMIT)).is_granted
        late = SlotRequest(names=("api",), slots=1, mode=SlotMode.RATE_LIMIT)
        answer = limits.acquire(late)
        while not answer.is_granted:
            assert answer.retry_after_seconds < 1.0
            threading.Event().wait(answer.retry_after_seconds)
            answer = limits.acquire(late)
        assert limits.read("api").active_slots <= 2

    def test_who_waits_is_told_when_slots_come_back(self, limits: LimitStore) -> None:
        limits.create(ConcurrencyLimit(name="db", limit=1))
        holder, waiter = SlotRequest(names=("db",), slots=1), SlotRequest(names=("db",), slots=1)
        limits.acquire(holder)
        freed = threading.Event()
        assert not limits.acquire(waiter, when_freed=freed.set).is_granted
        limits.release([holder.lease_id])
        assert freed.wait(90)
        assert limits.acquire(waiter).is_granted

    def test_what_an_ended_run_held_comes_back(self, limits: LimitStore) -> None:
        limits.create(ConcurrencyLimit(name="db", limit=2))
        run_id = new_id()
        limits.acquire(SlotRequest(names=("db",), slots=1, task_run_id=run_id))
        limits.acquire(SlotRequest(names=("db",), slots=1, flow_run_id=run_id))
        limits.release_of_runs([run_id])
        assert limits.read("db").active_slots == 0

    def test_an_ended_run_leaves_the_queue(self, limits: LimitStore) -> None:
        limits.create(ConcurrencyLimit(name="db", limit=1))
        lost = new_id()
        holder, first, second, third = (
            SlotRequest(names=("db",), slots=1, task_run_id=run_id) for run_id in (None, lost, None, None)
        )
        assert limits.acquire(holder).is_granted
        assert [limits.acquire(request).position for request in (first, second)] == [0, 1]
        limits.release_of_runs([lost])
        assert limits.acquire(third).position == 1

    def test_a_limit_can_be_changed_while_its_slots_are_held(self, limits: LimitStore) -> None:
        limits.create(ConcurrencyLimit(name="db", limit=1))
        limits.acquire(SlotRequest(names=("db",), slots=1))
        assert limits.update("db", limit=2).active_slots == 1
        assert limits.acquire(SlotRequest(names=("db",), slots=1)).is_granted
        assert limits.update("db", active_slots=0).active_slots == 0
        assert limits.holders("db") == []

    def test_a_change_that_means_nothing_is_refused(self, limits: LimitStore) -> None:
        limits.create(ConcurrencyLimit(name="db", limit=1))
        with pytest.raises(ValueError, match="colour"):
            limits.update("db", colour="red")
        with pytest.raises(ValueError, match="limit=-1"):
            limits.update("db", limit=-1)
        assert limits.read("db").limit == 1

    def test_threads_that_compete_never_hold_more_than_there_is(self, limits: LimitStore) -> None:
        limits.create(ConcurrencyLimit(name="db", limit=2))
        lock, held, most = threading.Lock(), 0, 0
        errors: list[BaseException] = []

        def compete() -> None:
            nonlocal held, most
            try:
                for _ in range(5):
                    request, freed = SlotRequest(names=("db",), slots=1), threading.Event()
                    while not limits.acquire(request, when_freed=freed.set).is_granted:
                        freed.wait(0.05)
                        freed.clear()
                    with lock:
                        held += 1
                        most = max(most, held)
                    with lock:
                        held -= 1
                    limits.release([request.lease_id], 0.0)
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=compete) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(90)
        assert not errors
        assert 1 <= most <= 2
        assert limits.read("db").active_slots == 0
