"""How routes read bodies of several fields: null is the same as leaving a field out.

Clients of Prefect 2 send every field of a list's body, null for what they do not want to say. In the body of a single
object null stays what it is: a value.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, cast

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from typing_extensions import override

# What FastAPI calls the model that it makes of several body parameters.
_MADE_OF_PARAMETERS = "Body_"


class _WithoutNulls(Request):
    @override
    async def json(self) -> Any:
        body = await super().json()
        if not isinstance(body, dict):
            return body
        return {name: value for name, value in cast("dict[str, Any]", body).items() if value is not None}


class Route(APIRoute):
    """A route whose body of several fields may have nulls."""

    @override
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        annotation: Any = None if self.body_field is None else self.body_field.field_info.annotation
        if not getattr(annotation, "__name__", "").startswith(_MADE_OF_PARAMETERS):
            return handle

        async def without_nulls(request: Request) -> Response:
            return await handle(_WithoutNulls(request.scope, request.receive))

        return without_nulls


class Routes(APIRouter):
    """The routes of a noun."""

    def __init__(self, *, prefix: str = "", tags: list[str] | None = None) -> None:
        super().__init__(prefix=prefix, tags=cast("Any", tags), route_class=Route)
