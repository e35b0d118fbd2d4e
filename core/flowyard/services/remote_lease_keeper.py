"""Renews the leases of a process at the server, from a child process; see `lease_children`."""

from __future__ import annotations

import json
import logging
import os
import ssl
import sys
import urllib.request
from collections.abc import Mapping
from typing import Any

from flowyard.services.lease_children import LeaseChild, renew_until_the_parent_ends
from flowyard.settings import Settings

_TARGET_VARIABLE = "FLOWYARD_LEASE_KEEPER_TARGET"
_TIMEOUT_SECONDS = 10.0
_logger = logging.getLogger("flowyard.lease_keeper")


class RemoteLeaseKeeper(LeaseChild):
    """The child process that renews leases at a server.

    Args:
        settings: how to reach the server.
        url: what to send the request to.
        body: of the request that renews the leases.
    """

    def __init__(self, settings: Settings, url: str, body: bytes) -> None:
        target = {
            "url": url,
            "key": settings.FLOWYARD_API_KEY,
            "certificates": settings.FLOWYARD_API_SSL_CERT_FILE,
            "is_unchecked": settings.FLOWYARD_API_TLS_INSECURE_SKIP_VERIFY,
            "body": body.hex(),
        }
        super().__init__("flowyard.services.remote_lease_keeper", secrets={_TARGET_VARIABLE: json.dumps(target)})


def keep(target: Mapping[str, Any], parent: int) -> None:
    """Renew leases until the pipe `parent` is closed at its other end."""

    def attempt() -> None:
        try:
            renew(target)
        except (OSError, ValueError) as error:
            # The server may be back before the leases end; if not, it gives them some time when it starts. The parent
            # says that it is away.
            _logger.debug("could not renew the leases: %s", error)

    renew_until_the_parent_ends(attempt, parent)


def renew(target: Mapping[str, Any]) -> None:
    """Renew the leases once.

    Raises:
        OSError: the server does not answer.
    """
    headers = {"Content-Type": "application/msgpack"}
    if target["key"]:
        headers["Authorization"] = f"Bearer {target['key']}"
    # The standard library's client: loading httpx would take longer than all that this process does.
    request = urllib.request.Request(target["url"], bytes.fromhex(target["body"]), headers)
    tls = ssl.create_default_context(cafile=target["certificates"])
    if target["is_unchecked"]:
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE
    with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS, context=tls) as answer:
        answer.read()


if __name__ == "__main__":
    keep(json.loads(os.environ[_TARGET_VARIABLE]), sys.stdin.fileno())
