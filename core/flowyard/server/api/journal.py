"""What processes that run flows send: batches of their journals, and calls of the control plane. Ours, not Prefect's.

Bodies are msgpack, see `docs/reference/wire.md`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import HTTPException, Response, status
from fastapi.responses import JSONResponse

from flowyard.exceptions import BackendError
from flowyard.journal.reported import ReportedBatch
from flowyard.schemas.reports import RUNS, Batch
from flowyard.schemas.wire import decode_events
from flowyard.schemas.wire_values import unpackb
from flowyard.server import packed, questions
from flowyard.server.dependencies import Database
from flowyard.server.routes import Routes
from flowyard.store.leases import Advance, Owner
from flowyard.upcalls.calls import Question

router = Routes(tags=["Flowyard"])
_logger = logging.getLogger("flowyard.server")
_REASONS = {
    Advance.REFUSED: "the lease is not the current one: another process owns the flow run, or it was deleted",
    Advance.EARLY: "a batch before it has not come",
}


@router.post("/journal", operation_id="write_journal")
def write_journal(body: packed.Body, database: Database) -> Response:
    """Write batches of a process's journal, each whole or not at all, each once however often it comes.

    200: all are on disk, now or since before. 409: some were refused, named in `refused`; the others are on disk.
    """
    owner, batches = packed.opened(body, _batches)
    try:
        verdicts = database.take(owner, batches)
    except BackendError:
        raise
    except Exception as error:
        if database.is_unavailable(error):
            raise
        _logger.warning("refused batches of %s that cannot be stored: %s: %s", owner, type(error).__name__, error)
        detail = f"A batch cannot be stored, and none was: {type(error).__name__}: {error}"
        raise HTTPException(status.HTTP_422_UNPROCESSABLE_CONTENT, detail) from error
    refused = [
        {
            "index": index,
            "flow_run_id": None if batch.flow_run_id is None else str(batch.flow_run_id),
            "kind": verdict.name.lower(),
            "reason": _REASONS[verdict],
        }
        for index, (batch, verdict) in enumerate(zip(batches, verdicts, strict=True))
        if verdict in _REASONS
    ]
    content = {
        "accepted": verdicts.count(Advance.ACCEPTED),
        "repeated": verdicts.count(Advance.REPEATED),
        "refused": refused,
    }
    return JSONResponse(content, status.HTTP_409_CONFLICT if refused else status.HTTP_200_OK)


@router.post("/control/{noun}/{method}", operation_id="ask_control_plane")
def ask_control_plane(noun: str, method: str, body: packed.Body, database: Database) -> Response:
    """Call a method of the control plane; what it raises is in the answer, unless it may go better a little later."""
    owner, args, kwargs = packed.opened(body, _arguments)
    question = Question("" if noun == RUNS else noun, method, args, kwargs)
    return packed.answer(questions.answer(database.control_of(owner), question))


def _batches(owner: Owner, content: Any) -> tuple[Owner, list[ReportedBatch]]:
    return owner, [_batch(item) for item in content]


def _batch(item: object) -> ReportedBatch:
    if not isinstance(item, Batch):
        raise TypeError(f"{item!r:.100} is no batch")
    events: Any = unpackb(item.events)
    return ReportedBatch(item.flow_run_id, item.token, item.number, decode_events(events))


def _arguments(owner: Owner, content: Any) -> tuple[Owner, Sequence[Any], Mapping[str, Any]]:
    args, kwargs = content
    return owner, list(args), dict(kwargs)
