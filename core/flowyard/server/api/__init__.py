"""The routes, one module a noun."""

from __future__ import annotations

from flowyard.server.api import (
    artifacts,
    block_documents,
    block_schemas,
    block_types,
    concurrency_limits,
    deployment_runs,
    deployment_schedules,
    deployments,
    flow_run_inputs,
    flow_run_states,
    flow_runs,
    flows,
    global_limits,
    graphs,
    histories,
    journal,
    logs,
    root,
    task_run_states,
    task_runs,
    ui,
    variables,
    work_pools,
    work_queues,
)

ROUTERS = (
    root.router,
    flows.router,
    flow_runs.router,
    flow_run_inputs.router,
    graphs.router,
    histories.flow_runs,
    histories.task_runs,
    flow_run_states.router,
    task_runs.router,
    task_run_states.router,
    logs.router,
    ui.flow_runs,
    ui.task_runs,
    journal.router,
    concurrency_limits.router,
    global_limits.router,
    block_types.router,
    block_documents.router,
    artifacts.router,
    block_schemas.router,
    block_schemas.capabilities_router,
    variables.router,
    deployments.router,
    deployment_runs.router,
    deployment_schedules.router,
    work_pools.router,
    work_queues.router,
)
"""Every router of the API, in the order of its documentation."""

__all__ = ["ROUTERS"]
