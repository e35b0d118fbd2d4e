"""Storage that is a saved block: found by its name or id, in any process."""

from __future__ import annotations

import sys
from typing import Any
from uuid import UUID

from flowyard.exceptions import FlowyardError
from flowyard.filesystems.contract import WritableFiles
from flowyard.filesystems.folder import LocalFiles


def load_storage(reference: str | UUID, option: str) -> WritableFiles:
    """Return the block of a ``"type/name"`` or an id.

    Raises:
        ValueError: it cannot be loaded; names the option, and says why.
        TypeError: it is no storage.
    """
    # Here, because a plain script has no block, and their machinery takes 100 ms to import.
    from flowyard.blocks import documents  # noqa: PLC0415
    from flowyard.blocks.core import Block  # noqa: PLC0415
    from flowyard.process.control import control_plane  # noqa: PLC0415

    try:
        block = documents.load_from_ref(control_plane().blocks, Block, reference)
    except (FlowyardError, LookupError, ValueError) as error:
        raise ValueError(f"{option} names a block that cannot be loaded: {error}") from error
    if not isinstance(block, WritableFiles):
        raise TypeError(f"{option} names a {type(block).__name__} block, which keeps no files")
    return block


def saved_id(storage: Any) -> UUID | None:
    """Return the id by which other processes find a storage; a block that has none is saved without a name.

    None for a folder, which is found by its path, and for what is no block.
    """
    core = sys.modules.get("flowyard.blocks.core")
    if core is None or not isinstance(storage, core.Block):
        return None
    known: UUID | None = storage._block_document_id  # pyright: ignore[reportPrivateUsage, reportUnknownMemberType, reportUnknownVariableType, reportAttributeAccessIssue]
    if known is not None or isinstance(storage, LocalFiles):
        return known  # pyright: ignore[reportUnknownVariableType]
    from flowyard.blocks import documents  # noqa: PLC0415
    from flowyard.process.control import control_plane  # noqa: PLC0415

    return documents.save(control_plane().blocks, storage, None, overwrite=False)
