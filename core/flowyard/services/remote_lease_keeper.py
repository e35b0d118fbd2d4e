"""Renews the leases of a process at the server, from a tiny child process that runs no user code.

A task that holds the interpreter lock for a minute cannot keep this child from renewing. It lives as long as its parent
holds the other end of a pipe, which the kernel closes when the parent dies.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import ssl
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Mapping
from typing import Any

from flowyard.services.lease_keeper import RENEWAL_SECONDS
from flowyard.settings import Settings

_TARGET_VARIABLE = "FLOWYARD_LEASE_KEEPER_TARGET"
_TIMEOUT_SECONDS = 10.0
_logger = logging.getLogger("flowyard.lease_keeper")


class RemoteLeaseKeeper:
    """The child process, seen from its parent. Started with the first flow run.

    Args:
        settings: how to reach the server.
        url: what to send the request to.
        body: of the request that renews the leases.
    """

    def __init__(self, settings: Settings, url: str, body: bytes) -> None:
        self._target = {
            "url": url,
            "key": settings.FLOWYARD_API_KEY,
            "certificates": settings.FLOWYARD_API_SSL_CERT_FILE,
            "is_unchecked": settings.FLOWYARD_API_TLS_INSECURE_SKIP_VERIFY,
            "body": body.hex(),
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start the child, or a new one if it has died."""
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                return
            self._process = subprocess.Popen(
                [sys.executable, "-m", "flowyard.services.remote_lease_keeper"],
                stdin=subprocess.PIPE,
                # It holds the key, and everybody can read a command line.
                env={**os.environ, _TARGET_VARIABLE: json.dumps(self._target)},
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
        process.kill()
        process.wait()
        with contextlib.suppress(OSError):
            process.stdin.close()


def keep(target: Mapping[str, Any], parent: int) -> None:
    """Renew leases until the pipe `parent` is closed at its other end."""
    while True:
        try:
            renew(target)
        except (OSError, ValueError) as error:
            # The server may be back before the leases end; if not, it gives them some time when it starts. The parent
            # says that it is away.
            _logger.debug("could not renew the leases: %s", error)
        readable, _, _ = select.select([parent], [], [], RENEWAL_SECONDS)
        if readable:  # nobody ever writes: this is the end of the file
            return


def renew(target: Mapping[str, Any]) -> None:
    """Renew the leases once.

    Raises:
        OSError: the server does not answer.
    """
    headers = {"Content-Type": "application/msgpack"}
    if target["key"]:
        headers["Authorization"] = f"Bearer {target['key']}"
    # The standard library's client: loading httpx would take longer than all that this process does.
    request = urllib.request.Request(target["url"], bytes.fromhex(target["body"]), headers)
    tls = ssl.create_default_context(cafile=target["certificates"])
    if target["is_unchecked"]:
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE
    with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS, context=tls) as answer:
        answer.read()


if __name__ == "__main__":
    keep(json.loads(os.environ[_TARGET_VARIABLE]), sys.stdin.fileno())
