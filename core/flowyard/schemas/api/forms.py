"""What forms ask about, as the REST API has it."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from flowyard.schemas.api.base import Body


class ValuesToCheck(Body):
    """Values, and the JSON schema that they are to fit."""

    # Not `schema`: models have an attribute of that name.
    json_schema: dict[str, Any] = Field(alias="schema")
    values: dict[str, Any]
