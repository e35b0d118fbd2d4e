"""How often and how late a run is tried again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Retries of one run.

    `delays` are seconds before retry 1, 2, ...; the last one repeats, none means at once. `jitter_factor` spreads a
    delay around its value (see `rules.retries.delay_before`). `crash_retries` is the separate budget for attempts
    that were lost with their worker; user errors never use it.
    """

    retries: int = 0
    delays: tuple[float, ...] = ()
    jitter_factor: float | None = None
    crash_retries: int = 0

    def to_record(self) -> dict[str, Any]:
        """Return the `empirical_policy` object of the REST API."""
        delay: float | list[float] | None = None
        if self.delays:
            delay = self.delays[0] if len(self.delays) == 1 else list(self.delays)
        record: dict[str, Any] = {"retries": self.retries, "retry_delay": delay}
        if self.jitter_factor is not None:
            record["retry_jitter_factor"] = self.jitter_factor
        if self.crash_retries:
            record["crash_retries"] = self.crash_retries
        return record

    @classmethod
    def from_record(cls, record: dict[str, Any] | None) -> RetryPolicy:
        """Read what `to_record` wrote; unknown keys are ignored."""
        record = record or {}
        delay = record.get("retry_delay")
        if delay is None:
            delay = []
        elif not isinstance(delay, list):
            delay = [delay]
        return cls(
            retries=record.get("retries") or 0,
            delays=tuple(float(item) for item in cast("list[float]", delay)),
            jitter_factor=record.get("retry_jitter_factor"),
            crash_retries=record.get("crash_retries") or 0,
        )


NO_RETRIES = RetryPolicy()
