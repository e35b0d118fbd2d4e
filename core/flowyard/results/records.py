"""Results that another process recorded."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import PurePath
from typing import Any
from uuid import UUID

from flowyard.exceptions import MissingResult
from flowyard.filesystems.contract import ReadableFiles
from flowyard.filesystems.folder import Folder, LocalFiles
from flowyard.results.blob import BlobHeader
from flowyard.results.blocks import load_storage
from flowyard.results.factory import run_folder
from flowyard.results.handles import LiteralResult, PersistedResult, UnpersistedResult
from flowyard.results.reading import Opened
from flowyard.results.storage import location_of
from flowyard.schemas.states import ResultHandle
from flowyard.schemas.unknown_result import UnknownResult
from flowyard.settings import get_current_settings


def result_from_record(record: Mapping[str, Any], storage: ReadableFiles) -> ResultHandle[Any]:
    """Return the handle that `to_record` described; `storage` is the default one of the reader's settings.

    Raises:
        ValueError: the record is of a kind that this version does not know.
    """
    kind = record.get("type")
    if kind == "unpersisted":
        return UnpersistedResult()
    if kind == "literal":
        value = record.get("value")
        return LiteralResult(UUID(value) if isinstance(value, str) else value, fingerprint=record.get("fingerprint"))
    if kind == "unknown":
        return UnknownResult()
    if kind == "reference":
        key: str = record["storage_key"]
        block_id = record.get("storage_block_id")
        if block_id is not None:
            storage = load_storage(UUID(block_id), f"the record of result {key!r}")
        elif PurePath(key).is_absolute():
            storage = Folder()  # a folder that was given as an object: the key says all
        return PersistedResult(
            storage=storage,
            storage_key=key,
            serializer_type=record["serializer_type"],
            storage_block_id=None if block_id is None else UUID(block_id),
            size=record.get("size"),
            value_type=record.get("value_type"),
            checksum=record.get("checksum"),
            fingerprint=record.get("fingerprint"),
        )
    raise ValueError(
        f"a result of type {kind!r} is not known to this version of Flowyard; upgrade it to read {record!r}"
    )


def recorded_value(record: Mapping[str, Any]) -> Any:
    """Return the value that a record is about; a storage that it does not name is the one of the settings.

    Raises:
        MissingResult: it was not persisted, or its file is gone or damaged.
    """
    return result_from_record(record, Folder(basepath=str(get_current_settings().FLOWYARD_LOCAL_STORAGE_PATH))).get()


def stored_results(
    storage: LocalFiles, flow_run_id: UUID, signing_key: str | None = None, *, known: Collection[str] = ()
) -> Iterator[tuple[str, BlobHeader]]:
    """Yield the key and the header of every readable result in a flow run's folder: one listing, no value is read.

    A result whose run's state never reached the journal counts as what its header says. Damaged files are left out:
    their tasks run again. With a signing key those that it did not sign count as damaged. Files whose keys are `known`
    are not opened.
    """
    for key in storage.iter_paths(run_folder(flow_run_id)):
        if key in known:
            continue
        try:
            with storage.open_file(key) as file:
                yield key, Opened(file, location_of(storage, key), signing_key).header
        except (MissingResult, FileNotFoundError):
            continue
