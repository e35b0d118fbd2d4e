"""How often one client may ask: a token bucket for each, filled at the allowed rate, one second deep."""

from __future__ import annotations

_MOST_BUCKETS = 10_000


class Rates:
    """The buckets of this process.

    Args:
        per_second: requests that one client may make.
    """

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._depth = max(1.0, per_second)
        self._buckets: dict[str, tuple[float, float]] = {}

    def seconds_until(self, name: str, now: float) -> float:
        """Take a token for a client: 0 when there was one, else the seconds until there is."""
        if name not in self._buckets and len(self._buckets) >= _MOST_BUCKETS:
            self._buckets.clear()
        level, seen = self._buckets.get(name, (self._depth, now))
        level = min(self._depth, level + (now - seen) * self._per_second)
        if level < 1.0:
            self._buckets[name] = (level, now)
            return (1.0 - level) / self._per_second
        self._buckets[name] = (level - 1.0, now)
        return 0.0
