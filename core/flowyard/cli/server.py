"""`flowyard server`: what belongs to the server; so far its database."""

from __future__ import annotations

from flowyard.cli.lazy import LazyCommand, command_group, lazy_group

COMMANDS = {
    "database": LazyCommand("flowyard.cli.database", "Upgrade, downgrade and reset the state database."),
}

app = command_group("Manage the server's database.", lazy_group(COMMANDS))


@app.callback()
def group() -> None:
    """Manage the server's database."""
