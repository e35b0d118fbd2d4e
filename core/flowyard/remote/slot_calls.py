"""How a process that reports to a server hears that a request for slots may be granted: one websocket for all."""

from __future__ import annotations

import json
import logging
import ssl
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from flowyard.remote.retrying import CONNECT_SECONDS, trusted
from flowyard.settings import Settings

_IDLE_SECONDS = 1.0
"""How long the websocket stays open when nobody waits any more."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 5.0
_SUBPROTOCOL = Subprotocol("prefect")
_logger = logging.getLogger("flowyard.limits")


class SlotCalls:
    """Wakes the requests of this process that wait at a server. Thread-safe.

    One thread, which lives while somebody waits. While there is no websocket (the server is away, or what is between
    does not let it through) it wakes everybody now and then: who asks in vain waits on.

    Args:
        settings: how to reach the server.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        url = f"{settings.FLOWYARD_API_URL}".rstrip("/")
        self._url = url.replace("http", "ws", 1) + "/limits/calls"
        self._trusted = lambda: trusted(url, settings)
        self._lock = threading.Lock()
        self._waiting: dict[UUID, Callable[[], None]] = {}
        self._socket: ClientConnection | None = None
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()

    def wait(self, lease_id: UUID, wake: Callable[[], None]) -> None:
        """Have a request that was denied woken when it may be granted, and keep its place in the queues.

        Args:
            lease_id: of the request.
            wake: called from any thread, as often as it may be its turn; it must not raise or wait.
        """
        with self._lock:
            is_new = lease_id not in self._waiting
            self._waiting[lease_id] = wake
            socket = self._socket
            if self._thread is None and not self._closing.is_set():
                self._thread = threading.Thread(target=self._listen, name="flowyard-slot-calls", daemon=True)
                self._thread.start()
        if is_new and socket is not None:
            _send(socket, "wait", [lease_id])

    def remove(self, lease_ids: Sequence[UUID]) -> None:
        """Forget requests."""
        with self._lock:
            known = [lease_id for lease_id in lease_ids if self._waiting.pop(lease_id, None) is not None]
            socket = self._socket
        if known and socket is not None:
            _send(socket, "leave", known)

    def close(self) -> None:
        """Wake nobody any more."""
        self._closing.set()
        with self._lock:
            socket, thread = self._socket, self._thread
        if socket is not None:
            socket.close()
        if thread is not None:
            thread.join()

    # --- the thread -----------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        pause = _FIRST_PAUSE
        while not self._has_ended():
            try:
                with self._connected() as socket:
                    pause = _FIRST_PAUSE
                    self._hear(socket)
            except (OSError, ValueError, WebSocketException) as error:
                _logger.debug("no websocket to %s: %s", self._url, error)
                self._wake(list(self._waiting))
                self._closing.wait(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
            finally:
                with self._lock:
                    self._socket = None

    def _has_ended(self) -> bool:
        with self._lock:
            if self._waiting and not self._closing.is_set():
                return False
            self._thread = None
            return True

    @contextmanager
    def _connected(self) -> Generator[ClientConnection]:
        certificates: ssl.SSLContext | bool | None = None
        if self._url.startswith("wss:"):
            certificates = self._trusted()
            if not isinstance(certificates, ssl.SSLContext):
                certificates = ssl.create_default_context()
                certificates.check_hostname = False
                certificates.verify_mode = ssl.CERT_NONE
        with connect(
            self._url, subprotocols=[_SUBPROTOCOL], ssl=certificates, open_timeout=CONNECT_SECONDS, close_timeout=1.0
        ) as socket:
            token = self._settings.FLOWYARD_API_KEY or self._settings.FLOWYARD_API_AUTH_STRING or ""
            socket.send(json.dumps({"type": "auth", "token": token}))
            socket.recv(CONNECT_SECONDS)
            yield socket

    def _hear(self, socket: ClientConnection) -> None:
        with self._lock:
            self._socket = socket
            waiting = list(self._waiting)
        _send(socket, "wait", waiting)
        idle_since: float | None = None
        while not self._closing.is_set():
            try:
                message: dict[str, Any] = json.loads(socket.recv(_IDLE_SECONDS))
                self._wake([UUID(text) for text in message["lease_ids"]])
            except TimeoutError:
                pass
            if self._waiting:
                idle_since = None
            elif idle_since is None:
                idle_since = time.monotonic()
            elif time.monotonic() - idle_since >= _IDLE_SECONDS:
                return

    def _wake(self, lease_ids: Sequence[UUID]) -> None:
        for lease_id in lease_ids:
            wake = self._waiting.get(lease_id)
            if wake is not None:
                wake()


def _send(socket: ClientConnection, kind: str, lease_ids: Sequence[UUID]) -> None:
    try:
        socket.send(json.dumps({"type": kind, "lease_ids": [lease_id.hex for lease_id in lease_ids]}))
    except (OSError, WebSocketException) as error:  # the thread hears of it too, and says everything anew
        _logger.debug("the websocket is closed: %s", error)
