"""Starting worker processes, and saying what ended them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from multiprocessing import spawn

from flowyard.settings import BY_NAME, get_current_settings
from flowyard.settings.current import PROFILE_VARIABLE
from flowyard.task_runners.process.channel import FrameReader, FrameWriter

SHIM = "flowyard.engine.worker:shim"
"""Loaded by name in the worker: the engine stands above task runners."""

_START_VARIABLE = "_FLOWYARD_WORKER_START"
_BOOTSTRAP = (
    f"import json, os, sys; start = json.loads(os.environ.pop({_START_VARIABLE!r})); sys.path[:] = start['path']; "
    "from flowyard.task_runners.process.worker import main; main(start)"
)


class WorkerProcess:
    """A process that was started, and the parent's end of its socket.

    Not `multiprocessing.Process`: that runs the user's script again in every worker, so a script without
    `if __name__ == "__main__":` would start flows in its workers, and one that came from stdin would not work at all.
    Nothing needs that here: cloudpickle brings along what the script defines. Nor `fork`: it copies locks that other
    threads hold.
    """

    def __init__(self, name: str, shim: str = SHIM) -> None:
        ours, theirs = socket.socketpair()
        life, self._life = os.pipe()
        start = {
            "name": name,
            "channel": theirs.fileno(),
            "life": life,
            "path": [str(entry) for entry in sys.path],
            "argv": sys.argv,
            "shim": shim,
        }
        # Other variables are the user's own, or change one value of the logging configuration.
        environment = {
            key: value for key, value in os.environ.items() if key not in BY_NAME and key != PROFILE_VARIABLE
        }
        # What the flow's process goes by, whether it comes from the environment, a profile or `temporary_settings`.
        environment |= get_current_settings().to_environment_variables(exclude_unset=True)
        environment[_START_VARIABLE] = json.dumps(start)
        try:
            self._process = subprocess.Popen(
                [
                    spawn.get_executable(),
                    *subprocess._args_from_interpreter_flags(),  # type: ignore[attr-defined]  # no stub has it
                    "-c",
                    _BOOTSTRAP,
                ],
                stdin=subprocess.DEVNULL,
                env=environment,
                pass_fds=(theirs.fileno(), life),
                # Ctrl-C in a terminal goes to the flow's process alone; a worker is killed with all that it started.
                process_group=0,
            )
        except BaseException:
            ours.close()
            os.close(self._life)
            raise
        finally:
            theirs.close()
            os.close(life)
        ours.setblocking(False)
        self.name = f"{name} (pid {self._process.pid})"
        self.socket = ours
        self.reader = FrameReader(ours)
        self.writer = FrameWriter(ours)
        self.pidfd = _pidfd(self._process.pid)

    def kill(self) -> None:
        """Kill the process and what it started."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def has_ended(self) -> bool:
        """Say whether the process is gone, without waiting."""
        return self._process.poll() is not None

    def end(self, seconds: float) -> str:
        """Wait for the end of the process, kill it after some seconds, and return what ended it."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        self.kill()
        return describe_exit(self._process.wait())

    def close(self) -> None:
        """Let go of what belongs to a process that has ended."""
        self.socket.close()
        os.close(self._life)
        if self.pidfd is not None:
            os.close(self.pidfd)


def _pidfd(pid: int) -> int | None:
    """Return a descriptor that is readable when the process has ended; None where there is no such thing.

    The end of the socket tells the same, unless a process that a task forked holds it open.
    """
    if not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None


def describe_exit(code: int) -> str:
    """Return what an exit code says about the end of a process."""
    if code >= 0:
        return f"it exited with code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = "unknown"
    hint = {
        "SIGKILL": ", possibly because memory ran out",
        "SIGSEGV": ": a crash in native code",
        "SIGBUS": ": a crash in native code",
        "SIGABRT": ": native code aborted",
    }.get(name, "")
    return f"it was killed by signal {-code} ({name}){hint}"
