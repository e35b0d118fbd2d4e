"""Events: taken, listed page by page, and counted."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import Body, HTTPException, Query, Request, Response, status
from sqlalchemy.engine import Connection

from flowyard.schemas.api.events import Countable, Event, EventCount, EventFilter, EventPage, TimeUnit
from flowyard.server import answers
from flowyard.server.dependencies import Database
from flowyard.server.errors import refused_as_invalid
from flowyard.server.event_intake import take_events
from flowyard.server.page_tokens import PageToken
from flowyard.server.routes import Routes
from flowyard.store import event_lists

router = Routes(prefix="/events", tags=["Events"])
_UNITS = {
    TimeUnit.WEEK: timedelta(weeks=1),
    TimeUnit.DAY: timedelta(days=1),
    TimeUnit.HOUR: timedelta(hours=1),
    TimeUnit.MINUTE: timedelta(minutes=1),
    TimeUnit.SECOND: timedelta(seconds=1),
}


@router.post("", operation_id="create_events", status_code=status.HTTP_204_NO_CONTENT)
def create(events: list[Event], database: Database) -> None:
    """Store events; those that were stored before stay as they are."""
    with refused_as_invalid():
        take_events(database, events)


@router.post("/filter", operation_id="read_events", response_model=EventPage)
def read_many(
    request: Request,
    database: Database,
    filter: Annotated[EventFilter | None, Body()] = None,
    limit: Annotated[int, Body(ge=0, le=50)] = 50,
) -> Response:
    """Return the first page of the events that a filter takes."""
    where = filter or EventFilter()

    def query(connection: Connection) -> EventPage:
        found = event_lists.read_page(connection, database.dialect, where, limit=limit)
        total = event_lists.count(connection, database.dialect, where)
        page = EventPage(events=found, total=total, next_page=None)
        return _with_next(page, request, where, limit)

    return answers.one(database.read(query))


@router.get(
    "/filter/next",
    operation_id="read_account_events_page",
    name="next_page_of_events",
    response_model=EventPage,
)
def read_next(request: Request, database: Database, page_token: Annotated[str, Query(alias="page-token")]) -> Response:
    """Return the page of a token."""
    try:
        token = PageToken.decode(page_token)
    except ValueError as error:
        raise HTTPException(status.HTTP_403_FORBIDDEN, str(error)) from error
    found = database.read(
        lambda connection: event_lists.read_page(
            connection, database.dialect, token.filter, limit=token.limit, after=token.after
        )
    )
    page = EventPage(events=found, total=token.total, next_page=None)
    return answers.one(_with_next(page, request, token.filter, token.limit))


@router.post("/count-by/{countable}", operation_id="count_account_events", response_model=list[EventCount])
def count_by(
    countable: Countable,
    database: Database,
    filter: Annotated[EventFilter, Body()],
    time_unit: Annotated[TimeUnit, Body()] = TimeUnit.DAY,
    time_interval: Annotated[float, Body(ge=0.01, le=10_000)] = 1.0,
) -> Response:
    """Count events by day, by spans of time, by name, or by resource."""
    every = timedelta(days=1) if countable is Countable.DAY else _UNITS[time_unit] * time_interval
    with refused_as_invalid():
        found = database.read(
            lambda connection: event_lists.count_by(connection, database.dialect, filter, countable, every=every)
        )
    return answers.many(EventCount, found)


def _with_next(page: EventPage, request: Request, where: EventFilter, limit: int) -> EventPage:
    if page.events and len(page.events) == limit:
        last = page.events[-1]
        token = PageToken(filter=where, limit=limit, total=page.total, after=(last.occurred, last.id))
        address = request.url_for("next_page_of_events").include_query_params(**{"page-token": token.encode()})
        page.next_page = str(address)
    return page
