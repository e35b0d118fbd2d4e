"""The block classes of a module or file. Loads pydantic and what the module loads."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from flowyard.blocks.core import Block
from flowyard.blocks.documents import register_with_inner
from flowyard.blocks.registry import is_concrete
from flowyard.cli.invocation import CommandFailed
from flowyard.exceptions import ScriptError
from flowyard.ports import ControlPlane
from flowyard.schemas.blocks import BlockTypeRecord


def find(*, module: str | None, file: Path | None) -> list[type[Block]]:
    """Import a module or a file and return the block classes in it, in the order of their slugs.

    Raises:
        CommandFailed: there is no such module, or no such file.
        ScriptError: it raised while it was loaded.
    """
    loaded = _import_file(file) if file is not None else _import_module(module or "")
    kinds = {
        value
        for value in vars(loaded).values()
        if isinstance(value, type) and issubclass(value, Block) and value is not Block and is_concrete(value)
    }
    return sorted(kinds, key=lambda kind: kind.get_block_type_slug())


def register(control: ControlPlane, kinds: Sequence[type[Block]]) -> list[BlockTypeRecord]:
    """Register classes, with those in their fields, and return their types as they are stored."""
    for kind in kinds:
        register_with_inner(control.blocks, kind)
    return [control.blocks.read_type(kind.get_block_type_slug()) for kind in kinds]


def _import_module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise CommandFailed(f"There is no module {name!r}; install it, or give its file with --file.") from error
        raise ScriptError(error, name) from error
    except Exception as error:
        raise ScriptError(error, name) from error


def _import_file(file: Path) -> ModuleType:
    if file.suffix != ".py":
        raise CommandFailed(f"{str(file)!r} is not a Python file; give one that ends in .py.")
    if not file.is_file():
        raise CommandFailed(f"There is no file {str(file)!r}.")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None, "a .py file always has a loader"
    assert spec.loader is not None, "a .py file always has a loader"
    loaded = importlib.util.module_from_spec(spec)
    # pydantic looks the names in annotations up there.
    sys.modules[file.stem] = loaded
    try:
        spec.loader.exec_module(loaded)
    except Exception as error:
        raise ScriptError(error, str(file)) from error
    return loaded
