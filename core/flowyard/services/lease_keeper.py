"""Renews the leases of a process in the database, from a child process; see `lease_children`.

Needed only where owners on other hosts look at a lease (PostgreSQL).
"""

from __future__ import annotations

import logging
import os
import sys
from datetime import UTC, datetime, timedelta
from uuid import UUID

from flowyard.services.lease_children import LeaseChild, renew_until_the_parent_ends
from flowyard.store import leases
from flowyard.store.database import connect_database

LEASE_SECONDS = 30.0
_URL_VARIABLE = "FLOWYARD_LEASE_KEEPER_URL"
_logger = logging.getLogger("flowyard.lease_keeper")


class LeaseKeeper(LeaseChild):
    """The child process that renews the leases of an owner in a database."""

    def __init__(self, url: str, owner_id: UUID) -> None:
        # The URL may hold a password.
        super().__init__("flowyard.services.lease_keeper", str(owner_id), secrets={_URL_VARIABLE: url})


def keep(url: str, owner_id: UUID, parent: int) -> None:
    """Renew the leases of `owner_id` until the pipe `parent` is closed at its other end."""
    database = connect_database(url)

    def renew() -> None:
        try:
            with database.plain_writing() as connection:
                leases.renew(connection, owner_id, datetime.now(UTC) + timedelta(seconds=LEASE_SECONDS))
        except database.errors as error:
            # The server may be back before the leases expire.
            _logger.warning("could not renew the leases of owner %s: %s", owner_id, error)

    try:
        renew_until_the_parent_ends(renew, parent)
    finally:
        database.close()


if __name__ == "__main__":
    keep(os.environ[_URL_VARIABLE], UUID(sys.argv[1]), sys.stdin.fileno())
