"""Answers made without FastAPI's second validation, which takes longer than the query for a list of 200 runs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from types import GenericAlias
from typing import Any, cast

from fastapi import Response, status
from pydantic import BaseModel, TypeAdapter


def one(model: BaseModel, status_code: int = status.HTTP_200_OK) -> Response:
    """Answer with an object."""
    return Response(model.model_dump_json(), status_code, media_type="application/json")


def many(kind: type[BaseModel], models: Sequence[BaseModel], status_code: int = status.HTTP_200_OK) -> Response:
    """Answer with a list of objects of one kind."""
    return Response(_list_of(kind).dump_json(list(models)), status_code, media_type="application/json")


def written(body: bytes) -> Response:
    """Answer with JSON that is written already."""
    return Response(body, media_type="application/json")


def created(model: BaseModel, *, is_new: bool) -> Response:
    """Answer with an object that was made now (201), or was there already (200)."""
    return one(model, status.HTTP_201_CREATED if is_new else status.HTTP_200_OK)


@cache
def _list_of(kind: type[BaseModel]) -> TypeAdapter[Any]:
    # Written as a call: type checkers take `list[kind]` for a type of their own.
    return TypeAdapter(cast("Any", GenericAlias(list, (kind,))))
