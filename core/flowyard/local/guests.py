"""The control plane as a process uses it that reports over HTTP: the leases are its own, and it renews them itself."""

from __future__ import annotations

from collections import OrderedDict
from datetime import UTC, datetime, timedelta
from functools import cached_property
from threading import Lock
from typing import Any
from uuid import UUID

from typing_extensions import override

from flowyard.journal.sql import SqlJournal
from flowyard.local.control import LocalControlPlane
from flowyard.local.limits import LocalLimits
from flowyard.ports import Lease
from flowyard.ports.limits import LimitStore
from flowyard.schemas.orchestration import OrchestrationResult
from flowyard.schemas.runs import FlowRun
from flowyard.schemas.states import State
from flowyard.services.lease_keeper import LEASE_SECONDS
from flowyard.store import leases
from flowyard.store.database import Database
from flowyard.store.leases import HeldLease, Owner

_KEPT = 1000


class _RenewsItself:
    """In the place of a `LeaseKeeper`: leases expire, and the process that has them renews them over HTTP."""

    def start(self) -> None:
        """Do nothing: the keeper is where the process is."""


class GuestControlPlane(LocalControlPlane):
    """What one process does through the server. Without state of its own: another replica may answer next."""

    def __init__(self, database: Database, journal: SqlJournal, owner: Owner, **secrets: Any) -> None:
        super().__init__(database, journal, owner, _RenewsItself(), **secrets)

    @property
    def owner(self) -> Owner:
        """The process that asks."""
        return self._owner

    @cached_property
    @override
    def limits(self) -> LimitStore:
        return LocalLimits(self._database, self._journal, self._owner, lease_seconds=LEASE_SECONDS)

    @override
    def _is_said_again(self, held: HeldLease) -> bool:
        # A request that is sent again can be executed twice, and the first one last. With a new token the process that
        # has the answer to the other one would be refused.
        return held.owner.id == self._owner.id

    @override
    def propose_flow_run_state(
        self, flow_run_id: UUID, state: State[Any], *, lease: Lease | None = None, force: bool = False
    ) -> OrchestrationResult:
        # What could not be written now is proposed again: the run has not ended, as one of this process would have.
        return self._propose(flow_run_id, state, lease=lease, force=force)

    def begin_again(self, flow_name: str, flow_run: FlowRun) -> Lease:
        """Begin a flow run that its process began while the server was away, once, however often it is said."""
        held = self._read.plainly(lambda connection: leases.find(connection, flow_run.id))
        if held is not None and held.owner.id == self._owner.id:
            return Lease(flow_run.id, held.token)
        return self.begin_flow_run(flow_name, flow_run)

    def renew_leases(self) -> None:
        """Put off the end of all leases of the process."""
        expires = datetime.now(UTC) + timedelta(seconds=LEASE_SECONDS)
        self._journal.perform(lambda connection: leases.renew(connection, self._owner.id, expires))

    def leave(self) -> None:
        """Give up the lease for what happened outside of flow runs: the process ends."""
        self._journal.perform(lambda connection: leases.leave(connection, self._owner.id))


class Guests:
    """The control planes of the processes that report here, made when they first come. Thread-safe."""

    def __init__(self, database: Database, journal: SqlJournal, **secrets: Any) -> None:
        self._database = database
        self._journal = journal
        self._secrets = secrets
        self._lock = Lock()
        self._known: OrderedDict[UUID, GuestControlPlane] = OrderedDict()

    def control_of(self, owner: Owner) -> GuestControlPlane:
        """Return the control plane of a process; those that have not come for long are forgotten."""
        with self._lock:
            control = self._known.pop(owner.id, None)
            if control is None:
                control = GuestControlPlane(self._database, self._journal, owner, **self._secrets)
            self._known[owner.id] = control
            while len(self._known) > _KEPT:
                self._known.popitem(last=False)
            return control
