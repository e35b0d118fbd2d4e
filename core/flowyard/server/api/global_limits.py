"""Global concurrency limits: numbers of slots under a name, taken and given back by counting."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Body, HTTPException, Response, status
from pydantic import Field
from sqlalchemy.engine import Connection

from flowyard.exceptions import ObjectAlreadyExists, ObjectNotFound
from flowyard.rules.limits import check_limit
from flowyard.schemas.api.limits import (
    ConcurrencyLimitV2,
    ConcurrencyLimitV2Create,
    ConcurrencyLimitV2Update,
    GlobalConcurrencyLimitResponse,
    MinimalConcurrencyLimitResponse,
    Slots,
)
from flowyard.schemas.limits import ConcurrencyLimit, SlotMode, SlotRequest
from flowyard.schemas.runs import utcnow
from flowyard.server import answers
from flowyard.server.dependencies import Database, PageOf, changes_of
from flowyard.server.errors import refused_as_invalid
from flowyard.server.routes import Routes
from flowyard.store import limits, unowned_slots

router = Routes(prefix="/v2/concurrency_limits", tags=["Concurrency Limits V2"])
_Count = Annotated[Slots, Body(gt=0)]
_Names = Annotated[list[str], Body(min_length=1)]


@router.post(
    "/",
    operation_id="create_concurrency_limit_v2",
    response_model=ConcurrencyLimitV2,
    status_code=status.HTTP_201_CREATED,
)
def create(body: ConcurrencyLimitV2Create, database: Database) -> Response:
    """Make a limit."""
    limit = ConcurrencyLimit(
        name=body.name,
        limit=body.limit,
        active=body.active,
        active_slots=body.active_slots,
        slot_decay_per_second=body.slot_decay_per_second,
    )

    def act(connection: Connection) -> ConcurrencyLimit:
        now = utcnow()
        limits.create(connection, limit, now)
        if body.active_slots and not body.slot_decay_per_second:
            unowned_slots.hold(connection, limit.id, body.active_slots, now)
        return limits.read(connection, limit.name, now)

    with refused_as_invalid():
        check_limit(limit)
    made = database.change(act)
    return answers.one(ConcurrencyLimitV2.model_validate(made, from_attributes=True), status.HTTP_201_CREATED)


@router.post(
    "/filter", operation_id="read_all_concurrency_limits_v2", response_model=list[GlobalConcurrencyLimitResponse]
)
def read_many(database: Database, page: PageOf) -> Response:
    """Return limits in the order of their names, but for those of tags."""
    found = database.read(lambda connection: limits.read_many(connection, utcnow(), page, of_tags=False))
    return answers.many(
        GlobalConcurrencyLimitResponse,
        [GlobalConcurrencyLimitResponse.model_validate(each, from_attributes=True) for each in found],
    )


@router.post(
    "/increment",
    operation_id="bulk_increment_active_slots",
    response_model=list[MinimalConcurrencyLimitResponse],
)
def increment(
    slots: _Count, names: _Names, database: Database, mode: Annotated[SlotMode, Body()] = SlotMode.CONCURRENCY
) -> Response:
    """Take slots of several limits, all or none; 423 with `Retry-After` when there are not enough.

    Names that are not known become inactive limits, which let everybody pass.
    """
    request = SlotRequest(names=tuple(dict.fromkeys(names)), slots=slots, mode=mode)
    with refused_as_invalid():
        answer, found = database.change_plainly(lambda connection: unowned_slots.take(connection, request, utcnow()))
    if not answer.is_granted:
        headers = {"Retry-After": str(float(answer.retry_after_seconds))}
        raise HTTPException(status.HTTP_423_LOCKED, "Locked", headers)
    return _minimal(found)


@router.post(
    "/decrement",
    operation_id="bulk_decrement_active_slots",
    response_model=list[MinimalConcurrencyLimitResponse],
)
def decrement(
    slots: _Count,
    names: _Names,
    database: Database,
    occupancy_seconds: Annotated[float | None, Body(gt=0), Field(allow_inf_nan=False)] = None,
) -> Response:
    """Give slots of several limits back; how long they were held tells others how long to wait."""
    found = database.change(
        lambda connection: unowned_slots.give_back(
            connection, names, slots, occupancy_seconds=occupancy_seconds, now=utcnow()
        )
    )
    return _minimal(found)


@router.get("/{id_or_name}", operation_id="read_concurrency_limit_v2", response_model=GlobalConcurrencyLimitResponse)
def read(id_or_name: UUID | str, database: Database) -> Response:
    """Return a limit."""
    limit = database.read(lambda connection: limits.read(connection, str(id_or_name), utcnow()))
    return answers.one(GlobalConcurrencyLimitResponse.model_validate(limit, from_attributes=True))


@router.patch("/{id_or_name}", operation_id="update_concurrency_limit_v2", status_code=status.HTTP_204_NO_CONTENT)
def update(id_or_name: UUID | str, body: ConcurrencyLimitV2Update, database: Database) -> None:
    """Change a limit; `active_slots` takes back what anybody holds, and says how many slots are taken."""
    changes = {name: value for name, value in changes_of(body).items() if value is not None}
    # Counted from those who wait.
    changes.pop("denied_slots", None)

    def act(connection: Connection) -> None:
        now = utcnow()
        limit = limits.read(connection, str(id_or_name), now)
        new_name = changes.get("name", limit.name)
        if new_name != limit.name and _is_there(connection, new_name):
            raise ObjectAlreadyExists("concurrency limit", new_name)
        for name, value in changes.items():
            setattr(limit, name, value)
        check_limit(limit)
        limits.store(connection, limit, now, frees_all="active_slots" in changes)
        if changes.get("active_slots") and not limit.slot_decay_per_second:
            unowned_slots.hold(connection, limit.id, changes["active_slots"], now)

    with refused_as_invalid():
        database.change(act)


@router.delete("/{id_or_name}", operation_id="delete_concurrency_limit_v2", status_code=status.HTTP_204_NO_CONTENT)
def delete(id_or_name: UUID | str, database: Database) -> None:
    """Delete a limit; its holders go on without."""
    database.change(lambda connection: limits.remove(connection, str(id_or_name)))


def _is_there(connection: Connection, name: str) -> bool:
    try:
        return limits.read(connection, name, utcnow()).name == name
    except ObjectNotFound:
        return False


def _minimal(found: list[ConcurrencyLimit]) -> Response:
    return answers.many(
        MinimalConcurrencyLimitResponse,
        [MinimalConcurrencyLimitResponse(id=each.id, name=each.name, limit=each.limit) for each in found],
    )
