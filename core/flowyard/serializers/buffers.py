"""Large buffers (arrays, data frames) that stay out of a pickle of protocol 5 and travel or are written as they are."""

from __future__ import annotations

import pickle

LARGE = 64 * 1024
"""From how many bytes on a buffer is a piece by itself instead of being copied into the pickle."""


class LargeBuffers(list[memoryview]):
    """The buffers that a pickle left out, in order."""

    def keep(self, buffer: pickle.PickleBuffer) -> bool:
        """Decide about a buffer, as `buffer_callback` of a pickler; true has it copied into the pickle."""
        try:
            raw = buffer.raw()
        except BufferError:  # not contiguous: pickle copies it
            return True
        if raw.nbytes < LARGE:
            return True
        self.append(raw)
        return False
