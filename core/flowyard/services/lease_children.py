"""A tiny child process that runs no user code, and renews the leases of its parent.

A task that holds the interpreter lock for a minute cannot keep it from renewing. It lives as long as its parent holds
the other end of a pipe, which the kernel closes when the parent dies.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping

RENEWAL_SECONDS = 10.0


class LeaseChild:
    """The child process, seen from its parent. Started with the first flow run.

    Args:
        arguments: the module to run and its arguments, which everybody can read in a list of processes.
        secrets: environment variables for it alone.
    """

    def __init__(self, *arguments: str, secrets: Mapping[str, str]) -> None:
        self._arguments = arguments
        self._secrets = secrets
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start the child, or a new one if it has died."""
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                return
            self._process = subprocess.Popen(
                [sys.executable, "-m", *self._arguments],
                stdin=subprocess.PIPE,
                env={**os.environ, **self._secrets},
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


def renew_until_the_parent_ends(renew: Callable[[], None], parent: int) -> None:
    """Renew leases again and again until the pipe `parent` is closed at its other end."""
    while True:
        renew()
        readable, _, _ = select.select([parent], [], [], RENEWAL_SECONDS)
        if readable:  # nobody ever writes: this is the end of the file
            return
