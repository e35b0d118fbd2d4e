"""How API keys are made and recognised.

A key is 32 random bytes behind a prefix that tells which one it is. Such a key cannot be guessed, so one SHA-256 is
enough to store; what makes password hashes slow would be paid by every request.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from datetime import datetime, timedelta

from flowyard.schemas.ids import new_id
from flowyard.schemas.keys import ApiKey, Scope

_FORM = re.compile(r"(fyd_[0-9a-f]{12})_[A-Za-z0-9_-]{43}")


def make_key(name: str, scope: Scope, *, now: datetime, lifetime: timedelta | None = None) -> tuple[ApiKey, str]:
    """Return what is stored of a new key, and the key, which nobody can read again."""
    prefix = f"fyd_{secrets.token_hex(6)}"
    text = f"{prefix}_{secrets.token_urlsafe(32)}"
    expires = None if lifetime is None else now + lifetime
    return ApiKey(new_id(), name, scope, prefix, _digest(text), now, expires), text


def prefix_of(text: str) -> str | None:
    """Return the part of a key by which it is looked up; None when it is not of the form of a key."""
    match = _FORM.fullmatch(text)
    return match and match.group(1)


def is_key(key: ApiKey, text: str, *, now: datetime) -> bool:
    """Say whether `text` is this key and still good; takes the same time however much of it is right."""
    return hmac.compare_digest(key.digest, _digest(text)) and key.is_good(now)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
