from __future__ import annotations

import json

import pytest

from flowyard.remote.csrf import CsrfToken
from flowyard.settings import Settings


def test_a_token_is_sent_when_a_server_has_asked_for_one() -> None:
    token = CsrfToken(Settings.from_env({}))
    assert token.headers == {}
    assert token.is_asking(403, b'{"detail":"Missing CSRF token."}')
    assert not token.is_asking(403, b'{"detail":"the key has no scope admin"}')
    assert not token.is_asking(422, b"Invalid CSRF token")
    token.take(json.dumps({"token": "abc", "client": "me", "expiration": "2030-01-01T00:00:00Z"}).encode())
    assert token.headers["Prefect-Csrf-Token"] == "abc"
    assert token.path == f"/csrf-token?client={token.headers['Prefect-Csrf-Client']}"


def test_a_client_that_is_told_not_to_never_asks_for_a_token() -> None:
    token = CsrfToken(Settings.from_env({"FLOWYARD_CLIENT_CSRF_SUPPORT_ENABLED": "false"}))
    assert not token.is_asking(403, b"Missing CSRF token.")


@pytest.mark.parametrize("content", [b"", b"<html>", b"[]", b"{}"])
def test_an_answer_without_a_token_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="no CSRF token"):
        CsrfToken(Settings.from_env({})).take(content)
