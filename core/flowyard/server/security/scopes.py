"""What scope a request needs, by its method and path."""

from __future__ import annotations

import re

from flowyard.schemas.keys import Scope

OPEN = frozenset({"/api/health", "/api/ready", "/api/version", "/api/csrf-token"})
"""What anybody may ask: load balancers have no key."""

_READS_BY_POST = re.compile(r"/(filter|count|history|lateness|count-by/[^/]+|dashboard/counts|validate)/?$")
_RUNS = re.compile(
    r"^/api/(flows|flow_runs|task_runs|logs|artifacts|variables|journal|events|v2/concurrency_limits/\w+crement"
    r"|deployments/[^/]+/create_flow_run|work_pools/[^/]+/workers/heartbeat|work_queues/[^/]+/get_runs)(/|$)"
)
_DELETED_BY_RUNS = re.compile(r"^/api/(variables/|flow_runs/[^/]+/input/)")
_ADMIN_CALLS = re.compile(r"^/api/control/((runs|artifacts|blocks|limits)/delete|limits/(create|update)$)")
# Documents of blocks are read with their secrets.
_READING_CALLS = re.compile(
    r"^/api/control/(?!blocks/)\w+/(read|count|find|names$|holders$|forks$|reap_dead_runs$|subflow_runs_of$|task_run_counts$)"
)
_SECRETS = re.compile(r"(^|&)include_secrets=(?!false|0(&|$))", re.IGNORECASE)


def needed_scope(method: str, path: str, query: str = "") -> Scope:
    """Return the scope that a key must have for a request; what is not known here needs `admin`."""
    if path.startswith("/api/control/"):
        return _scope_of_call(path)
    # Polling for work marks workers and queues as alive.
    if path.endswith("/get_scheduled_flow_runs"):
        return Scope.RUN
    if method in ("GET", "HEAD", "OPTIONS") or (method == "POST" and _READS_BY_POST.search(path)):
        return Scope.RUN if "/block_documents" in path and _asks_for_secrets(method, query) else Scope.READ
    if method == "DELETE":
        return Scope.RUN if _DELETED_BY_RUNS.match(path) else Scope.ADMIN
    return Scope.RUN if _RUNS.match(path) else Scope.ADMIN


def _scope_of_call(path: str) -> Scope:
    """Return the scope that a call of the control plane by our own clients needs."""
    if _ADMIN_CALLS.match(path):
        return Scope.ADMIN
    return Scope.READ if _READING_CALLS.match(path) else Scope.RUN


def _asks_for_secrets(method: str, query: str) -> bool:
    # The filter of block documents asks for them in its body, which is not read here.
    return method == "POST" or bool(_SECRETS.search(query))
