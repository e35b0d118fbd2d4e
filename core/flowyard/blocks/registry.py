"""Block classes by slug: those that this process has defined or imported, and those that are installed."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import EntryPoint, PackageNotFoundError, distribution, entry_points, packages_distributions
from typing import TYPE_CHECKING, Any

from flowyard.exceptions import UnknownPlugin

if TYPE_CHECKING:
    from flowyard.blocks.core import Block

GROUP = "flowyard.blocks"
COLLECTIONS = "flowyard.collections"


def find_block_class(base: type[Block], slug: str, *, origin: str | None = None) -> type[Block]:
    """Return the class of a block type. Modules are imported only for a slug that this process does not know.

    Args:
        base: `Block` itself.
        slug: of the type.
        origin: where its class was when the block was saved, for the message.

    Raises:
        UnknownPlugin: no such class is installed; says which package had it.
    """
    found = known_class(base, slug)
    if found is not None:
        return found
    points = {point.name: point for point in entry_points(group=GROUP)}
    if slug in points:
        points[slug].load()
    else:
        for point in entry_points(group=COLLECTIONS):
            point.load()
    found = known_class(base, slug)
    if found is not None:
        return found
    hint = f"its class was {origin}: install that package, or import the module first" if origin else ""
    if not hint:
        hint = "import the module that defines it, or install the package that has it"
    raise UnknownPlugin("block type", slug, tuple(sorted({*points, *known_slugs(base)})), hint)


def known_class(base: type[Block], slug: str) -> type[Block] | None:
    """Return the class of that slug which this process defined last; None when there is none."""
    found = None
    for kind in subclasses(base):
        if is_concrete(kind) and kind.get_block_type_slug() == slug:
            found = kind
    return found


def known_slugs(base: type[Block]) -> set[str]:
    """Return the slugs of all classes that this process has defined or imported."""
    return {kind.get_block_type_slug() for kind in subclasses(base) if is_concrete(kind)}


def installed_block_types() -> list[EntryPoint]:
    """Return the block types that installed packages offer, in the order of their slugs."""
    return sorted(entry_points(group=GROUP), key=lambda point: point.name)


def subclasses(base: type[Block]) -> Iterator[type[Block]]:
    """Yield the classes below a class, those first that were defined first among siblings."""
    for kind in base.__subclasses__():
        yield kind
        yield from subclasses(kind)


def is_concrete(kind: type[Any]) -> bool:
    """Say whether objects of a block class can be made and saved."""
    return not inspect.isabstract(kind) and bool(getattr(kind, "__pydantic_complete__", False))


def origin_of(kind: type[Any]) -> str:
    """Return where a class is: `module:Class (distribution version)`."""
    where = f"{kind.__module__}:{kind.__qualname__}"
    root = kind.__module__.partition(".")[0]
    if root == "__main__":
        file = getattr(sys.modules["__main__"], "__file__", None)
        return f"{where} ({file})" if file else where
    try:
        found = distribution(root.replace("_", "-"))
    except PackageNotFoundError:
        names = _distributions().get(root)
        if not names:
            return where
        found = distribution(names[0])
    return f"{where} ({found.metadata['Name']} {found.version})"


@functools.cache
def _distributions() -> Mapping[str, list[str]]:
    """Return the distributions of each top-level module. To look into all that is installed takes half a second."""
    return packages_distributions()
