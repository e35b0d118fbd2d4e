"""Which process owns what, and whether it is alive.

On one host, life is a lock on a file: the kernel frees it when the process dies, however it dies, and no heartbeat can
be late, even if user code holds the interpreter lock for minutes.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import subprocess
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self
from uuid import UUID

from flowyard.exceptions import BackendUnavailable
from flowyard.schemas.ids import new_id
from flowyard.services.file_locks import create_locked, is_locked
from flowyard.store.leases import HeldLease, Owner

# The start of a process is told relative to the start of the host, which moves when somebody sets the clock.
_CLOCK_STEP = timedelta(minutes=1)
_FILES_WORTH_SWEEPING = 50
_YOUNG_SECONDS = 60.0
_STAT_START_TIME = 22 - 3  # field 22 of /proc/PID/stat, counted from the one after the command's closing bracket


class Presence:
    """The sign of life of this process. Made by `announce`."""

    def __init__(self, owner: Owner, descriptor: int | None) -> None:
        self.owner = owner
        self._descriptor = descriptor
        self._pid = os.getpid()
        self._lock = threading.Lock()

    @classmethod
    def announce(cls, folder: Path | None) -> Self:
        """Make this process known: create and lock its file in `folder`. None: there is nobody to be known to.

        Raises:
            BackendUnavailable: the file cannot be made.
        """
        owner_id = new_id()
        pid = os.getpid()
        path = None if folder is None else folder / f"{owner_id}.lock"
        started = process_start_time(pid) or datetime.now(UTC)
        owner = Owner(owner_id, host_name(), pid, started, None if path is None else str(path))
        if path is None:
            return cls(owner, None)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = create_locked(path, f"{pid}\n{started.isoformat()}\n{owner.host}\n")
        except OSError as error:
            what = (
                "make room on its disk" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "make the folder writable"
            )
            raise BackendUnavailable(str(path), str(error), f"{what}, or set FLOWYARD_HOME to another place") from error
        _ANNOUNCED.add((pid, owner_id))
        return cls(owner, descriptor)

    def withdraw(self) -> None:
        """Delete the file and free the lock, after this process has given up what it owned."""
        with self._lock:
            descriptor, self._descriptor = self._descriptor, None
            # A forked child has the descriptor but neither the lock nor a right to the file.
            if descriptor is None or os.getpid() != self._pid:
                return
            if self.owner.lock_path is not None:
                with contextlib.suppress(OSError):
                    os.unlink(self.owner.lock_path)
            os.close(descriptor)
            _ANNOUNCED.discard((self._pid, self.owner.id))


# The owners that this process is, by its pid, because a forked child is not them. Not a guess from pid and start time:
# those of a dead process can be the same, and one look at our own file would free our lock.
_ANNOUNCED: set[tuple[int, UUID]] = set()


def is_alive(lease: HeldLease, *, now: datetime, is_shared_file: bool) -> bool:
    """Say whether the process that holds a lease lives.

    Args:
        lease: whose owner to look for.
        now: the present time, for leases that expire.
        is_shared_file: the database is a file, so whoever writes to it can also see the lock files beside it, whatever
            name its host has (a container with the folder mounted).
    """
    owner = lease.owner
    is_here = owner.host == host_name()
    if (os.getpid(), owner.id) in _ANNOUNCED:
        return True
    if owner.lock_path is None or not (is_shared_file or is_here):
        return lease.expires is None or lease.expires > now
    held = is_locked(Path(owner.lock_path))
    if held is not None:
        return held
    # No such file: the process withdrew, or its folder was removed under it.
    started = process_start_time(owner.pid) if is_here else None
    return started is not None and abs(started - owner.process_start_time) < _CLOCK_STEP


def remove_stale_file(owner: Owner) -> None:
    """Delete the file of a process that is dead and owns nothing any more."""
    if owner.lock_path is not None:
        with contextlib.suppress(OSError):
            os.unlink(owner.lock_path)


def sweep(folder: Path, *, now: datetime) -> None:
    """Delete the files of processes that were killed while they owned nothing, once there are many.

    Young files are left: their process may be about to lock them.
    """
    files = list(folder.glob("*.lock"))
    if len(files) < _FILES_WORTH_SWEEPING:
        return
    own = {f"{owner_id}.lock" for pid, owner_id in _ANNOUNCED if pid == os.getpid()}
    for path in files:
        with contextlib.suppress(OSError):
            is_old = now.timestamp() - path.stat().st_mtime > _YOUNG_SECONDS
            if path.name not in own and is_old and is_locked(path) is False:
                path.unlink()


def host_name() -> str:
    """Return the name of this host."""
    return socket.gethostname()


def process_start_time(pid: int) -> datetime | None:
    """Return when a process of this host started; None when there is none. Moves when the clock is set."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        seconds = round(int(fields[_STAT_START_TIME]) / os.sysconf("SC_CLK_TCK"), 2)
        return datetime.fromtimestamp(_boot_time() + seconds, UTC)
    except (OSError, ValueError, IndexError):
        return None if Path("/proc/self/stat").exists() else _start_time_by_ps(pid)


def _boot_time() -> int:
    for line in Path("/proc/stat").read_text().splitlines():
        if line.startswith("btime "):
            return int(line.split()[1])
    raise ValueError("no btime in /proc/stat")


def _start_time_by_ps(pid: int) -> datetime | None:
    """Return the start of a process where there is no /proc, to the second."""
    environment = {**os.environ, "LC_ALL": "C", "TZ": "UTC"}
    try:
        found = subprocess.run(
            ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, env=environment, check=True
        )
        return datetime.strptime(found.stdout.strip(), "%a %b %d %H:%M:%S %Y").replace(tzinfo=UTC)
    except (OSError, subprocess.CalledProcessError, ValueError):
        return None
