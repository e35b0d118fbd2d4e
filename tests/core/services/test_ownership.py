from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flowyard.exceptions import BackendUnavailable
from flowyard.schemas.ids import new_id
from flowyard.services.file_locks import is_locked
from flowyard.services.ownership import Presence, host_name, is_alive, process_start_time, sweep
from flowyard.store.leases import HeldLease, Owner

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)

HOLDER = """
import sys
from pathlib import Path
from flowyard.services.ownership import Presence
presence = Presence.announce(Path(sys.argv[1]))
owner = presence.owner
print(owner.id, owner.pid, owner.process_start_time.isoformat(), flush=True)
{then}
"""


@pytest.fixture
def start_holder(tmp_path: Path) -> Iterator[Callable[..., tuple[subprocess.Popen[str], Owner]]]:
    """Start a process that holds its lock until its standard input is closed."""
    started: list[subprocess.Popen[str]] = []

    def start(then: str = "sys.stdin.read()") -> tuple[subprocess.Popen[str], Owner]:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER.format(then=then), str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        name, pid, begun = process.stdout.readline().split()
        owner = Owner(new_id(), host_name(), int(pid), datetime.fromisoformat(begun), f"{tmp_path}/{name}.lock")
        return process, owner

    yield start
    for process in started:
        process.kill()
        process.communicate()


def lease_of(owner: Owner, expires: datetime | None = None) -> HeldLease:
    return HeldLease(new_id(), 1, owner, expires)


def test_a_process_is_alive_until_it_is_killed(
    start_holder: Callable[..., tuple[subprocess.Popen[str], Owner]],
) -> None:
    process, owner = start_holder()
    assert is_alive(lease_of(owner), now=NOW, is_shared_file=True)
    process.kill()
    process.wait()
    assert not is_alive(lease_of(owner), now=NOW, is_shared_file=True)


def test_a_process_that_holds_the_interpreter_lock_is_alive(
    start_holder: Callable[..., tuple[subprocess.Popen[str], Owner]],
) -> None:
    # PyDLL does not give the lock up: no other thread of that process runs.
    _, owner = start_holder("import ctypes; ctypes.PyDLL(None).sleep(60)")
    assert is_alive(lease_of(owner, NOW - timedelta(hours=1)), now=NOW, is_shared_file=True)
    assert is_alive(lease_of(owner, NOW - timedelta(hours=1)), now=NOW, is_shared_file=False)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_does_not_keep_its_dead_parent_alive(
    start_holder: Callable[..., tuple[subprocess.Popen[str], Owner]],
) -> None:
    process, owner = start_holder("import os\nif os.fork() == 0: os.close(1)\nsys.stdin.read()")
    assert is_alive(lease_of(owner), now=NOW, is_shared_file=True)
    process.kill()
    process.wait()
    assert not is_alive(lease_of(owner), now=NOW, is_shared_file=True)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_that_ends_leaves_the_lock_of_its_parent(
    start_holder: Callable[..., tuple[subprocess.Popen[str], Owner]],
) -> None:
    then = """
import os
child = os.fork()
if child == 0:
    presence.withdraw()
    os._exit(0)
os.waitpid(child, 0)
print("ended", flush=True)
sys.stdin.read()
"""
    process, owner = start_holder(then)
    assert process.stdout is not None
    assert process.stdout.readline() == "ended\n"
    assert is_alive(lease_of(owner), now=NOW, is_shared_file=True)


def test_looking_does_not_disturb_another_look(
    start_holder: Callable[..., tuple[subprocess.Popen[str], Owner]],
) -> None:
    process, owner = start_holder()
    process.kill()
    process.wait()
    assert owner.lock_path is not None
    assert [is_locked(Path(owner.lock_path)) for _ in range(3)] == [False] * 3


def test_another_backend_of_this_process_is_alive_and_keeps_its_lock(tmp_path: Path) -> None:
    presence = Presence.announce(tmp_path / "owners")
    assert is_alive(lease_of(presence.owner), now=NOW, is_shared_file=True)
    code = "import sys; from pathlib import Path; from flowyard.services.file_locks import is_locked;"
    code += "print(is_locked(Path(sys.argv[1])))"
    look = [sys.executable, "-c", code, str(presence.owner.lock_path)]
    assert subprocess.run(look, capture_output=True, text=True, check=True).stdout == "True\n"
    presence.withdraw()
    assert list((tmp_path / "owners").iterdir()) == []


def test_a_process_whose_folder_was_removed_is_alive_as_long_as_it_runs(tmp_path: Path) -> None:
    start = process_start_time(os.getppid())
    assert start is not None
    parent = Owner(new_id(), host_name(), os.getppid(), start, str(tmp_path / "gone.lock"))
    assert is_alive(lease_of(parent), now=NOW, is_shared_file=True)
    another = replace(parent, process_start_time=start - timedelta(hours=1))
    assert not is_alive(lease_of(another), now=NOW, is_shared_file=True), "the same number, another process"


@pytest.mark.parametrize(("seconds", "alive"), [(1, True), (-1, False)])
def test_a_process_on_another_host_lives_until_its_lease_expires(tmp_path: Path, seconds: int, alive: bool) -> None:
    far = Owner(new_id(), "another-host", 1, NOW, str(tmp_path / "there.lock"))
    lease = lease_of(far, NOW + timedelta(seconds=seconds))
    assert is_alive(lease, now=NOW, is_shared_file=False) is alive


def test_a_container_that_shares_the_file_is_judged_by_its_lock(
    start_holder: Callable[..., tuple[subprocess.Popen[str], Owner]],
) -> None:
    process, owner = start_holder()
    container = replace(owner, host="another-host")
    assert is_alive(lease_of(container), now=NOW, is_shared_file=True)
    process.kill()
    process.wait()
    assert not is_alive(lease_of(container), now=NOW, is_shared_file=True)


def test_a_clock_that_was_set_does_not_make_this_process_a_stranger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    presence = Presence.announce(tmp_path / "owners")
    monkeypatch.setattr("flowyard.services.ownership._boot_time", lambda: 5)
    assert is_alive(lease_of(presence.owner), now=NOW, is_shared_file=True)
    assert presence.owner.lock_path is not None
    look = "import sys; from pathlib import Path; from flowyard.services.file_locks import is_locked;"
    look += "print(is_locked(Path(sys.argv[1])))"
    command = [sys.executable, "-c", look, presence.owner.lock_path]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "True\n"
    presence.withdraw()


def test_a_dead_process_that_had_the_pid_of_this_one_is_dead(tmp_path: Path) -> None:
    file = tmp_path / "left.lock"
    file.write_text("")
    start = process_start_time(os.getpid())
    assert start is not None
    before = Owner(new_id(), host_name(), os.getpid(), start, str(file))
    assert not is_alive(lease_of(before), now=NOW, is_shared_file=True)


def test_a_process_started_in_the_past() -> None:
    start = process_start_time(os.getpid())
    assert start is not None
    assert start <= datetime.now(UTC)


def test_there_is_no_start_time_of_a_process_that_does_not_exist() -> None:
    assert process_start_time(2**22 + 1) is None


def test_a_folder_that_cannot_be_made_is_refused_with_a_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BackendUnavailable, match="make the folder writable"):
        Presence.announce(tmp_path / "file" / "owners")


def test_many_files_of_dead_processes_are_swept_and_those_of_living_ones_are_not(
    tmp_path: Path, start_holder: Callable[..., tuple[subprocess.Popen[str], Owner]]
) -> None:
    _, owner = start_holder()
    presence = Presence.announce(tmp_path)
    for number in range(60):
        (tmp_path / f"{number}.lock").write_text("")
    later = datetime.now(UTC) + timedelta(minutes=2)
    sweep(tmp_path, now=datetime.now(UTC))
    assert len(list(tmp_path.iterdir())) == 62, "they may be about to lock their files"
    sweep(tmp_path, now=later)
    assert {str(path) for path in tmp_path.iterdir()} == {owner.lock_path, presence.owner.lock_path}
    assert is_alive(lease_of(owner), now=NOW, is_shared_file=True)
    presence.withdraw()


def test_few_files_are_left_where_they_are(tmp_path: Path) -> None:
    (tmp_path / "1.lock").write_text("")
    sweep(tmp_path, now=datetime.now(UTC) + timedelta(hours=1))
    assert (tmp_path / "1.lock").exists()
