"""Stand-ins for stdout and stderr while something is drawn at the bottom of the terminal."""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, TextIO, cast

MAX_HELD_CHARACTERS = 1_000_000


class HeldText:
    """Text that was written and is not on the terminal yet; taken by the thread that draws, line by line.

    A writer that is faster than the terminal waits: with more than `MAX_HELD_CHARACTERS` held it draws by itself.
    """

    def __init__(self, draw: Callable[[], None]) -> None:
        self._draw = draw
        self._lock = threading.Lock()
        self._parts: deque[str] = deque()
        self._size = 0

    def write(self, text: str) -> None:
        """Hold text back until the next drawing."""
        with self._lock:
            self._parts.append(text)
            self._size += len(text)
            is_full = self._size > MAX_HELD_CHARACTERS
        if is_full:
            self._draw()

    def take(self) -> tuple[str, str]:
        """Return the lines held, and the beginning of a line that is not complete; that stays held."""
        with self._lock:
            text = "".join(self._parts)
            end = text.rfind("\n") + 1
            lines, rest = text[:end], text[end:]
            self._parts = deque([rest] if rest else [])
            self._size = len(rest)
        return lines, rest

    def take_all(self) -> str:
        """Return everything that is held."""
        with self._lock:
            text = "".join(self._parts)
            self._parts.clear()
            self._size = 0
        return text


class StandIn:
    """Is `sys.stdout` or `sys.stderr` for a while. Everything but writing is the real stream's.

    After `release`, and in a forked child, it writes straight through: somebody may have kept it.
    """

    def __init__(self, original: TextIO, held: HeldText) -> None:
        self.original = original
        self._held: HeldText | None = held
        self._process_id = os.getpid()

    def write(self, text: str) -> int:
        """Hold the text back until the next drawing."""
        held = self._held
        if held is None or os.getpid() != self._process_id:
            return self.original.write(text)
        if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]  as strict as the real stream
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        held.write(text)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write each of the texts."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flush the real stream, once the text is no longer held back."""
        if self._held is None or os.getpid() != self._process_id:
            self.original.flush()

    def release(self) -> None:
        """Write straight through from now on."""
        self._held = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.original, name)


class Streams:
    """Puts stand-ins where stdout and stderr are a terminal, and takes them away again."""

    def __init__(self, held: HeldText) -> None:
        self._held = held
        self._stand_ins: dict[str, StandIn] = {}

    def replace(self) -> None:
        """Hold back what is written to a terminal."""
        for name in ("stdout", "stderr"):
            stream: TextIO | None = getattr(sys, name)
            if stream is not None and is_terminal(stream):
                stand_in = self._stand_ins[name] = StandIn(stream, self._held)
                setattr(sys, name, cast("TextIO", stand_in))

    def restore(self) -> None:
        """Put the real streams back, where nobody else has replaced them since."""
        for name, stand_in in self._stand_ins.items():
            if getattr(sys, name) is stand_in:
                setattr(sys, name, stand_in.original)
            stand_in.release()
        self._stand_ins.clear()


def is_terminal(stream: object) -> bool:
    """Say whether a stream is an open terminal."""
    try:
        return bool(cast("TextIO", stream).isatty())
    except (AttributeError, ValueError):  # no real file; a closed one
        return False
