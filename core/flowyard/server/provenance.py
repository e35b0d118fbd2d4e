"""Who makes an object, as far as a request says."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Header

from flowyard.schemas.api.base import CreatedBy


async def _created_by(
    prefect_automation_id: Annotated[UUID | None, Header(include_in_schema=False)] = None,
    prefect_automation_name: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> CreatedBy | None:
    if prefect_automation_id is None:
        return None
    name = prefect_automation_name
    if name is not None:
        try:
            name = base64.b64decode(name, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            name = None
    return CreatedBy(id=prefect_automation_id, type="AUTOMATION", display_value=name)


Maker = Annotated[CreatedBy | None, Depends(_created_by)]
"""The automation that makes an object; None for everybody else."""
