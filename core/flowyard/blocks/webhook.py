"""A block that calls an HTTP address."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr

from flowyard.blocks.core import Block
from flowyard.blocks.fields import SecretDict

if TYPE_CHECKING:
    import httpx


class Webhook(Block):
    """An HTTP address that can be called, with headers.

    Example:
        from flowyard.blocks.webhook import Webhook

        Webhook(url="https://example.com/hook").save("example")
        response = await Webhook.load("example").call({"status": "done"})
    """

    _is_protected: ClassVar[bool] = True

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "POST"
    url: SecretStr
    """The whole address; many have a key in them."""
    allow_private_urls: bool = True
    """False refuses addresses of this machine and of private networks."""
    headers: SecretDict = Field(default_factory=lambda: SecretDict({}))

    async def call(self, payload: dict[str, Any] | None = None) -> httpx.Response:
        """Send a JSON payload and return the response, whatever its status.

        Raises:
            ValueError: the address is private, and those are not allowed.
        """
        import httpx  # noqa: PLC0415  50 ms that only a call needs

        url = self.url.get_secret_value()
        if not self.allow_private_urls:
            await asyncio.to_thread(_refuse_private, url)
        headers = {key: str(value) for key, value in self.headers.get_secret_value().items()}
        async with httpx.AsyncClient() as client:
            return await client.request(self.method, url, json=payload, headers=headers)


def _refuse_private(url: str) -> None:
    """Look the host up and refuse it when any of its addresses is not a public one."""
    host = urlsplit(url).hostname or ""
    try:
        found = {entry[4][0] for entry in socket.getaddrinfo(host, None)}
    except OSError:
        raise ValueError(f"the webhook's host {host!r} cannot be found; check its url") from None
    for address in found:
        if not ipaddress.ip_address(str(address).partition("%")[0]).is_global:
            raise ValueError(
                f"the webhook's host {host!r} has the private address {address}; set `allow_private_urls=True` to "
                "call it"
            )
