"""Renews the leases of a process, from a tiny child process that runs no user code.

Needed only where owners on other hosts look at a lease (PostgreSQL): a task that holds the interpreter lock for a
minute cannot keep this child from renewing. It lives as long as its parent holds the other end of a pipe, which the
kernel closes when the parent dies.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from uuid import UUID

from flowyard.store import leases
from flowyard.store.database import connect_database

LEASE_SECONDS = 30.0
RENEWAL_SECONDS = 10.0
_URL_VARIABLE = "FLOWYARD_LEASE_KEEPER_URL"
_logger = logging.getLogger("flowyard.lease_keeper")


class LeaseKeeper:
    """The child process, seen from its parent. Started with the first flow run."""

    def __init__(self, url: str, owner_id: UUID) -> None:
        self._url = url
        self._owner_id = owner_id
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start the child, or a new one if it has died."""
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                return
            self._process = subprocess.Popen(
                [sys.executable, "-m", "flowyard.services.lease_keeper", str(self._owner_id)],
                stdin=subprocess.PIPE,
                # The URL may hold a password, and everybody can read a command line.
                env={**os.environ, _URL_VARIABLE: self._url},
                # A Ctrl-C on the terminal is for the parent; the child ends when the parent does.
                start_new_session=True,
            )

    def stop(self) -> None:
        """End the child and wait for it."""
        with self._lock:
            process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        # It has nothing to finish, and may still be starting: closing the pipe alone could take a second.
        process.kill()
        process.wait()
        with contextlib.suppress(OSError):
            process.stdin.close()


def keep(url: str, owner_id: UUID, parent: int) -> None:
    """Renew the leases of `owner_id` until the pipe `parent` is closed at its other end."""
    database = connect_database(url)
    try:
        while True:
            try:
                with database.plain_writing() as connection:
                    leases.renew(connection, owner_id, datetime.now(UTC) + timedelta(seconds=LEASE_SECONDS))
            except database.errors as error:
                # The server may be back before the leases expire.
                _logger.warning("could not renew the leases of owner %s: %s", owner_id, error)
            readable, _, _ = select.select([parent], [], [], RENEWAL_SECONDS)
            if readable:  # nobody ever writes: this is the end of the file
                return
    finally:
        database.close()


if __name__ == "__main__":
    keep(os.environ[_URL_VARIABLE], UUID(sys.argv[1]), sys.stdin.fileno())
