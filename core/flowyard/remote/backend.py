"""The state backend of a process that reports to a server."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Self, cast

from typing_extensions import override

from flowyard.ports import Backend, ControlPlane
from flowyard.remote.connection import Connection
from flowyard.remote.control import RemoteControlPlane
from flowyard.remote.delivery import address_of
from flowyard.remote.journal import RemoteJournal
from flowyard.schemas.reports import Reporter
from flowyard.services.ownership import Presence
from flowyard.services.remote_lease_keeper import RemoteLeaseKeeper
from flowyard.settings import Settings
from flowyard.upcalls.calls import Question

if TYPE_CHECKING:
    from flowyard.remote.slot_calls import SlotCalls


class RemoteBackend(Backend):
    """A journal and a control plane whose state is on a server. Made by `RemoteBackend.open`; thread-safe."""

    def __init__(
        self, settings: Settings, connection: Connection, journal: RemoteJournal, keeper: RemoteLeaseKeeper | None
    ) -> None:
        self._settings = settings
        self._connection = connection
        self._journal = journal
        self._keeper = keeper
        self._slot_calls: SlotCalls | None = None
        self._control = RemoteControlPlane(connection, journal, keeper, self._make_slot_calls)

    @classmethod
    def open(cls, settings: Settings, *, keeps_leases: bool = True) -> Self:
        """Make a backend for the server of FLOWYARD_API_URL; the first question to it finds out whether it is there.

        Args:
            settings: which server, and how.
            keeps_leases: have a child process renew the leases; without, they end half a minute after they begin.

        Raises:
            BackendUnavailable: the settings of the client cannot be.
        """
        connection = Connection(settings)
        owner = Presence.announce(None).owner
        reporter = Reporter(owner.id, owner.host, owner.pid, owner.process_start_time)
        journal = RemoteJournal(
            connection,
            reporter,
            spool_folder(settings),
            patience_seconds=settings.FLOWYARD_JOURNAL_GIVE_UP_SECONDS,
            commit_interval=settings.FLOWYARD_JOURNAL_COMMIT_INTERVAL_SECONDS,
            max_pending=settings.FLOWYARD_JOURNAL_MAX_PENDING_EVENTS,
        )
        renewal = Question("", "renew_leases", [], {})
        url, body = connection.url + address_of(renewal), journal.delivery.body_of(renewal)
        return cls(settings, connection, journal, RemoteLeaseKeeper(settings, url, body) if keeps_leases else None)

    @property
    @override
    def journal(self) -> RemoteJournal:
        return self._journal

    @property
    @override
    def control(self) -> ControlPlane:
        # By name and kind of its methods; most of them are made when they are called.
        return cast("ControlPlane", self._control)

    def _make_slot_calls(self) -> SlotCalls:
        # By name: it needs a library for websockets, and few flows have limits.
        made: SlotCalls = importlib.import_module("flowyard.remote.slot_calls").SlotCalls(self._settings)
        self._slot_calls = made
        return made

    def settle(self) -> None:
        """Let the server know what was recorded here; where that cannot be, a warning says so."""
        self._control.settle()

    @override
    def close(self) -> None:
        if self._slot_calls is not None:
            self._slot_calls.close()
        try:
            self._journal.close()
        finally:
            if self._keeper is not None:
                self._keeper.stop()
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def spool_folder(settings: Settings) -> Path:
    """Return where records are kept while a server is away."""
    return settings.FLOWYARD_HOME / "spool"
