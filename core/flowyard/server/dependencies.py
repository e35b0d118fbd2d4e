"""What routes ask FastAPI for: the database, the page of a list, and the version of the client.

All of it `async`, although nothing waits: what is not, FastAPI runs on a thread, which takes longer than most queries.
"""

from __future__ import annotations

import re
from typing import Annotated, Any
from uuid import UUID

from fastapi import Body, Depends, Header, HTTPException, Request, status
from starlette.requests import HTTPConnection

from flowyard.server.gateway import Gateway
from flowyard.store.ordering import Page

API_VERSION = "0.8.4"
"""The version of Prefect 2's REST API that this server speaks."""
_OLDEST = (0, 8, 0)
_FOR_ANY_VERSION = ("/api/health", "/api/version")


async def gateway_of(request: Request) -> Gateway:
    """Return the database of the server that answers."""
    return request.app.state.gateway


Database = Annotated[Gateway, Depends(gateway_of)]


async def _limit(gateway: Database, limit: Annotated[int | None, Body(embed=True)] = None) -> int:
    most = gateway.settings.FLOWYARD_API_DEFAULT_LIMIT
    if limit is None:
        return most
    if not 0 <= limit <= most:
        bound = f"must be less than or equal to {most}" if limit > most else "must be greater than or equal to 0"
        raise HTTPException(status.HTTP_422_UNPROCESSABLE_CONTENT, f"Invalid limit: {bound}; it is {limit}.")
    return limit


Limit = Annotated[int, Depends(_limit)]
"""How many objects of a list the client wants; at most, and by default, FLOWYARD_API_DEFAULT_LIMIT."""
Offset = Annotated[int, Body(ge=0)]
"""How many objects of a list the client skips."""


async def _page(limit: Limit, offset: Offset = 0, after: Annotated[UUID | None, Body()] = None) -> Page:
    return Page(limit, offset, after)


PageOf = Annotated[Page, Depends(_page)]
"""Which part of a list the client wants. What comes after an object is found without reading what came before."""


async def check_api_version(
    request: HTTPConnection, x_prefect_api_version: Annotated[str | None, Header()] = None
) -> None:
    """Refuse a client that is older than the API, but tell everybody that the server answers, and which API it has."""
    if x_prefect_api_version is None or request.url.path in _FOR_ANY_VERSION:
        return
    match = re.fullmatch(r"(\d+)\.(\d+)\.(\d+)", x_prefect_api_version)
    if match is None:
        detail = f"Invalid X-PREFECT-API-VERSION header format: {x_prefect_api_version!r} is not of the form 1.2.3"
        raise HTTPException(status.HTTP_400_BAD_REQUEST, detail)
    if tuple(int(part) for part in match.groups()) < _OLDEST:
        oldest = ".".join(map(str, _OLDEST))
        detail = f"Client specified API version {x_prefect_api_version}; this server needs at least {oldest}"
        raise HTTPException(status.HTTP_400_BAD_REQUEST, detail)


async def _speaks_prefect(request: Request) -> bool:
    return request.headers.get("user-agent", "").startswith("prefect/")


SpeaksPrefect = Annotated[bool, Depends(_speaks_prefect)]
"""Whether the client is Prefect 2's, which takes less than ours in some places."""


def changes_of(body: Any) -> dict[str, Any]:
    """Return the fields of an update that the client has set."""
    return {name: getattr(body, name) for name in body.model_fields_set}
