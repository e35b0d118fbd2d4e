"""A span for each request that a server answers, in the trace of who sent it."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flowyard.telemetry import HEADER, TELEMETRY

_NAME = HEADER.encode()


class Traced:
    """The middleware that makes them."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request pass."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        place = next((value.decode("latin-1") for name, value in scope["headers"] if name == _NAME), "")
        method: str = scope["method"]
        with TELEMETRY.request_span(method, place) as span:

            async def noting(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.set_attribute("http.response.status_code", message["status"])
                await send(message)

            await self._app(scope, receive, noting)
            # The template, not the path: ids would make a name of every request.
            route = getattr(scope.get("route"), "path", None)
            if route is not None:
                span.update_name(f"{method} {route}")
                span.set_attribute("http.route", route)
