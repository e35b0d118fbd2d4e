"""The server as a process: where it listens, with what it speaks, and what it refuses to do."""

from __future__ import annotations

import gc
import ipaddress
import os
import socket
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.config import LOGGING_CONFIG
from uvicorn.supervisors import Multiprocess

from flowyard.exceptions import ServerNotStarted
from flowyard.logging.configuration import setup_logging
from flowyard.logging.formatters import JsonLineFormatter
from flowyard.server.app import create_app, needs_authentication
from flowyard.settings import Settings, get_current_settings

_GRACE_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server listens; the port 0 takes a free one."""

    host: str
    port: int

    def url(self, *, is_secure: bool) -> str:
        """Return the address of the API as a client on this machine writes it."""
        host = "127.0.0.1" if self.host in ("0.0.0.0", "") else f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if is_secure else 'http'}://{host}:{self.port}/api"


def serve(
    settings: Settings, place: Place, *, workers: int = 1, on_listening: Callable[[str], None] | None = None
) -> None:
    """Listen until a signal says to stop; requests that are being answered get ten seconds.

    Args:
        settings: what the server goes by.
        place: where it listens.
        workers: processes that answer; more than one read them from the environment, with the current profile.
        on_listening: called with the address of the API when requests are accepted.

    Raises:
        ServerNotStarted: the place cannot be used, or would be open to everybody.
    """
    check_open_to_whom(settings, place)
    listening = _listen(place)
    place = Place(place.host, listening.getsockname()[1])
    cert_file, key_file = settings.FLOWYARD_SERVER_TLS_CERT_FILE, settings.FLOWYARD_SERVER_TLS_KEY_FILE
    config = uvicorn.Config(
        # Processes import it by name; one alone takes the settings that are given.
        "flowyard.server.serve:app_of_worker" if workers > 1 else _made_app(settings),
        factory=workers > 1,
        workers=workers,
        log_level=settings.FLOWYARD_LOGGING_SERVER_LEVEL.lower(),
        log_config=_log_config(settings),
        timeout_keep_alive=settings.FLOWYARD_SERVER_API_KEEPALIVE_TIMEOUT,
        timeout_graceful_shutdown=_GRACE_SECONDS,
        ssl_certfile=cert_file,
        ssl_keyfile=key_file,
        ws="websockets-sansio",
        server_header=False,
    )
    if on_listening is not None:
        on_listening(place.url(is_secure=cert_file is not None))
    with listening:
        if workers > 1:
            Multiprocess(config, sockets=[listening]).run()
        else:
            uvicorn.Server(config).run(sockets=[listening])


def app_of_worker() -> FastAPI:
    """Return the application of one of several processes."""
    return _made_app(get_current_settings())


def _log_config(settings: Settings) -> dict[str, Any]:
    """Return how uvicorn logs: as it does by itself, or in JSON as all others do."""
    config = deepcopy(LOGGING_CONFIG)
    if settings.FLOWYARD_LOGGING_FORMAT == "json":
        formatter = {"()": f"{JsonLineFormatter.__module__}.{JsonLineFormatter.__name__}"}
        config["formatters"] = dict.fromkeys(config["formatters"], formatter)
    return config


def _made_app(settings: Settings) -> FastAPI:
    setup_logging()
    app = create_app(settings, with_services=True)
    # What routes are made of stays for the life of the process: looking through it for garbage would hold every request
    # up for a tenth of a second now and then.
    gc.freeze()
    return app


def check_open_to_whom(settings: Settings, place: Place) -> None:
    """Refuse to let everybody in by accident.

    Raises:
        ServerNotStarted: the place can be reached from other machines and requests need no key.
    """
    if needs_authentication(settings) or settings.FLOWYARD_SERVER_API_AUTH is False or _is_loopback(place.host):
        return
    raise ServerNotStarted(
        f"{place.host}:{place.port}",
        "everybody who reaches this address could run and change everything: requests need no key",
        "make a key (flowyard server key create NAME) and set FLOWYARD_SERVER_API_AUTH=true, listen on 127.0.0.1, or "
        "set FLOWYARD_SERVER_API_AUTH=false if something else keeps strangers out",
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _listen(place: Place) -> socket.socket:
    family = socket.AF_INET6 if ":" in place.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name != "nt":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((place.host, place.port))
        listening.listen(2048)
    except (OSError, OverflowError) as error:
        listening.close()
        raise ServerNotStarted(
            f"{place.host}:{place.port}",
            getattr(error, "strerror", None) or str(error),
            "stop what listens there (flowyard server stop), or choose another place with --host and --port",
        ) from error
    listening.set_inheritable(True)
    return listening
