"""An event loop in a thread of its own, for async tasks of flows that have no loop."""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from flowyard.aio import asyncio

T = TypeVar("T")


class BackgroundLoop:
    """Starts with its first coroutine; `close` ends it. Safe to use from every thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def get(self) -> asyncio.AbstractEventLoop:
        """Return the running loop, started if need be."""
        with self._lock:
            if self._loop is None:
                started = threading.Event()
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=self._serve, args=(self._loop, started), name="flowyard-loop", daemon=True
                )
                self._thread.start()
                started.wait()
            return self._loop

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Start a coroutine on the loop; its future belongs to the caller's thread."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.get())

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop and block until it ends; an interrupt here cancels it.

        On the loop's own thread, where sync code blocks it, the coroutine gets a loop of its own in another thread.
        """
        if threading.current_thread() is self._thread:
            elsewhere = BackgroundLoop()
            try:
                return elsewhere.run(coroutine)
            finally:
                elsewhere.close()
        future = self.submit(coroutine)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """Cancel what still runs and end the thread; being a daemon it cannot hold the process."""
        with self._lock:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is None or thread is None:
            return
        loop.call_soon_threadsafe(_cancel_all, loop)
        if thread is not threading.current_thread():
            thread.join(timeout=1.0)

    @staticmethod
    def _serve(loop: asyncio.AbstractEventLoop, started: threading.Event) -> None:
        asyncio.set_event_loop(loop)
        loop.call_soon(started.set)
        try:
            loop.run_forever()
            pending = asyncio.all_tasks(loop)
            if pending:
                loop.run_until_complete(asyncio.gather(*pending, return_exceptions=True))
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            asyncio.set_event_loop(None)
            loop.close()


def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.stop()
