"""`flowyard server start`: places where it cannot listen."""

from __future__ import annotations

import socket

import pytest

from flowyard.testing.cli import invoke_and_assert


@pytest.mark.usefixtures("home")
def test_a_place_where_nobody_can_listen_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        for port, cause in ((taken.getsockname()[1], "in use"), (99_999, "0-65535")):
            said = [f"127.0.0.1:{port}", cause, "--port"]
            invoke_and_assert(["server", "start", "--port", str(port)], expected_code=1, expected_output_contains=said)
