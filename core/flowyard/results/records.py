"""Results that another process recorded."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Container, Iterator, Mapping
from functools import lru_cache
from io import BytesIO
from typing import Any, NamedTuple
from uuid import UUID

from flowyard.exceptions import CorruptResult, MissingResult
from flowyard.filesystems.contract import ListedFiles, ReadableFiles
from flowyard.filesystems.folder import Folder, LocalFiles
from flowyard.results.blob import BlobHeader
from flowyard.results.blocks import load_storage
from flowyard.results.factory import run_folder
from flowyard.results.handles import ONLY_HERE, LiteralResult, PersistedResult, UnpersistedResult
from flowyard.results.packs import SUFFIX, iter_frames
from flowyard.results.reading import BinaryFile, Opened
from flowyard.results.storage import list_files, location_of, open_file
from flowyard.schemas.recorded_result import RecordedResult
from flowyard.schemas.states import ResultHandle
from flowyard.schemas.unknown_result import UnknownResult
from flowyard.settings import get_current_settings


def result_from_record(record: Mapping[str, Any], storage: ReadableFiles) -> ResultHandle[Any]:
    """Return the handle that `to_record` described; `storage` is the default one of the reader's settings.

    Raises:
        MissingResult: the value is in a storage that only the process can read that made it.
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
        elif ONLY_HERE in record and isinstance(storage, LocalFiles):
            raise MissingResult(
                f"the value {key!r} was kept in a {record[ONLY_HERE]} object, which only the process has that made it; "
                "to read it elsewhere, make that class a block (a `flowyard.filesystems.WritableFileSystem`), "
                "or name a folder as `result_storage`"
            )
        elif os.path.isabs(key):
            storage = _ANYWHERE  # a folder that was given as an object: the key says all
        return PersistedResult(
            storage=storage,
            storage_key=key,
            serializer_type=record["serializer_type"],
            storage_block_id=None if block_id is None else UUID(block_id),
            size=record.get("size"),
            value_type=record.get("value_type"),
            checksum=record.get("checksum"),
            fingerprint=record.get("fingerprint"),
            offset=record.get("offset"),
        )
    raise ValueError(
        f"a result of type {kind!r} is not known to this version of Flowyard; upgrade it to read {record!r}"
    )


def recorded_value(record: Mapping[str, Any]) -> Any:
    """Return the value that a record is about; a storage that it does not name is the one of the settings.

    Raises:
        MissingResult: it was not persisted, or its file is gone or damaged.
    """
    return result_from_record(record, _folder(str(get_current_settings().FLOWYARD_LOCAL_STORAGE_PATH))).get()


def loss_of(data: object) -> str | None:
    """Return what became of a value that was kept in a folder, if it cannot be read any more; None if it can.

    Only folders are looked into, a few microseconds each. Elsewhere a value is missed when it is asked for.
    """
    try:
        handle = data
        if type(data) is RecordedResult:  # one that was read ahead is there
            block_id = data.record.get("storage_block_id")
            if block_id is not None and not isinstance(_block(block_id), LocalFiles):
                return None
            handle = result_from_record(data.record, _folder(str(get_current_settings().FLOWYARD_LOCAL_STORAGE_PATH)))
        if isinstance(handle, PersistedResult) and isinstance(handle.storage, LocalFiles):
            if handle.has_cached_object():
                return None
            handle.header()
    except FileNotFoundError as error:
        return f"its result is gone: {error}"
    except CorruptResult as error:
        return str(error)
    except (MissingResult, ValueError, TypeError):  # not to be had now, but perhaps when it is needed
        return None
    return None


@lru_cache(8)
def _block(block_id: str) -> ReadableFiles:
    return load_storage(UUID(block_id), "the record of a result")  # a query, for each of ten thousand results


@lru_cache(8)
def _folder(basepath: str) -> Folder:
    return Folder(basepath=basepath)  # 10 microseconds to make, as much as a small value takes to read


_ANYWHERE = Folder()


def _pass_by(_key: str, _offset: int, _content: bytes) -> None:
    pass


class StoredResult(NamedTuple):
    """A result that was found in the folder of its flow run."""

    key: str
    header: BlobHeader
    offset: int | None = None
    """Where in the file it is, if that is a pack."""


def stored_results(
    storage: ListedFiles,
    flow_run_id: UUID,
    signing_key: str | None = None,
    *,
    known: Container[tuple[str, int | None]] = (),
    on_known: Callable[[str, int, bytes], None] = _pass_by,
) -> Iterator[StoredResult]:
    """Yield every readable result in a flow run's folder: one listing, no value is read.

    A result whose run's state never reached the journal counts as what its header says. Damaged ones are left out:
    their tasks run again. With a signing key those that it did not sign count as damaged. Those whose key and offset
    are `known` are left out too; those that are in packs, and intact, are handed to `on_known`: key, offset, bytes.

    Raises:
        ResultStorageFailed: the storage does not answer.
    """
    for key in list_files(storage, run_folder(flow_run_id)):
        if (key, None) in known:
            continue
        try:
            with open_file(storage, key) as file:
                if key.endswith(SUFFIX):
                    yield from _in_pack(file, storage, key, signing_key, known, on_known)
                else:
                    yield StoredResult(key, Opened(file, location_of(storage, key), signing_key).header)
        except (MissingResult, FileNotFoundError):
            continue


def _in_pack(
    file: BinaryFile,
    storage: ListedFiles,
    key: str,
    signing_key: str | None,
    known: Container[tuple[str, int | None]],
    on_known: Callable[[str, int, bytes], None],
) -> Iterator[StoredResult]:
    where = location_of(storage, key)
    for offset, content in iter_frames(file):
        if (key, offset) in known:
            on_known(key, offset, content)
        else:
            with contextlib.suppress(MissingResult):
                yield StoredResult(key, Opened(BytesIO(content), where, signing_key).header, offset)
