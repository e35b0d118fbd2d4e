"""How what stores something wakes what streams it, within one process."""

from __future__ import annotations

import asyncio
import threading

from anyio import move_on_after


class Bell:
    """Wakes whoever waits on an event loop; rung from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[asyncio.Event, asyncio.AbstractEventLoop] = {}

    async def wait(self, seconds: float) -> None:
        """Return when it rings, or after some seconds."""
        rung = asyncio.Event()
        with self._lock:
            self._waiting[rung] = asyncio.get_running_loop()
        try:
            with move_on_after(seconds):
                await rung.wait()
        finally:
            with self._lock:
                self._waiting.pop(rung, None)

    def ring(self) -> None:
        """Wake all who wait now."""
        with self._lock:
            for rung, loop in self._waiting.items():
                loop.call_soon_threadsafe(rung.set)
