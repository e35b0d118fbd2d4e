"""The command line, `flowyard`. Importing this loads no command, no database library and no rich."""

from flowyard.cli.root import app

__all__ = ["app"]
