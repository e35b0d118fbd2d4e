"""What a client gets when its request fails; bodies and statuses are Prefect 2.20's (see `docs/reference/api`)."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Generator
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response, status
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from flowyard.exceptions import (
    BackendUnavailable,
    BlockCycle,
    FilterTooLong,
    ObjectAlreadyExists,
    ObjectNotFound,
    ProtectedBlockError,
    RecordsNotDurable,
    ValueNotStorable,
)
from flowyard.store.encoding import to_json

_logger = logging.getLogger("flowyard.server")
# What clients of Prefect 2 match on are the names of pydantic 1.
_OLD_TYPES = {
    "missing": "value_error.missing",
    "extra_forbidden": "value_error.extra",
    "enum": "type_error.enum",
    "json_invalid": "value_error.jsondecode",
    "string_type": "type_error.str",
    "bool_type": "type_error.bool",
    "bool_parsing": "type_error.bool",
    "int_type": "type_error.integer",
    "int_parsing": "type_error.integer",
    "int_from_float": "type_error.integer",
    "float_type": "type_error.float",
    "float_parsing": "type_error.float",
    "list_type": "type_error.list",
    "dict_type": "type_error.dict",
    "model_type": "type_error.dict",
    "model_attributes_type": "type_error.dict",
    "uuid_type": "type_error.uuid",
    "uuid_parsing": "type_error.uuid",
    "datetime_type": "type_error.datetime",
    "datetime_parsing": "value_error.datetime",
    "datetime_from_date_parsing": "value_error.datetime",
    "literal_error": "value_error.const",
    "greater_than_equal": "value_error.number.not_ge",
    "less_than_equal": "value_error.number.not_le",
    "greater_than": "value_error.number.not_gt",
    "string_too_long": "value_error.any_str.max_length",
    "string_too_short": "value_error.any_str.min_length",
}


def install(app: FastAPI) -> None:
    """Give an app the answers to what its routes raise."""
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(ObjectNotFound, _not_found)
    app.add_exception_handler(ObjectAlreadyExists, _conflict)
    app.add_exception_handler(BlockCycle, _conflict)
    app.add_exception_handler(ValueNotStorable, _unusable)
    app.add_exception_handler(OverflowError, _unusable)
    app.add_exception_handler(FilterTooLong, _too_long)
    app.add_exception_handler(ProtectedBlockError, _forbidden)
    app.add_exception_handler(BackendUnavailable, _unavailable)
    app.add_exception_handler(RecordsNotDurable, _unavailable)
    app.add_exception_handler(Exception, _unexpected)


@contextlib.contextmanager
def refused_as_invalid() -> Generator[None]:
    """Answer with 422 what the rules refuse about a value in the block."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise HTTPException(status.HTTP_422_UNPROCESSABLE_CONTENT, str(error)) from error


def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    details = [
        {
            "loc": detail["loc"],
            "msg": detail["msg"],
            "type": _OLD_TYPES.get(detail["type"], "value_error"),
            **({"ctx": _shown(detail["ctx"])} if detail.get("ctx") else {}),
        }
        for detail in error.errors()
    ]
    body = {
        "exception_message": "Invalid request received.",
        "exception_detail": details,
        "request_body": error.body,
    }
    # Not `JSONResponse`: what is wrong may be that the body has what JSON does not, NaN or half a character.
    content = to_json(jsonable_encoder(body))
    return Response(content, status.HTTP_422_UNPROCESSABLE_CONTENT, media_type="application/json")


def _shown(context: dict[str, Any]) -> dict[str, Any]:
    return {name: str(value) if isinstance(value, Exception) else value for name, value in context.items()}


def _not_found(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": f"{error}"}, status.HTTP_404_NOT_FOUND)


def _unusable(request: Request, error: Exception) -> JSONResponse:
    # Numbers and times come from requests; if it was not this one's, the log says where from.
    _logger.warning("%s %s: %s", request.method, request.url.path, error, exc_info=error)
    detail = f"A value of the request cannot be used: {error}"
    return JSONResponse({"detail": detail}, status.HTTP_422_UNPROCESSABLE_CONTENT)


def _too_long(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": f"{error}"}, status.HTTP_422_UNPROCESSABLE_CONTENT)


def _conflict(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": f"{error}"}, status.HTTP_409_CONFLICT)


def _forbidden(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": f"{error}"}, status.HTTP_403_FORBIDDEN)


def _unavailable(request: Request, error: Exception) -> JSONResponse:
    cause = error.__cause__
    if isinstance(cause, Exception) and request.app.state.gateway.is_broken(cause):
        return _unexpected(request, cause)  # who tries again gets the same
    _logger.warning("%s %s: %s", request.method, request.url.path, error)
    body = {"exception_message": "Service Unavailable"}
    # Passing: clients of Prefect 2 and ours try again after it.
    return JSONResponse(body, status.HTTP_503_SERVICE_UNAVAILABLE, headers={"Retry-After": "1"})


def _unexpected(request: Request, error: Exception) -> JSONResponse:
    _logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return JSONResponse({"exception_message": "Internal Server Error"}, status.HTTP_500_INTERNAL_SERVER_ERROR)
