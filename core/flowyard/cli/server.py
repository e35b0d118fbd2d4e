"""`flowyard server`: start it, stop it, and manage its keys and its database."""

from __future__ import annotations

from flowyard.cli.lazy import LazyCommand, command_group, lazy_group

COMMANDS = {
    "start": LazyCommand("flowyard.cli.server_start", "Start a server."),
    "stop": LazyCommand("flowyard.cli.server_stop", "Stop the server that runs in the background."),
    "key": LazyCommand("flowyard.cli.server_key", "Make, list and revoke API keys."),
    "database": LazyCommand("flowyard.cli.database", "Upgrade, downgrade and reset the state database."),
}

app = command_group("Start and stop a server, and manage its keys and its database.", lazy_group(COMMANDS))


@app.callback()
def group() -> None:
    """Start and stop a server, and manage its keys and its database."""
