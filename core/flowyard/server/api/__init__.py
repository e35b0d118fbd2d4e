"""The routes, one module a noun."""

from __future__ import annotations

from flowyard.server.api import (
    artifacts,
    block_documents,
    block_schemas,
    block_types,
    concurrency_limits,
    flow_runs,
    flows,
    global_limits,
    journal,
    root,
    task_runs,
    variables,
)

ROUTERS = (
    root.router,
    flows.router,
    flow_runs.router,
    task_runs.router,
    journal.router,
    concurrency_limits.router,
    global_limits.router,
    block_types.router,
    block_documents.router,
    artifacts.router,
    block_schemas.router,
    block_schemas.capabilities_router,
    variables.router,
)
"""Every router of the API, in the order of its documentation."""

__all__ = ["ROUTERS"]
