"""How processes that share a database hear that a request for slots may be granted now. Loaded by name.

A bell that rings unheard costs a second: who waits looks at the ledger that often. So nothing here has to be reliable.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import select
import socket
import tempfile
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from typing_extensions import override

CHANNEL = "flowyard_slots"
"""What PostgreSQL's sessions listen to."""
_IDS_IN_A_MESSAGE = 64  # 1 KB as bytes, of the 2 KB that a datagram has on macOS; 2 KB as text, of the 8 of NOTIFY
_LONGEST_PATH = 100  # of a socket: 103 bytes on macOS, 107 on Linux
_NUMBERS = itertools.count(1)


class Bell(ABC):
    """The bell of one database, as one process has it. `hear` is for one thread; the rest is thread-safe."""

    def __init__(self) -> None:
        self.when_rung: Callable[[Iterable[UUID]], None] | None = None
        """Told at once what is rung in this process."""

    def ring(self, lease_ids: Sequence[UUID]) -> None:
        """Say that requests may be granted now, after it was committed. Never raises, never waits."""
        if self.when_rung is not None:
            self.when_rung(lease_ids)
        for part in _parts(lease_ids):
            self.tell_others(part)

    @abstractmethod
    def tell_others(self, lease_ids: Sequence[UUID]) -> None:
        """Let other processes know, where it is not in the transaction already."""

    @abstractmethod
    def open(self) -> bool:
        """Begin to hear what others ring; False when that cannot be."""

    @abstractmethod
    def hear(self, seconds: float) -> list[UUID]:
        """Wait for a ring, for `interrupt`, or for some seconds; return what was rung.

        Raises:
            OSError: it cannot be heard any more; `close` it, and open it again.
        """

    @abstractmethod
    def interrupt(self) -> None:
        """Let `hear` return."""

    @abstractmethod
    def close(self) -> None:
        """Hear no more."""


class MuteBell(Bell):
    """Is heard in its own process alone."""

    def __init__(self) -> None:
        super().__init__()
        self._interrupted = threading.Event()

    @override
    def tell_others(self, lease_ids: Sequence[UUID]) -> None:
        pass

    @override
    def open(self) -> bool:
        return False

    @override
    def hear(self, seconds: float) -> list[UUID]:
        self._interrupted.wait(seconds)
        self._interrupted.clear()
        return []

    @override
    def interrupt(self) -> None:
        self._interrupted.set()

    @override
    def close(self) -> None:
        pass


class Interruption:
    """What ends a wait for sockets from another thread."""

    def __init__(self) -> None:
        self._heard, self._sent = socket.socketpair()
        for end in (self._heard, self._sent):
            end.setblocking(False)

    def wait(self, ears: Sequence[Any], seconds: float) -> list[Any]:
        """Return which of these can be read, after some seconds at most."""
        readable, _, _ = select.select([self._heard, *ears], [], [], seconds)
        if self._heard in readable:
            self._heard.recv(4096)
            readable.remove(self._heard)
        return readable

    def send(self) -> None:
        """End the wait that is, or the next one."""
        with contextlib.suppress(OSError):
            self._sent.send(b".")

    def close(self) -> None:
        """Close both ends."""
        self._heard.close()
        self._sent.close()


class SocketBell(MuteBell):
    """Datagrams to the sockets of the other processes, which lie in a folder beside the database file.

    Where there can be none (some network and container file systems, long paths), they lie in the folder for temporary
    files.

    Args:
        file: the database.
    """

    def __init__(self, file: Path) -> None:
        super().__init__()
        place = file.resolve()
        digest = hashlib.sha256(os.fsencode(place)).hexdigest()[:16]
        self._folders = (place.parent / f"{place.name}-bells", Path(tempfile.gettempdir()) / f"flowyard-{digest}")
        self._ear: socket.socket | None = None
        self._interruption: Interruption | None = None
        self._path: Path | None = None

    @override
    def tell_others(self, lease_ids: Sequence[UUID]) -> None:
        message = b"".join(lease_id.bytes for lease_id in lease_ids)
        with contextlib.suppress(OSError, AttributeError), _datagrams() as mouth:
            for path in self._others():
                try:
                    mouth.sendto(message, path)
                except ConnectionRefusedError:  # its process is dead
                    with contextlib.suppress(OSError):
                        os.unlink(path)
                except OSError:  # it is gone, or has more to hear than it can take
                    continue

    def _others(self) -> Iterator[str]:
        for folder in self._folders:
            with contextlib.suppress(OSError), os.scandir(folder) as entries:
                yield from [entry.path for entry in entries if entry.path != str(self._path)]

    @override
    def open(self) -> bool:
        for folder in self._folders:
            path = folder / f"{os.getpid()}-{next(_NUMBERS)}"
            if len(os.fsencode(path)) > _LONGEST_PATH:
                continue
            ear = None
            try:
                ear = _datagrams()
                folder.mkdir(exist_ok=True)
                with contextlib.suppress(FileNotFoundError):
                    path.unlink()  # of a process that died and had the same number
                ear.bind(str(path))
            except (OSError, AttributeError):  # the latter on Windows
                if ear is not None:
                    ear.close()
                continue
            self._ear, self._path, self._interruption = ear, path, Interruption()
            return True
        return False

    @override
    def hear(self, seconds: float) -> list[UUID]:
        ear, interruption = self._ear, self._interruption
        if ear is None or interruption is None:
            return super().hear(seconds)
        heard: list[UUID] = []
        interruption.wait([ear], seconds)
        with contextlib.suppress(BlockingIOError):
            while True:
                message = ear.recv(4096)
                whole = len(message) - len(message) % 16
                heard += [UUID(bytes=message[start : start + 16]) for start in range(0, whole, 16)]
        return heard

    @override
    def interrupt(self) -> None:
        super().interrupt()
        interruption = self._interruption
        if interruption is not None:
            interruption.send()

    @override
    def close(self) -> None:
        ear, self._ear = self._ear, None
        path, self._path = self._path, None
        interruption, self._interruption = self._interruption, None
        if ear is not None:
            ear.close()
        if interruption is not None:
            interruption.close()
        if path is not None:
            with contextlib.suppress(OSError):
                path.unlink()
                path.parent.rmdir()


class ServerBell(Bell):
    """LISTEN on a connection of its own; who rings does so with NOTIFY in the transaction.

    Args:
        connect: opens a connection of psycopg.
    """

    def __init__(self, connect: Callable[[], Any]) -> None:
        super().__init__()
        self._connect = connect
        self._connection: Any = None
        self._interruption: Interruption | None = None

    @override
    def tell_others(self, lease_ids: Sequence[UUID]) -> None:
        pass  # told when it was committed

    @override
    def open(self) -> bool:
        self._interruption = Interruption()
        connection = None
        try:
            connection = self._connect()
            connection.autocommit = True
            connection.execute(f"LISTEN {CHANNEL}")
        except Exception:  # of the driver, whose classes are not known here: the server is away, or it is no server
            if connection is not None:
                connection.close()
            return False
        self._connection = connection
        return True

    @override
    def hear(self, seconds: float) -> list[UUID]:
        assert self._interruption is not None
        connection = self._connection
        if not self._interruption.wait([] if connection is None else [connection], seconds) or connection is None:
            return []
        try:
            return [lease_id for note in connection.notifies(timeout=0) for lease_id in _ids_of(note.payload)]
        except Exception as error:
            raise ConnectionError(f"{error}") from error

    @override
    def interrupt(self) -> None:
        interruption = self._interruption
        if interruption is not None:
            interruption.send()

    @override
    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        interruption, self._interruption = self._interruption, None
        if interruption is not None:
            interruption.close()


def messages(lease_ids: Sequence[UUID]) -> Iterator[str]:
    """Return what NOTIFY says about requests."""
    for part in _parts(lease_ids):
        yield ",".join(lease_id.hex for lease_id in part)


def _ids_of(message: str) -> Iterator[UUID]:
    for text in message.split(","):
        with contextlib.suppress(ValueError):  # of somebody else on that channel
            yield UUID(text)


def _parts(lease_ids: Sequence[UUID]) -> Iterator[Sequence[UUID]]:
    for start in range(0, len(lease_ids), _IDS_IN_A_MESSAGE):
        yield lease_ids[start : start + _IDS_IN_A_MESSAGE]


def _datagrams() -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    made.setblocking(False)
    return made
