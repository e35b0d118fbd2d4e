"""The check of the tokens that `/csrf-token` gives out, for whatever changes something."""

from __future__ import annotations

from typing import Annotated

from anyio import to_thread
from fastapi import Header, HTTPException, status
from fastapi.requests import HTTPConnection
from sqlalchemy.engine import Connection

from flowyard.schemas.runs import utcnow
from flowyard.server.gateway import Gateway
from flowyard.store import csrf_tokens

_CHANGING = frozenset({"POST", "PUT", "PATCH", "DELETE"})


# Async, because FastAPI runs what is not on a thread, which every request would wait for.
async def check_csrf(
    request: HTTPConnection,
    prefect_csrf_token: Annotated[str | None, Header(include_in_schema=False)] = None,
    prefect_csrf_client: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> None:
    """Refuse a change whose token is not that of its client, if the settings say so."""
    gateway: Gateway = request.app.state.gateway
    if request.scope.get("method") not in _CHANGING or not gateway.settings.FLOWYARD_SERVER_CSRF_PROTECTION_ENABLED:
        return
    # Clients of Prefect 2 look for these words.
    if prefect_csrf_token is None:
        raise HTTPException(status.HTTP_403_FORBIDDEN, "Missing CSRF token.")
    if prefect_csrf_client is None:
        raise HTTPException(status.HTTP_403_FORBIDDEN, "Missing client identifier.")
    client, token = prefect_csrf_client, prefect_csrf_token
    now = utcnow()

    def is_good(connection: Connection) -> bool:
        return csrf_tokens.is_good(connection, client, token, now=now)

    if not await to_thread.run_sync(gateway.read, is_good):
        raise HTTPException(status.HTTP_403_FORBIDDEN, "Invalid CSRF token or client identifier.")
