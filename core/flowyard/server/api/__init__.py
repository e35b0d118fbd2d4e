"""The routes, one module a noun."""

from __future__ import annotations

from flowyard.server.api import flows, journal, root

ROUTERS = (root.router, flows.router, journal.router)
"""Every router of the API, in the order of its documentation."""

__all__ = ["ROUTERS"]
