"""Whether the server is there, and which one it is."""

from __future__ import annotations

from fastapi import status
from fastapi.responses import JSONResponse
from sqlalchemy import text

from flowyard._version import __version__
from flowyard.exceptions import BackendUnavailable
from flowyard.server.dependencies import API_VERSION, Database
from flowyard.server.routes import Routes

router = Routes(tags=["Root"])


@router.get("/health", operation_id="health_check")
async def health() -> bool:
    """Say that the server answers; it does not look at the database."""
    return True


@router.get("/version", operation_id="orion_info")
async def version() -> str:
    """Return the version of the REST API."""
    return API_VERSION


@router.get("/hello", operation_id="hello")
async def hello() -> str:
    """Greet."""
    return "👋"


@router.get("/ready", operation_id="perform_readiness_check")
def ready(database: Database) -> JSONResponse:
    """Say whether the database answers."""
    try:
        database.read(lambda connection: connection.execute(text("SELECT 1")).scalar())
    except BackendUnavailable:
        return JSONResponse({"message": "Database is not available"}, status.HTTP_503_SERVICE_UNAVAILABLE)
    return JSONResponse({"message": "OK"})


@router.get("/admin/version", operation_id="read_version", tags=["Admin"])
async def package_version() -> str:
    """Return the version of Flowyard."""
    return __version__
