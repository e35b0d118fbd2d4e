"""Renews the leases of a process at the server, from a child process; see `lease_children`."""

from __future__ import annotations

import json
import logging
import os
import ssl
import sys
import urllib.error
import urllib.request
import uuid
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from flowyard.services.lease_children import LeaseChild, renew_until_the_parent_ends
from flowyard.settings import Settings
from flowyard.settings.credentials import authorization

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
        api = f"{settings.FLOWYARD_API_URL}".rstrip("/")
        target = {
            "url": url,
            "tokens": f"{api}/csrf-token?client=" if settings.FLOWYARD_CLIENT_CSRF_SUPPORT_ENABLED else None,
            "authorization": authorization(settings.FLOWYARD_API_KEY, settings.FLOWYARD_API_AUTH_STRING),
            "certificates": settings.FLOWYARD_API_SSL_CERT_FILE,
            "is_unchecked": settings.FLOWYARD_API_TLS_INSECURE_SKIP_VERIFY,
            "body": body.hex(),
        }
        super().__init__("flowyard.services.remote_lease_keeper", secrets={_TARGET_VARIABLE: json.dumps(target)})


def keep(target: Mapping[str, Any], parent: int) -> None:
    """Renew leases until the pipe `parent` is closed at its other end."""
    renewal = Renewal(target)

    def attempt() -> None:
        try:
            renewal()
        except (OSError, ValueError, KeyError) as error:
            # The server may be back before the leases end; if not, it gives them some time when it starts. The parent
            # says that it is away.
            _logger.debug("could not renew the leases: %s", error)

    renew_until_the_parent_ends(attempt, parent)


class Renewal:
    """Renews the leases once, whenever it is called.

    Args:
        target: where, and what to send.
    """

    def __init__(self, target: Mapping[str, Any]) -> None:
        self._target = target
        self._client = uuid.uuid4().hex
        self._token: dict[str, str] = {}

    def __call__(self) -> None:
        """Renew the leases; with a new CSRF token if the server wants one.

        Raises:
            OSError: the server does not answer, or refuses.
            ValueError, KeyError: it gives what is no token.
        """
        body = bytes.fromhex(self._target["body"])
        try:
            self._send(self._target["url"], body)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code != HTTPStatus.FORBIDDEN or self._target["tokens"] is None:
                raise
            made = json.loads(self._send(self._target["tokens"] + self._client, None))
            self._token = {"Prefect-Csrf-Client": self._client, "Prefect-Csrf-Token": made["token"]}
            self._send(self._target["url"], body)

    def _send(self, url: str, body: bytes | None) -> bytes:
        target = self._target
        headers = {"Content-Type": "application/msgpack", **target["authorization"], **self._token}
        # The standard library's client: loading httpx would take longer than all that this process does.
        request = urllib.request.Request(url, body, headers)
        tls = ssl.create_default_context(cafile=target["certificates"])
        if target["is_unchecked"]:
            tls.check_hostname = False
            tls.verify_mode = ssl.CERT_NONE
        with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS, context=tls) as answer:
            return answer.read()


if __name__ == "__main__":
    keep(json.loads(os.environ[_TARGET_VARIABLE]), sys.stdin.fileno())
