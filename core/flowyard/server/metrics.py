"""What the server tells Prometheus: requests, how long they took, and how much the writer has to do.

Each process has its own numbers: with `--workers` a scrape sees one of them.
"""

from __future__ import annotations

import time
from dataclasses import asdict

from fastapi import APIRouter, FastAPI, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, Info, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flowyard._version import __version__
from flowyard.services.retention import Deleted

router = APIRouter(tags=["Operations"])
_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


class Metrics:
    """The numbers of one server process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "flowyard_requests", "Requests answered.", ["method", "route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "flowyard_request_seconds",
            "Time until a request was answered.",
            ["method", "route"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._passes = Counter(
            "flowyard_service_passes",
            "Runs of a service of the server.",
            ["service", "outcome"],
            registry=self.registry,
        )
        self._pass_seconds = Counter(
            "flowyard_service_seconds", "Time that they took.", ["service"], registry=self.registry
        )
        self._deleted = Counter(
            "flowyard_retention_deleted", "Objects deleted because they were too old.", ["kind"], registry=self.registry
        )
        Info("flowyard", "The server.", registry=self.registry).info({"version": __version__})

    def count_pass(self, service: str, seconds: float, has_failed: bool) -> None:
        """Note a run of a service."""
        self._passes.labels(service, "failed" if has_failed else "done").inc()
        self._pass_seconds.labels(service).inc(seconds)

    def count_deleted(self, deleted: Deleted) -> None:
        """Note what was deleted because it was too old."""
        for kind, number in asdict(deleted).items():
            self._deleted.labels(kind).inc(number)

    def text(self) -> bytes:
        """Return all numbers as Prometheus reads them."""
        return generate_latest(self.registry)


class Measured:
    """The middleware that counts requests; about 10 microseconds each."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request pass, and note what became of it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.perf_counter()
        status = 500

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            # The template, not the path: ids would make a time series of every request.
            # Versions of FastAPI differ in whether it has the prefix of the router.
            route = getattr(scope.get("route"), "path", "(none)").removeprefix("/api")
            self._metrics.requests.labels(scope["method"], route, str(status)).inc()
            self._metrics.seconds.labels(scope["method"], route).observe(time.perf_counter() - start)


@router.get("/metrics", include_in_schema=False)
async def metrics(request: Request) -> Response:
    """Answer a scrape of Prometheus."""
    found: Metrics = request.app.state.metrics
    return Response(found.text(), media_type=CONTENT_TYPE_LATEST)


def install(app: FastAPI) -> None:
    """Let an application count its requests, and answer scrapes at `/metrics`."""
    app.state.metrics = Metrics()
    app.include_router(router)
    app.add_middleware(Measured, metrics=app.state.metrics)
