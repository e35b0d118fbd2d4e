"""Answers to a state that a client proposes."""

from __future__ import annotations

from collections.abc import Awaitable

from fastapi import Response, status
from fastapi.responses import JSONResponse

from flowyard.exceptions import ObjectNotFound
from flowyard.schemas.orchestration import OrchestrationResult
from flowyard.schemas.runs import utcnow
from flowyard.server import answers
from flowyard.server.received import answer_of


async def proposed(change: Awaitable[OrchestrationResult]) -> Response:
    """Wait for what becomes of a proposed state, and answer with it."""
    asked = utcnow()
    try:
        result = await change
    except ObjectNotFound as error:
        return missing(error)
    return answers.created(answer_of(result), is_new=result.state is not None and result.state.timestamp >= asked)


def missing(error: ObjectNotFound) -> Response:
    """Answer as Prefect 2 does where the rules look for the run themselves."""
    return JSONResponse({"exception_message": f"{error}"}, status.HTTP_404_NOT_FOUND)
