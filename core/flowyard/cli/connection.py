"""Whether the server that settings name can be used."""

from __future__ import annotations

import ssl
import urllib.error
import urllib.request
from http import HTTPStatus

from flowyard.settings import Settings
from flowyard.settings.credentials import authorization

TIMEOUT_SECONDS = 5.0
"""A person waits; `FLOWYARD_API_REQUEST_TIMEOUT` is for programs."""


def find_problem(settings: Settings) -> str | None:
    """Ask the server for its health; return what is wrong as the end of a sentence, None if nothing is."""
    headers = authorization(settings.FLOWYARD_API_KEY, settings.FLOWYARD_API_AUTH_STRING)
    url = f"{settings.FLOWYARD_API_URL}".rstrip("/") + "/health"
    try:
        if not url.startswith(("http://", "https://")):
            return "is not an HTTP address"
        request = urllib.request.Request(url, headers=headers)
        tls = ssl.create_default_context(cafile=settings.FLOWYARD_API_SSL_CERT_FILE)
        if settings.FLOWYARD_API_TLS_INSECURE_SKIP_VERIFY:
            tls.check_hostname = False
            tls.verify_mode = ssl.CERT_NONE
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS, context=tls):
            return None
    except urllib.error.HTTPError as error:
        error.close()
        if error.code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            return "does not accept FLOWYARD_API_KEY"
        return f"answers {error.code} {error.reason}"
    except urllib.error.URLError as error:
        return f"cannot be reached: {error.reason}"
    except (OSError, ValueError) as error:
        return f"cannot be reached: {error}"
