"""The token that a server may ask of whoever changes something. No I/O: who sends requests sends these too."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus

from flowyard.schemas.ids import new_id
from flowyard.settings import Settings

_NOTHING: Mapping[str, str] = {}
# What servers, Prefect 2's too, say to a change without a token, with one that is over, and without a client.
_WORDS = ("CSRF token", "client identifier")


class CsrfToken:
    """What one client knows of its token: nothing until a server refuses a change for want of one. Thread-safe.

    A change is sent with `headers`. If its answer `is_asking`, `path` is read, its content given to `take`, and the
    change sent once more: the server has not looked at it.
    """

    def __init__(self, settings: Settings) -> None:
        self._is_supported = settings.FLOWYARD_CLIENT_CSRF_SUPPORT_ENABLED
        self._client = str(new_id())
        self.headers = _NOTHING
        """What to send with a change; empty as long as no server has asked for a token."""

    @property
    def path(self) -> str:
        """Where a new token is read (GET), after the address of the API."""
        return f"/csrf-token?client={self._client}"

    def is_asking(self, status_code: int, content: bytes) -> bool:
        """Say whether an answer asks for a token, or for a new one."""
        if not self._is_supported or status_code != HTTPStatus.FORBIDDEN:
            return False
        text = content.decode(errors="replace")
        return any(words in text for words in _WORDS)

    def take(self, content: bytes) -> None:
        """Take the answer to reading `path`.

        Raises:
            ValueError: it is not one.
        """
        try:
            token = str(json.loads(content)["token"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{content[:200]!r} is no CSRF token") from error
        self.headers = {"Prefect-Csrf-Token": token, "Prefect-Csrf-Client": self._client}
