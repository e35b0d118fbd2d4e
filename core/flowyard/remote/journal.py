"""The journal of a process that reports to a server."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from typing_extensions import override

from flowyard.exceptions import ServerAway
from flowyard.journal.write_behind import WriteBehindJournal
from flowyard.remote.connection import Connection
from flowyard.remote.delivery import Delivery, address_of
from flowyard.schemas.reports import Reporter
from flowyard.upcalls.calls import Question

_logger = logging.getLogger("flowyard.journal")


class RemoteJournal(WriteBehindJournal[Delivery]):
    """Sends what is recorded to a server, and keeps it on disk while that is away.

    A barrier returns when everything before it is on the server's disk, or on the disk here.

    Args:
        connection: to the server.
        reporter: this process.
        folder: where records are kept while the server is away.
        patience_seconds: how long the server may be away before flows go on without its answers.
        commit_interval: see `WriteBehindJournal`.
        max_pending: see there.
    """

    def __init__(
        self,
        connection: Connection,
        reporter: Reporter,
        folder: Path,
        *,
        patience_seconds: float = 15.0,
        commit_interval: float = 0.05,
        max_pending: int = 100_000,
    ) -> None:
        self._connection = connection
        self._patience_seconds = patience_seconds
        self.delivery = Delivery(connection, reporter, folder)
        super().__init__(
            self.delivery,
            commit_interval=commit_interval,
            max_pending=max_pending,
            give_up_seconds=patience_seconds,
        )

    def wait_for_server(self) -> bool:
        """Wait until the server has everything; False when it has been away for longer than flows wait."""
        since = self.delivery.away_since
        waited = 0.0 if since is None else time.monotonic() - since
        return self.delivery.wait_until_caught_up(max(self._patience_seconds - waited, 0.0))

    @override
    def leave(self) -> None:
        if self.wait_for_server() and self.delivery.has_entered:
            try:
                question = Question("", "leave", [], {})
                self._connection.ask(address_of(question), self.delivery.body_of(question))
            except ServerAway as error:
                _logger.debug("the lease of this process will expire: %s", error)
