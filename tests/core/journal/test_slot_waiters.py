"""Who waits for a slot is woken by whoever gives one back, in whatever process that is."""

from __future__ import annotations

import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flowyard.journal import slot_waiters
from flowyard.local.backend import LocalBackend
from flowyard.local.guests import GuestControlPlane
from flowyard.schemas.ids import new_id
from flowyard.schemas.limits import ConcurrencyLimit, SlotRequest
from flowyard.schemas.runs import utcnow
from flowyard.store import slots
from flowyard.store.bells import SocketBell
from flowyard.store.dialects import SQLite
from flowyard.store.leases import Owner
from flowyard.store.plain import PlainConnection
from flowyard.store.postgresql import PostgreSQL

DEADLINE = 90.0
Opener = Callable[[], LocalBackend]


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgresql":
        return request.getfixturevalue("postgres_url")
    return f"sqlite:///{tmp_path}/flowyard.db"


@pytest.fixture
def opener(url: str, tmp_path: Path) -> Iterator[Opener]:
    """Open backends as processes do: each has its own journal, connections and bell."""
    opened: list[LocalBackend] = []
    before = set(threading.enumerate())

    def open_one() -> LocalBackend:
        opened.append(LocalBackend.open(url, tmp_path))
        return opened[-1]

    yield open_one
    for backend in opened:
        backend.close()
    assert set(threading.enumerate()) == before, "a thread is left"
    assert list(tmp_path.glob("*-bells/*")) == [], "a socket is left"


@pytest.fixture
def looks_never(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the bell alone: nobody looks at the ledger by itself."""
    monkeypatch.setattr(slot_waiters, "_LOOK_SECONDS", 3600.0)
    monkeypatch.setattr(slot_waiters, "_LOOK_SECONDS_WHEN_DEAF", 3600.0)


def _request(name: str = "db") -> SlotRequest:
    return SlotRequest(names=(name,), slots=1)


def _hand_over(opener: Opener) -> None:
    first, second = opener(), opener()
    first.control.limits.create(ConcurrencyLimit(name="db", limit=1))
    holder, waiter, freed = _request(), _request(), threading.Event()
    assert first.control.limits.acquire(holder).is_granted
    denied = second.control.limits.acquire(waiter, when_freed=freed.set)
    assert (denied.is_granted, denied.is_called) == (False, True)
    first.control.limits.release([holder.lease_id])
    assert freed.wait(DEADLINE)
    assert second.control.limits.acquire(waiter).is_granted


@pytest.mark.usefixtures("looks_never")
def test_another_process_is_woken_without_looking(opener: Opener) -> None:
    _hand_over(opener)


def test_a_wake_that_is_lost_is_made_up_for(opener: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SocketBell, "tell_others", lambda *_: None)
    monkeypatch.setattr(PostgreSQL, "announce", lambda *_: None)
    _hand_over(opener)


@pytest.fixture
def temporary_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for temporary files whose path is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="fy") as folder:
        monkeypatch.setattr("tempfile.tempdir", folder)
        yield Path(folder)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
@pytest.mark.usefixtures("looks_never")
def test_sockets_lie_in_the_temporary_folder_where_the_database_folder_takes_none(
    temporary_folder: Path, opener: Opener, tmp_path: Path
) -> None:
    (tmp_path / "flowyard.db-bells").write_text("not a folder")
    _hand_over(opener)
    assert list(temporary_folder.glob("flowyard-*/*"))


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_where_no_socket_can_be_who_waits_looks(opener: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SocketBell, "open", lambda *_: False)
    monkeypatch.setattr(slot_waiters, "_LOOK_SECONDS", 3600.0)
    _hand_over(opener)


@pytest.mark.usefixtures("looks_never")
def test_one_slot_wakes_one_request_however_many_wait(opener: Opener) -> None:
    here, there = opener(), opener()
    here.control.limits.create(ConcurrencyLimit(name="db", limit=1))
    holder = _request()
    assert here.control.limits.acquire(holder).is_granted
    woken: Counter[int] = Counter()
    turns = [threading.Event() for _ in range(40)]

    def wake(number: int) -> None:
        woken[number] += 1
        turns[number].set()

    waiting = [_request() for _ in turns]
    for number, request in enumerate(waiting):
        limits = (here, there)[number % 2].control.limits
        assert not limits.acquire(request, when_freed=lambda number=number: wake(number)).is_granted
    here.control.limits.release([holder.lease_id])
    assert turns[0].wait(DEADLINE)
    assert here.control.limits.acquire(waiting[0]).is_granted
    # In the order of asking, from process to process.
    here.control.limits.release([waiting[0].lease_id])
    assert turns[1].wait(DEADLINE)
    assert there.control.limits.acquire(waiting[1]).is_granted
    assert set(woken) == {0, 1}
    # And who leaves the queue gives its turn to the next one, when there is room.
    here.control.limits.update("db", limit=2)
    assert turns[2].wait(DEADLINE)
    here.control.limits.release([waiting[2].lease_id])
    assert turns[3].wait(DEADLINE)
    assert set(woken) == {0, 1, 2, 3}


@pytest.mark.usefixtures("looks_never")
def test_all_who_find_room_are_woken_one_after_another(opener: Opener) -> None:
    here, there = opener(), opener()
    here.control.limits.create(ConcurrencyLimit(name="db", limit=0))
    here.control.limits.update("db", limit=1)
    assert here.control.limits.acquire(_request()).is_granted
    waiting = [_request() for _ in range(5)]
    granted = [threading.Event() for _ in waiting]

    def wait(request: SlotRequest, is_granted: threading.Event, asked: threading.Event) -> None:
        freed = threading.Event()
        while not there.control.limits.acquire(request, when_freed=freed.set).is_granted:
            asked.set()
            assert freed.wait(DEADLINE)
            freed.clear()
        is_granted.set()

    threads: list[threading.Thread] = []
    for request, is_granted in zip(waiting, granted, strict=True):
        asked = threading.Event()
        threads.append(threading.Thread(target=wait, args=(request, is_granted, asked)))
        threads[-1].start()
        assert asked.wait(DEADLINE)
    here.control.limits.update("db", limit=4)
    for is_granted in granted[:3]:
        assert is_granted.wait(DEADLINE)
    assert [each.is_set() for each in granted] == [True, True, True, False, False]
    # Who waits for a limit that is switched off, or gone, waits for nothing.
    here.control.limits.update("db", active=False)
    for thread in threads:
        thread.join(DEADLINE)
    assert all(each.is_set() for each in granted)


@pytest.mark.usefixtures("looks_never")
def test_slots_of_several_limits_wake_when_the_last_of_them_is_free(opener: Opener) -> None:
    here, there = opener(), opener()
    for name in ("a", "b"):
        here.control.limits.create(ConcurrencyLimit(name=name, limit=1))
    of_a, of_b = _request("a"), _request("b")
    both, woken = SlotRequest(names=("a", "b"), slots=1), threading.Event()
    for request in (of_a, of_b):
        assert here.control.limits.acquire(request).is_granted
    assert not there.control.limits.acquire(both, when_freed=woken.set).is_granted
    here.control.limits.release([of_a.lease_id])
    assert not there.control.limits.acquire(both, when_freed=woken.set).is_granted
    assert not woken.is_set(), "it was woken for half of what it needs"
    here.control.limits.release([of_b.lease_id])
    assert woken.wait(DEADLINE)
    assert there.control.limits.acquire(both).is_granted


def test_the_place_of_who_waits_is_kept(opener: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slot_waiters, "_KEEP_SECONDS", 0.0)
    backend = opener()
    backend.control.limits.create(ConcurrencyLimit(name="db", limit=1))
    holder, waiter = _request(), _request()
    assert backend.control.limits.acquire(holder).is_granted
    asked_again = threading.Event()
    assert not backend.control.limits.acquire(waiter, when_freed=asked_again.set).is_granted
    # Its place is lost, as after a day asleep: it hears of it and asks anew.
    backend.journal.perform(lambda connection: connection.execute("DELETE FROM concurrency_waiter"))
    assert asked_again.wait(DEADLINE)
    assert not backend.control.limits.acquire(waiter, when_freed=asked_again.set).is_granted
    assert backend.control.limits.read("db").denied_slots == 1


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_slots_wait_for_the_disk_only_where_their_holders_outlive_a_loss_of_power(
    opener: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend, asked = opener(), list[bool]()
    backend.control.limits.create(ConcurrencyLimit(name="db", limit=1))
    begin = SQLite.begin_write

    def begin_write(dialect: SQLite, connection: PlainConnection, *, is_durable: bool) -> None:
        asked.append(is_durable)
        begin(dialect, connection, is_durable=is_durable)

    monkeypatch.setattr(SQLite, "begin_write", begin_write)
    there = Owner(new_id(), "elsewhere", 1, utcnow(), None)
    guests = GuestControlPlane(backend.database, backend.journal, there).limits
    for ledger, is_durable in ((backend.control.limits, False), (guests, True)):
        request = _request()
        assert ledger.acquire(request).is_granted
        ledger.release([request.lease_id])
        assert asked == [is_durable, is_durable]
        asked.clear()
        backend.journal.flush()
        # What comes after it is still a barrier.
        assert asked == ([] if is_durable else [True])
        asked.clear()


@pytest.mark.usefixtures("looks_never")
def test_who_is_woken_takes_its_slot_without_another_look(opener: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    backend, freed = opener(), threading.Event()
    ledger = backend.control.limits
    ledger.create(ConcurrencyLimit(name="db", limit=1))
    holder, waiter = _request(), _request()
    assert ledger.acquire(holder).is_granted
    assert not ledger.acquire(waiter, when_freed=freed.set).is_granted
    ledger.release([holder.lease_id])
    assert freed.wait(DEADLINE)
    looks: list[SlotRequest] = []
    peek = slots.peek
    monkeypatch.setattr(slots, "peek", lambda *given: looks.append(given[1]) or peek(*given))
    assert ledger.acquire(waiter, when_freed=freed.set).is_granted
    assert looks == []
    # Others look first: to be refused costs no write.
    assert not ledger.acquire(_request(), when_freed=freed.set).is_granted
    assert len(looks) == 1
