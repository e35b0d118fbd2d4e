"""How a client says to a server who it is."""

from __future__ import annotations

import base64


def authorization(api_key: str | None, auth_string: str | None) -> dict[str, str]:
    """Return the header that carries a key or, without one, `user:password`; none without both."""
    if api_key:
        return {"Authorization": f"Bearer {api_key}"}
    if auth_string:
        return {"Authorization": f"Basic {base64.b64encode(auth_string.encode()).decode()}"}
    return {}
