"""What is installed, as Prefect 2's registry of collections would show it; nothing is fetched from anywhere."""

from __future__ import annotations

from typing import Any

from fastapi import HTTPException, status

from flowyard.server.collections import VIEWS, block_metadata, worker_metadata
from flowyard.server.dependencies import Database
from flowyard.server.routes import Routes

router = Routes(prefix="/collections", tags=["Collections"])


@router.get("/views/{view}", operation_id="read_view_content")
def read_view(view: str, database: Database) -> dict[str, Any]:
    """Return a view; those of flows are empty, because no package here comes with flows."""
    if view not in VIEWS:
        raise HTTPException(status.HTTP_404_NOT_FOUND, f"View {view} not found; there are {', '.join(VIEWS)}")
    if view == "aggregate-block-metadata":
        return block_metadata(database.control.blocks)
    return worker_metadata() if view == "aggregate-worker-metadata" else {}
