"""A group of commands that imports the module of a command when the command is used.

`flowyard --help` lists names and one line each from a table, so it costs the same however many commands there are.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import typer
from typer.core import TyperGroup
from typer.main import get_command


@dataclass(frozen=True, slots=True)
class LazyCommand:
    """Where a command or a group is."""

    module: str
    """Module with a `typer.Typer` named `app`; with one command and no callback it is that command."""
    help: str
    aliases: tuple[str, ...] = ()
    """Other names, which the help does not list."""


def command_group(help: str, cls: type[TyperGroup] = TyperGroup) -> typer.Typer:
    """Return an empty group of commands with the manners of this command line."""
    return typer.Typer(cls=cls, help=help, no_args_is_help=True, rich_markup_mode=None, add_completion=False)


def lazy_group(commands: Mapping[str, LazyCommand], *, base: type[TyperGroup] = TyperGroup) -> type[TyperGroup]:
    """Return a group class for `typer.Typer(cls=...)` that has the given commands."""
    modules = {name: command.module for name, command in commands.items()}
    modules |= {alias: command.module for command in commands.values() for alias in command.aliases}

    class LazyGroup(base):
        def __init__(self, **attributes: Any) -> None:
            super().__init__(**attributes)
            # What the group lists, and what it compares a mistyped name with; loaded commands replace the None.
            self.commands = cast("Any", dict.fromkeys(commands))

        def list_commands(self, ctx: Any) -> list[str]:
            return list(commands)

        def get_command(self, ctx: Any, cmd_name: str) -> Any:
            module = modules.get(cmd_name)
            if module is None:
                return None
            return get_command(cast("typer.Typer", importlib.import_module(module).app))

        def format_commands(self, ctx: Any, formatter: Any) -> None:
            with formatter.section("Commands"):
                formatter.write_dl([(name, command.help) for name, command in commands.items()])

    return LazyGroup
