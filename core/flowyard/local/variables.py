"""Variables in the database of this process."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy.engine import Connection
from typing_extensions import override

from flowyard.exceptions import ObjectAlreadyExists, ObjectNotFound
from flowyard.journal.sql import SqlJournal
from flowyard.local.reading import Reader
from flowyard.ports.variables import VariableStore
from flowyard.rules.variables import check_variable_name, check_variable_tags, check_variable_value
from flowyard.schemas.variables import VariableRecord
from flowyard.store import variables
from flowyard.store.database import Database

_CHANGEABLE = ("name", "value", "tags")


class LocalVariables(VariableStore):
    """Changes on the journal's writer thread, reads on connections of their own."""

    def __init__(self, database: Database, journal: SqlJournal) -> None:
        self._dialect = database.dialect
        self._journal = journal
        self._read = Reader(database, journal)

    @override
    def create(self, record: VariableRecord) -> VariableRecord:
        _check(record)

        def create(connection: Connection) -> None:
            if not variables.insert_variable(connection, self._dialect, record):
                raise ObjectAlreadyExists("variable", record.name)

        self._journal.execute(create)
        return record

    @override
    def put(self, record: VariableRecord, *, keep_tags: bool = False) -> VariableRecord:
        _check(record)
        changes: dict[str, Any] = {"value": record.value} if keep_tags else {"value": record.value, "tags": record.tags}

        def put(connection: Connection) -> VariableRecord:
            if variables.insert_variable(connection, self._dialect, record):
                return record
            return variables.change(connection, record.name, changes, datetime.now(UTC))

        return self._journal.execute(put)

    @override
    def find(self, name: str) -> VariableRecord | None:
        return self._read(lambda connection: variables.find(connection, name))

    @override
    def read(self, name: str) -> VariableRecord:
        found = self.find(name)
        if found is None:
            raise ObjectNotFound("variable", name)
        return found

    @override
    def read_many(self, *, limit: int = 200, offset: int = 0) -> list[VariableRecord]:
        return self._read(lambda connection: variables.read_many(connection, limit=limit, offset=offset))

    @override
    def update(self, name: str, /, **changes: Any) -> VariableRecord:
        unknown = sorted(set(changes) - set(_CHANGEABLE))
        if unknown:
            raise ValueError(
                f"a variable has no {unknown[0]!r} that can be changed; there are {', '.join(_CHANGEABLE)}"
            )
        new_name = changes.get("name", name)
        if "name" in changes:
            check_variable_name(new_name)
        if "value" in changes:
            changes["value"] = check_variable_value(name, changes["value"])
        if "tags" in changes:
            changes["tags"] = check_variable_tags(name, changes["tags"])

        def update(connection: Connection) -> VariableRecord:
            if new_name != name and variables.find(connection, new_name) is not None:
                raise ObjectAlreadyExists("variable", new_name)
            return variables.change(connection, name, changes, datetime.now(UTC))

        return self._journal.execute(update)

    @override
    def delete(self, name: str) -> None:
        self._journal.execute(lambda connection: variables.remove(connection, name))


def _check(record: VariableRecord) -> None:
    check_variable_name(record.name)
    record.value = check_variable_value(record.name, record.value)
    record.tags = check_variable_tags(record.name, record.tags)
