"""The block types that are built in, known to the database without anybody having saved a block."""

from __future__ import annotations

from flowyard.blocks.core import Block
from flowyard.blocks.documents import register
from flowyard.blocks.registry import installed_block_types
from flowyard.ports.blocks import BlockStore


def register_system_blocks(store: BlockStore) -> int:
    """Bring the built-in block types and their schemas up to date, and return how many there are.

    Only classes that come with Flowyard are imported; those of other packages are registered where they are used.
    """
    kinds: list[type[Block]] = [
        point.load() for point in installed_block_types() if point.value.startswith("flowyard.")
    ]
    for kind in kinds:
        register(store, kind)
    return len(kinds)
