"""The server that `flowyard server start --background` leaves running: found again by the file with its process id."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

from flowyard.server.serve import Place

_START_SECONDS = 30.0
_STOP_SECONDS = 30.0


class ServerProcess:
    """The server of one home folder; its process id is in `server.pid` there."""

    def __init__(self, home: Path) -> None:
        self._file = home / "server.pid"

    def note(self, pid: int) -> None:
        """Remember a server that was started."""
        self._file.write_text(f"{pid}\n")

    def forget(self) -> None:
        """Forget it: it has ended."""
        self._file.unlink(missing_ok=True)

    def pid(self) -> int | None:
        """Return the process id of the server if it lives; a file that was left behind is removed."""
        try:
            pid = int(self._file.read_text())
        except (FileNotFoundError, ValueError):
            return None
        if _is_alive(pid):
            return pid
        self.forget()
        return None

    def wait_until_listening(self, started: subprocess.Popen[bytes], place: Place) -> bool:
        """Wait until the server takes connections; False when it ended instead."""
        deadline = time.monotonic() + _START_SECONDS
        while started.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection((place.host, place.port), timeout=1):
                # Somebody listens; if it was another process, ours ends with the address in use.
                time.sleep(0.2)
                return started.poll() is None
            time.sleep(0.05)
        return False

    def stop(self, pid: int) -> bool:
        """Ask the server to end and wait for it; False when it does not."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_SECONDS
        while _is_alive(pid):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        self.forget()
        return True


def _is_alive(pid: int) -> bool:
    # A child of this process that has ended counts as alive until it is waited for.
    with contextlib.suppress(ChildProcessError):
        if os.waitpid(pid, os.WNOHANG)[0] == pid:
            return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
