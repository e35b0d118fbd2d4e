"""The embedded backend: a journal and a control plane on a database that this process opens itself."""

from __future__ import annotations

import importlib
import threading
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

from typing_extensions import override

from flowyard.journal.sql import SqlJournal
from flowyard.local.control import LocalControlPlane
from flowyard.ports import Backend
from flowyard.schemas.requests import ApiAnswer, ApiRequest
from flowyard.services.lease_keeper import LeaseKeeper
from flowyard.services.ownership import Presence
from flowyard.store.database import Database, open_database

if TYPE_CHECKING:
    from flowyard.local.guests import Guests


class _Api(Protocol):
    def answer(self, request: ApiRequest) -> ApiAnswer: ...
    def close(self) -> None: ...


class LocalBackend(Backend):
    """The state backend of a process without a server. Made by `LocalBackend.open`; thread-safe."""

    def __init__(
        self,
        database: Database,
        presence: Presence,
        journal: SqlJournal,
        keeper: LeaseKeeper | None,
        *,
        encryption_key: str | None = None,
        key_folder: Path | None = None,
    ) -> None:
        self._database = database
        self._presence = presence
        self._journal = journal
        self._keeper = keeper
        self._secrets: dict[str, Any] = {"encryption_key": encryption_key, "key_folder": key_folder}
        self._api_lock = threading.Lock()
        self._api: _Api | None = None
        self._control = LocalControlPlane(
            database, journal, presence.owner, keeper, **self._secrets, answer_request=self._answer_request
        )

    @classmethod
    def open(
        cls,
        url: str,
        home: Path,
        *,
        connect_timeout: float | None = None,
        echo: bool = False,
        migrate: bool = True,
        commit_interval: float = 0.05,
        max_pending: int = 100_000,
        give_up_seconds: float = 15.0,
        encryption_key: str | None = None,
    ) -> Self:
        """Open the database, bring its schema up to date and start the journal.

        Raises:
            BackendUnavailable: the home folder or the database cannot be used; says why.
        """
        database = open_database(url, connect_timeout=connect_timeout, echo=echo, migrate=migrate)
        try:
            presence = Presence.announce(_owners_folder(database, home))
        except BaseException:
            database.close()
            raise
        journal = SqlJournal(
            database,
            presence.owner,
            commit_interval=commit_interval,
            max_pending=max_pending,
            give_up_seconds=give_up_seconds,
        )
        # A file can only be shared by processes that see its locks; leases on a server are also looked at from afar.
        keeper = LeaseKeeper(url, presence.owner.id) if database.dialect.name == "postgresql" else None
        # The key of secrets is beside the database file, or where this user's other files are.
        folder = None if database.is_in_memory else home if database.file is None else database.file.parent
        return cls(database, presence, journal, keeper, encryption_key=encryption_key, key_folder=folder)

    @classmethod
    def in_memory(cls) -> Self:
        """Open a backend that forgets everything when it is closed: the same code on SQLite's memory database."""
        return cls.open("sqlite:///:memory:", Path())

    @property
    @override
    def journal(self) -> SqlJournal:
        return self._journal

    @property
    @override
    def control(self) -> LocalControlPlane:
        return self._control

    @cached_property
    def guests(self) -> Guests:
        """The processes that report here, when this is the backend of a server."""
        # By name: it needs SQLAlchemy, and embedded flows do not need it.
        return importlib.import_module("flowyard.local.guests").Guests(self._database, self._journal, **self._secrets)

    @property
    def database(self) -> Database:
        """The database, for the commands that manage it."""
        return self._database

    def _answer_request(self, request: ApiRequest) -> ApiAnswer:
        with self._api_lock:
            api = self._api
            if api is None:
                # By name: the API is a web framework, and most flows ask nothing of it.
                made: _Api = importlib.import_module("flowyard.server.embedded").EmbeddedApi(self)
                api = self._api = made
        return api.answer(request)

    @override
    def close(self) -> None:
        if self._api is not None:
            self._api.close()
        try:
            self._journal.close()
        finally:
            if self._keeper is not None:
                self._keeper.stop()
            self._presence.withdraw()
            self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _owners_folder(database: Database, home: Path) -> Path | None:
    if database.is_in_memory:
        return None
    # Beside the database file, because processes with different homes can share one; by default that is the home.
    return (home if database.file is None else database.file.parent) / "owners"
