"""Endpoints that are called without FastAPI's solver, which takes longer than most queries.

For each request FastAPI asks anew what each parameter of an endpoint and of its dependencies is: 300 microseconds for
the state of a run, whose change takes 100. Here that is asked once. A request that is not in order is left to FastAPI,
which says what is wrong with it; so is every endpoint that has more than paths, a body and what takes the request.
"""

from __future__ import annotations

import inspect
import json
import typing
from collections.abc import Awaitable, Callable, Mapping
from functools import cached_property, partial
from typing import Annotated, Any, cast, get_args, get_origin

from anyio import to_thread
from fastapi import Response
from fastapi.params import Body, Depends
from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.types import Message, Receive, Scope

from flowyard.server.dependencies import check_api_version
from flowyard.server.security.csrf import check_csrf

_Endpoint = Callable[..., Any]
_NEEDED: Any = inspect.Parameter.empty


class _Unusual(Exception):
    """Something in a request is not in order: let FastAPI look at it."""


class _Reader:
    """Reads the arguments of an endpoint from requests.

    Args:
        endpoint: of a route.
        path_names: the parameters in its path.

    Raises:
        TypeError: the endpoint has a parameter of another kind.
    """

    def __init__(self, endpoint: _Endpoint, path_names: frozenset[str]) -> None:
        hints = typing.get_type_hints(endpoint, include_extras=True)
        if hints.get("return") is not Response:
            raise TypeError("what it returns is written by FastAPI")
        self._of_request: dict[str, Callable[[Request], Awaitable[Any]]] = {}
        self._of_path: dict[str, TypeAdapter[Any]] = {}
        self._of_body: dict[str, tuple[TypeAdapter[Any], Any]] = {}
        self._body: tuple[str, type[BaseModel]] | None = None
        for name, parameter in inspect.signature(endpoint).parameters.items():
            hint = hints[name]
            extras = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
            if name in path_names:
                self._of_path[name] = TypeAdapter(hint)
            elif _is_model(hint):
                self._body = (name, hint)
            elif len(extras) == 1 and isinstance(extras[0], Depends):
                self._of_request[name] = _taking_request(extras[0])
            elif len(extras) == 1 and isinstance(extras[0], Body) and extras[0].alias is None:
                self._of_body[name] = (TypeAdapter(hint), parameter.default)
            else:
                raise TypeError(f"{name} is of another kind")
        # One field of a body is the body, unless it says otherwise.
        if len(self._of_body) == 1 or (self._of_body and self._body is not None):
            raise TypeError("the body is of another kind")
        self.has_body = bool(self._of_body) or self._body is not None

    async def read(self, request: Request) -> dict[str, Any]:
        """Return the arguments for a request.

        Raises:
            _Unusual: it has not all that is needed, or something else.
        """
        # In the order in which FastAPI looks at them: the first that is refused is answered.
        await check_api_version(request, request.headers.get("x-prefect-api-version"))
        await check_csrf(request)
        values: dict[str, Any] = {}
        for name, find in self._of_request.items():
            values[name] = await find(request)
        try:
            for name, kind in self._of_path.items():
                values[name] = kind.validate_python(request.path_params[name])
            if self.has_body:
                await self._read_body(request, values)
        except (ValidationError, json.JSONDecodeError) as error:
            raise _Unusual from error
        return values

    async def _read_body(self, request: Request, values: dict[str, Any]) -> None:
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise _Unusual
        body: Any = await request.json()
        if self._body is not None:
            name, kind = self._body
            values[name] = kind.model_validate(body)
            return
        if not isinstance(body, dict):
            raise _Unusual
        sent = cast("Mapping[str, Any]", body)
        for name, (adapter, default) in self._of_body.items():
            if name in sent:
                values[name] = adapter.validate_python(sent[name])
            elif default is _NEEDED:
                raise _Unusual
            else:
                values[name] = default


class Direct:
    """Calls the endpoint of a route.

    Args:
        endpoint: what answers.
        path_names: the parameters in the path of the route.
        request_of: makes the request that reads its body as the route does.
    """

    def __init__(
        self, endpoint: _Endpoint, path_names: frozenset[str], request_of: Callable[[Scope, Receive], Request]
    ) -> None:
        self._endpoint = endpoint
        self._path_names = path_names
        self._request_of = request_of
        self._is_async = inspect.iscoroutinefunction(endpoint)

    @cached_property
    def _reader(self) -> _Reader | None:
        # At the first request: to make them for all routes would hold up the start of the server.
        try:
            return _Reader(self._endpoint, self._path_names)
        except TypeError:
            return None

    async def answer(self, scope: Scope, receive: Receive) -> tuple[Response | None, Receive]:
        """Return the answer to a request, or None if FastAPI has to give it; and what it can be read from then."""
        reader = self._reader
        if reader is None:
            return None, receive
        request = self._request_of(scope, receive)
        try:
            values = await reader.read(request)
        except _Unusual:
            return None, await _again(request, receive) if reader.has_body else receive
        except ClientDisconnect:
            return None, receive
        if self._is_async:
            return await self._endpoint(**values), receive
        return await to_thread.run_sync(partial(self._endpoint, **values)), receive


async def _again(request: Request, receive: Receive) -> Receive:
    """Return what gives the body of a request once more."""
    messages: list[Message] = [{"type": "http.request", "body": await request.body(), "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay


def _is_model(hint: Any) -> bool:
    return inspect.isclass(hint) and issubclass(hint, BaseModel)


def _taking_request(depends: Depends) -> Callable[[Request], Awaitable[Any]]:
    """Return a dependency that takes the request alone.

    Raises:
        TypeError: it takes something else.
    """
    find: Any = depends.dependency
    if not inspect.iscoroutinefunction(find):
        raise TypeError(f"{find} is of another kind")
    hints = typing.get_type_hints(find)
    hints.pop("return", None)
    if len(hints) != 1 or not issubclass(next(iter(hints.values())), HTTPConnection):
        raise TypeError(f"{find} takes more than the request")
    return find
