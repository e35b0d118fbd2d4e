"""A group of commands that imports the module of a command when the command is used.

`flowyard --help` lists names and one line each from a table, so it costs the same however many commands there are.
"""

from __future__ import annotations

import gc
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import typer
from typer.core import TyperGroup
from typer.main import get_command

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint


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


def lazy_group(
    commands: Mapping[str, LazyCommand], *, base: type[TyperGroup] = TyperGroup, add_ons: str | None = None
) -> type[TyperGroup]:
    """Return a group class for `typer.Typer(cls=...)`.

    Args:
        commands: the commands, in the order of the help.
        base: the class to derive from.
        add_ons: entry-point group in which other distributions name a `typer.Typer` for each command they add.
    """
    modules = {name: command.module for name, command in commands.items()}
    modules |= {alias: command.module for command in commands.values() for alias in command.aliases}

    class LazyGroup(base):
        def __init__(self, **attributes: Any) -> None:
            super().__init__(**attributes)
            # What a mistyped name is compared with.
            self.commands = cast("Any", dict.fromkeys(commands))

        def list_commands(self, ctx: Any) -> list[str]:
            return [*commands, *sorted(_added(add_ons, modules))]

        def get_command(self, ctx: Any, cmd_name: str) -> Any:
            if cmd_name in modules:
                return get_command(cast("typer.Typer", _imported(modules[cmd_name]).app))
            # The metadata of all packages (20 ms) is read only for the help and for names that are not built in.
            entry = _added(add_ons, modules).get(cmd_name)
            return None if entry is None else get_command(cast("typer.Typer", entry.load()))

        def format_commands(self, ctx: Any, formatter: Any) -> None:
            with formatter.section("Commands"):
                formatter.write_dl([(name, command.help) for name, command in commands.items()])
            added = _added(add_ons, modules)
            if added:
                with formatter.section("Commands of add-ons"):
                    formatter.write_dl([(name, f"From {_origin(added[name])}.") for name in sorted(added)])

    return LazyGroup


def _imported(module: str) -> Any:
    """Import a module without looking for garbage meanwhile: nearly all of what it makes stays.

    The routes of the server are 160,000 objects, and looking through them again and again is a fifth of its start.
    """
    is_collecting = gc.isenabled()
    gc.disable()
    try:
        return importlib.import_module(module)
    finally:
        if is_collecting:
            gc.enable()


def _added(group: str | None, built_in: Mapping[str, str]) -> dict[str, EntryPoint]:
    """Return the commands that other distributions add; a built-in one is never replaced."""
    if group is None:
        return {}
    from importlib.metadata import entry_points  # noqa: PLC0415  30 ms that a built-in command does not need

    return {entry.name: entry for entry in entry_points(group=group) if entry.name not in built_in}


def _origin(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else entry.value
