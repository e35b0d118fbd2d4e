"""The check of the tokens that `/csrf-token` gives out, for whatever changes something."""

from __future__ import annotations

from anyio import to_thread
from fastapi import HTTPException, status
from fastapi.requests import HTTPConnection
from sqlalchemy.engine import Connection

from flowyard.schemas.runs import utcnow
from flowyard.server.gateway import Gateway
from flowyard.store import csrf_tokens

_CHANGING = frozenset({"POST", "PUT", "PATCH", "DELETE"})


# Async, because FastAPI runs what is not on a thread, which every request would wait for.
# Headers that are no part of the document are read by hand: as parameters they take 40 microseconds of each request.
async def check_csrf(request: HTTPConnection) -> None:
    """Refuse a change whose token is not that of its client, if the settings say so."""
    gateway: Gateway = request.app.state.gateway
    if request.scope.get("method") not in _CHANGING or not gateway.settings.FLOWYARD_SERVER_CSRF_PROTECTION_ENABLED:
        return
    token, client = request.headers.get("prefect-csrf-token"), request.headers.get("prefect-csrf-client")
    # Clients of Prefect 2 look for these words.
    if token is None:
        raise HTTPException(status.HTTP_403_FORBIDDEN, "Missing CSRF token.")
    if client is None:
        raise HTTPException(status.HTTP_403_FORBIDDEN, "Missing client identifier.")
    now = utcnow()

    def is_good(connection: Connection) -> bool:
        return csrf_tokens.is_good(connection, client, token, now=now)

    if not await to_thread.run_sync(gateway.read, is_good):
        raise HTTPException(status.HTTP_403_FORBIDDEN, "Invalid CSRF token or client identifier.")
