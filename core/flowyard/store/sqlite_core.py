"""SQLite through SQLAlchemy. Loaded by name, by what `dialects.SQLite` needs SQLAlchemy for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Table, Text, cast, event, exists, func, or_, select, type_coerce
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import Connection, Engine, create_engine
from sqlalchemy.pool import QueuePool, StaticPool
from sqlalchemy.sql import ColumnElement

from flowyard.store.encoding import to_json


def make_engine(connect: Callable[[], Any], *, is_in_memory: bool, echo: bool) -> Engine:
    """Return an engine for reading that has connected once; `connect` makes its connections."""
    pool = StaticPool if is_in_memory else QueuePool
    engine = create_engine("sqlite://", creator=connect, poolclass=pool, echo=echo, hide_parameters=True)
    # Once, and before anything is written: the first connection of an engine is rolled back, and a database in memory
    # has one connection only.
    engine.connect().close()
    event.listen(engine, "begin", _begin)
    return engine


def _begin(connection: Connection) -> None:
    # The driver begins nothing by itself; a reader sees one state of the database only within a transaction.
    connection.exec_driver_sql("BEGIN")


def insert(table: Table) -> sqlite.Insert:
    """Return an INSERT that knows conflicts."""
    return sqlite.insert(table)


def json_array_has(column: ColumnElement[Any], text: str) -> ColumnElement[bool]:
    """Return the condition that a JSON array of strings in a column contains a string."""
    if text == ",":
        items = func.json_each(column).table_valued("value")
        return exists(select(items.c.value).where(items.c.value == text))
    # As text, in the form in which `encoding.to_json` writes it: parsing takes three times as long. A quote after a
    # bracket or a comma begins a string, for within one it is escaped; or it ends one that ends with these, and then
    # what follows is `,"` or nothing, which is not the begin of a string but of ",".
    string = to_json(text)
    first, *others = [func.instr(column, type_coerce(before + string, Text)) > 0 for before in ("", *"[,")]
    # Most have it nowhere, which is one look.
    return first & or_(*others)


def json_text(column: ColumnElement[Any]) -> ColumnElement[str]:
    """Return the text of a JSON value in a column: a string without its quotes."""
    return func.json_extract(column, "$", type_=Text())


def json_member(column: ColumnElement[Any], key: str) -> ColumnElement[str]:
    """Return the text that a JSON object in a column has under a key."""
    # Not `json_extract`: no quoting of its paths knows every character a key can have.
    items = func.json_each(column).table_valued("key", "value")
    return select(cast(items.c.value, Text)).where(items.c.key == key).limit(1).scalar_subquery()
