"""Where the next page of a list of events is: all that finds it, in a token, so that the server remembers nothing."""

from __future__ import annotations

import base64
import binascii
import zlib
from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, Field, ValidationError

from flowyard.schemas.api.events import EventFilter

_MOST_BYTES = 1_000_000


class PageToken(BaseModel):
    """A place in a list of events."""

    filter: EventFilter
    limit: Annotated[int, Field(ge=1, le=50)]
    total: int
    after: tuple[datetime, UUID]

    def encode(self) -> str:
        """Return the token as text that a URL can have."""
        return base64.urlsafe_b64encode(zlib.compress(self.model_dump_json(exclude_none=True).encode())).decode()

    @classmethod
    def decode(cls, text: str) -> PageToken:
        """Return what a token says.

        Raises:
            ValueError: it is not one that `encode` made.
        """
        try:
            plain = zlib.decompressobj().decompress(base64.urlsafe_b64decode(text), _MOST_BYTES)
            return cls.model_validate_json(plain)
        except (binascii.Error, zlib.error, ValidationError) as error:
            raise ValueError("the page token is none of this server's; read the list from its start") from error
