"""Whether the workers run what the flow's process runs: asked when a flow run connects, and told by later workers."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, cast

from flowyard.logging.loggers import get_logger
from flowyard.task_runners.versions import Versions, mismatch, versions_here

_PATIENCE_SECONDS = 2.0
"""How long a flow run waits for the workers' answers: they may be busy with somebody's task. Mostly it takes 10 ms."""


class VersionCheck:
    """Tells the user, once, about workers that run other versions."""

    def __init__(self) -> None:
        self._log = get_logger("task_runners.dask")
        self._lock = threading.Lock()
        self._seen = {versions_here()}

    def ask(self, client: Any) -> None:
        """Ask the workers that are there; returns when they have answered, or after a moment."""
        thread = threading.Thread(target=self._ask, args=(client,), name="flowyard-dask-versions", daemon=True)
        thread.start()
        thread.join(_PATIENCE_SECONDS)

    def _ask(self, client: Any) -> None:
        try:
            answers = cast("dict[str, Any]", client.run(_versions, on_error="return"))
        except Exception as error:  # the flow run is over, or the cluster gone: others say so
            self._log.debug("Dask workers could not be asked for their versions: %s", error)
            return
        self.note({address: Versions(*answer) for address, answer in answers.items() if isinstance(answer, tuple)})
        # What it raised is text by now: Dask could not rebuild the error of a message that it could not read.
        lacking = {address: answer for address, answer in answers.items() if "ModuleNotFoundError" in repr(answer)}
        if lacking:
            self._log.error(
                "No task of this flow can run on %s: %s. Install there what this process has: flowyard and "
                "flowyard-dask %s",
                ", ".join(sorted(lacking)),
                next(iter(lacking.values())),
                versions_here().flowyard,
            )

    def note(self, found: Mapping[str, Versions]) -> None:
        """Take what workers say they run."""
        with self._lock:
            new = {worker: versions for worker, versions in found.items() if versions not in self._seen}
            self._seen.update(new.values())
        text = mismatch(new)
        if text is not None:
            self._log.warning("%s", text)


def _versions() -> tuple[str, ...]:
    return tuple(versions_here())
