"""How routes are found and what they all check, and how they read bodies.

What is nested too deeply is refused, and nulls mean nothing where a body has several fields.

Clients of Prefect 2 send every field of a list's body, null for what they do not want to say. In the body of a single
object null stays what it is: a value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Coroutine, Iterable
from functools import cached_property
from typing import Any, cast

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, Response, status
from fastapi.routing import APIRoute
from starlette.routing import Match
from starlette.types import Receive, Scope, Send
from typing_extensions import override

from flowyard.server.dependencies import check_api_version
from flowyard.server.direct import Direct
from flowyard.server.security.csrf import check_csrf
from flowyard.store.encoding import storable_json

# What FastAPI calls the model that it makes of several body parameters.
_MADE_OF_PARAMETERS = "Body_"
# Escapes of NUL, and of halves of characters, most of which have their other half.
_UNSTORABLE = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")
_CONTAINERS = (dict, list)
MOST_LEVELS = 200
"""Of nesting; answers with more than 255 cannot be written."""


class _Bounded(Request):
    @override
    async def json(self) -> Any:
        try:
            body = await super().json()
        except RecursionError as error:
            raise _too_deep() from error
        except json.JSONDecodeError:
            raise  # FastAPI's answer says where
        except ValueError as error:  # a number of more than 4,300 digits, bytes that are no text
            detail = f"The body cannot be read as JSON: {error}"
            raise HTTPException(status.HTTP_422_UNPROCESSABLE_CONTENT, detail) from error
        if _depth(body) > MOST_LEVELS:
            raise _too_deep()
        # What no database keeps is replaced before anything is made of it, so that answers say what was stored.
        return storable_json(body) if _UNSTORABLE.search(await self.body()) else body


class _WithoutNulls(_Bounded):
    @override
    async def json(self) -> Any:
        body = await super().json()
        if not isinstance(body, dict):
            return body
        return {name: value for name, value in cast("dict[str, Any]", body).items() if value is not None}


class Route(APIRoute):
    """A route whose body of several fields may have nulls."""

    @cached_property
    def _beginning(self) -> str:
        return self.path.partition("{")[0]

    @override
    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        # A request tries 200 routes one after another, and the paths of most begin otherwise. `in`, because the path
        # can have the one in front that an application is mounted at.
        if self._beginning not in scope["path"]:
            return Match.NONE, {}
        return super().matches(scope)

    @cached_property
    def _direct(self) -> Direct:
        return Direct(self.endpoint, frozenset(self.param_convertors), self._kind_of_request)

    @property
    def _kind_of_request(self) -> type[Request]:
        if self.body_field is None:
            return Request
        annotation: Any = self.body_field.field_info.annotation
        has_fields = getattr(annotation, "__name__", "").startswith(_MADE_OF_PARAMETERS)
        return _WithoutNulls if has_fields else _Bounded

    @override
    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] in (self.methods or ()):
            answer, receive = await self._direct.answer(scope, receive)
            if answer is not None:
                await answer(scope, receive, send)
                return
        await super().handle(scope, receive, send)

    @override
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        kind = self._kind_of_request
        if kind is Request:
            return handle

        async def bounded(request: Request) -> Response:
            return await handle(kind(request.scope, request.receive))

        return bounded


class Routes(APIRouter):
    """The routes of a noun, under `/api`; see `install`."""

    def __init__(self, *, prefix: str = "", tags: list[str] | None = None) -> None:
        super().__init__(
            prefix=f"/api{prefix}",
            tags=cast("Any", tags),
            dependencies=[Depends(check_api_version), Depends(check_csrf)],
            route_class=Route,
        )


def install(app: FastAPI, routers: Iterable[Routes]) -> None:
    """Let an application answer the routes of all nouns.

    They become its own. FastAPI would analyse those of an included router once more, half a second in all, and look
    through all included routers for each request, which takes longer than most queries.
    """
    for router in routers:
        app.router.routes.extend(router.routes)


def _depth(body: Any) -> int:
    """Return how many objects and lists are in one another; not counted further than `MOST_LEVELS` + 1."""
    level: list[Any] = [body] if type(body) in _CONTAINERS else []
    depth = 0
    while level and depth <= MOST_LEVELS:
        depth += 1
        level = [
            inner
            for outer in level
            for inner in (outer.values() if outer.__class__ is dict else outer)
            if type(inner) in _CONTAINERS
        ]
    return depth


def _too_deep() -> HTTPException:
    detail = f"The body is nested too deeply: more than {MOST_LEVELS} objects and lists are in one another."
    return HTTPException(status.HTTP_422_UNPROCESSABLE_CONTENT, detail)
