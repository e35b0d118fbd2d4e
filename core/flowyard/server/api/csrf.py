"""Tokens that keep a page of somebody else from changing things here with the browser of somebody who may."""

from __future__ import annotations

from typing import Annotated

from fastapi import HTTPException, Query, Response, status

from flowyard.schemas.api.csrf import CsrfToken
from flowyard.schemas.runs import utcnow
from flowyard.server import answers
from flowyard.server.dependencies import Database
from flowyard.server.routes import Routes
from flowyard.store import csrf_tokens

router = Routes(tags=["CSRF"])


@router.get("/csrf-token", operation_id="create_csrf_token", response_model=CsrfToken)
def create(client: Annotated[str, Query(max_length=255)], database: Database) -> Response:
    """Return a new token for a client; the one it had is not good any more."""
    settings = database.settings
    if not settings.FLOWYARD_SERVER_CSRF_PROTECTION_ENABLED:
        raise HTTPException(status.HTTP_422_UNPROCESSABLE_CONTENT, "CSRF protection is disabled.")
    made = database.change(
        lambda connection: csrf_tokens.renew(
            connection,
            database.dialect,
            client,
            lifetime=settings.FLOWYARD_SERVER_CSRF_TOKEN_EXPIRATION,
            now=utcnow(),
        )
    )
    return answers.one(made)
