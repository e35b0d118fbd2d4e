"""Concurrency limits of tags: how many task runs with a tag may run at a time."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Body, Response
from sqlalchemy.engine import Connection

from flowyard.exceptions import ObjectNotFound
from flowyard.schemas.api.limits import ConcurrencyLimit, ConcurrencyLimitCreate
from flowyard.schemas.limits import TAG_PREFIX
from flowyard.schemas.limits import ConcurrencyLimit as Limit
from flowyard.schemas.runs import utcnow
from flowyard.server import answers
from flowyard.server.dependencies import Database, PageOf
from flowyard.server.routes import Routes
from flowyard.store import limits, unowned_slots

router = Routes(prefix="/concurrency_limits", tags=["Concurrency Limits"])


@router.post("/", operation_id="create_concurrency_limit", response_model=ConcurrencyLimit)
def create(body: ConcurrencyLimitCreate, database: Database) -> Response:
    """Give a tag a limit, or change the one it has."""

    def put(connection: Connection) -> ConcurrencyLimit:
        now = utcnow()
        name = _name_of(body.tag)
        try:
            limit = limits.read(connection, name, now)
        except ObjectNotFound:
            limits.create(connection, Limit(name=name, limit=body.concurrency_limit), now)
        else:
            # One that came about by being asked for lets everybody pass.
            limit.limit, limit.active = body.concurrency_limit, True
            limits.store(connection, limit, now, frees_all=False)
        return _read(connection, name)

    return answers.one(database.change(put))


@router.post("/filter", operation_id="read_concurrency_limits", response_model=list[ConcurrencyLimit])
def read_many(database: Database, page: PageOf) -> Response:
    """Return the limits of tags."""

    def query(connection: Connection) -> list[ConcurrencyLimit]:
        found = limits.read_many(connection, utcnow(), page, of_tags=True)
        return [_shown(connection, each) for each in found]

    return answers.many(ConcurrencyLimit, database.read(query))


@router.get("/tag/{tag:path}", operation_id="read_concurrency_limit_by_tag", response_model=ConcurrencyLimit)
def read_by_tag(tag: str, database: Database) -> Response:
    """Return the limit of a tag."""
    return answers.one(database.read(lambda connection: _read(connection, _name_of(tag))))


@router.delete("/tag/{tag:path}", operation_id="delete_concurrency_limit_by_tag")
def delete_by_tag(tag: str, database: Database) -> None:
    """Delete the limit of a tag; its holders go on without."""
    database.change(lambda connection: limits.remove(connection, _name_of(tag)))


@router.post("/tag/{tag:path}/reset", operation_id="reset_concurrency_limit_by_tag")
def reset(
    tag: str,
    database: Database,
    slot_override: Annotated[list[UUID] | None, Body(embed=True)] = None,
) -> None:
    """Take all slots back, or say which task runs hold one."""

    def act(connection: Connection) -> None:
        now = utcnow()
        limit = limits.read(connection, _name_of(tag), now)
        unowned_slots.hold_for(connection, limit.id, slot_override or [], now)

    database.change(act)


@router.get("/{id}", operation_id="read_concurrency_limit", response_model=ConcurrencyLimit)
def read(id: UUID, database: Database) -> Response:
    """Return a limit."""
    return answers.one(database.read(lambda connection: _read(connection, str(id))))


@router.delete("/{id}", operation_id="delete_concurrency_limit")
def delete(id: UUID, database: Database) -> None:
    """Delete a limit; its holders go on without."""

    def act(connection: Connection) -> None:
        _read(connection, str(id))
        limits.remove(connection, str(id))

    database.change(act)


def _name_of(tag: str) -> str:
    return f"{TAG_PREFIX}{tag}"


def _read(connection: Connection, name: str) -> ConcurrencyLimit:
    limit = limits.read(connection, name, utcnow())
    if not limit.name.startswith(TAG_PREFIX):
        raise ObjectNotFound("concurrency limit", name)
    return _shown(connection, limit)


def _shown(connection: Connection, limit: Limit) -> ConcurrencyLimit:
    holders = limits.holders(connection, limit.name, utcnow())
    return ConcurrencyLimit(
        id=limit.id,
        created=limit.created,
        updated=limit.updated,
        tag=limit.name.removeprefix(TAG_PREFIX),
        concurrency_limit=limit.limit,
        active_slots=[each.task_run_id or each.lease_id for each in holders],
    )
