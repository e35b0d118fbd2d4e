"""Records of the cache: one small file in result storage for each key, which says where its value is.

    cache/3f/3f9a...   {"format": "flowyard-cache/1", "key": "...", "result": {...}, "components": {...}, ...}

The name is a hash of the key, so any process that has the storage finds it without a server. A record is replaced
whole. What it says is checked against the value's file before it counts.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path, PurePath
from typing import Any
from uuid import UUID

from flowyard.exceptions import CorruptResult, MissingResult
from flowyard.filesystems.contract import ReadableFiles, WritableFiles
from flowyard.filesystems.folder import LocalFiles
from flowyard.results.blob import header_line, signed_facts
from flowyard.results.handles import BaseResult, LiteralResult, PersistedResult
from flowyard.results.storage import located, location_of, open_file, write_parts

CACHE_FOLDER = "cache"
_FORMAT = "flowyard-cache/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheRecord:
    """What is known of a value that was kept under a key."""

    key: str
    result: Mapping[str, Any]
    """Record of the value's handle; its place is relative to the storage of this record."""
    created: str
    expires: str | None = None
    task_name: str | None = None
    task_run_id: str | None = None
    """The run that made the value."""
    flow_run_id: str | None = None
    components: Mapping[str, str] = field(default_factory=dict[str, str])
    """Of what the key was made: name and hash."""
    transaction: str | None = None
    """The stamp of the transaction that must commit before this counts (`results.commits`)."""

    def expiration(self) -> datetime | None:
        """Return when the value stops to count; None for never."""
        return None if self.expires is None else datetime.fromisoformat(self.expires)

    def is_expired(self, now: datetime) -> bool:
        """Say whether the value does not count any more."""
        expiration = self.expiration()
        return expiration is not None and expiration <= now


_KNOWN_FIELDS = frozenset(field.name for field in fields(CacheRecord))


def record_path(key: str, folder: str = CACHE_FOLDER) -> str:
    """Return where in a storage the record of a key is."""
    name = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    return f"{folder}/{name[:2]}/{name}"


def write_record(
    storage: WritableFiles, record: CacheRecord, signing_key: str | None = None, *, folder: str = CACHE_FOLDER
) -> None:
    """Write a record in place of the one that its key had.

    Raises:
        ResultStorageFailed: the storage does not take it.
    """
    line = header_line({"format": _FORMAT, **asdict(record)}, signing_key)
    write_parts(storage, record_path(record.key, folder), [line])


def read_record(
    storage: ReadableFiles, key: str, signing_key: str | None = None, *, folder: str = CACHE_FOLDER
) -> CacheRecord | None:
    """Return the record of a key; None when there is none.

    Raises:
        CorruptResult: it is damaged, or (with a signing key) not signed with it.
        ResultStorageFailed: the storage does not answer.
    """
    path = record_path(key, folder)
    try:
        record = _read(storage, path, signing_key)
    except FileNotFoundError:
        return None
    if record.key != key:
        raise CorruptResult(location_of(storage, path), f"it is about the key {record.key!r}")
    return record


def iter_records(
    storage: LocalFiles, signing_key: str | None = None, *, folder: str = CACHE_FOLDER
) -> Iterator[tuple[str, CacheRecord | None]]:
    """Yield the place of every record, and the record; None for one that is damaged."""
    for path in storage.iter_paths(folder):
        record = None
        with contextlib.suppress(MissingResult, FileNotFoundError):
            record = _read(storage, path, signing_key)
        yield path, record


def _read(storage: Any, path: str, signing_key: str | None) -> CacheRecord:
    with open_file(storage, path) as file:
        line = file.read() or b""
    with located(storage, path):
        if not line.endswith(b"\n"):
            raise CorruptResult(path, "it was cut off")
        facts = signed_facts(line.rstrip(b"\n"), path, signing_key)
        if facts.pop("format", None) != _FORMAT:
            raise CorruptResult(path, f"it is no cache record of the format {_FORMAT!r}")
        try:
            # A newer version may say more; what it says of old fields means the same, or it were another format.
            return CacheRecord(**{name: value for name, value in facts.items() if name in _KNOWN_FIELDS})
        except TypeError as error:
            raise CorruptResult(path, f"it is damaged ({error})") from error


# --- values ---------------------------------------------------------------------------------------------


def result_for_record(storage: WritableFiles, handle: BaseResult[Any]) -> dict[str, Any]:
    """Return what a record says of a value: with a place that stays right when the storage is moved."""
    record = handle.to_record()
    key = record.get("storage_key")
    if (
        key is not None
        and isinstance(storage, LocalFiles)
        and storage.basepath is not None
        and PurePath(key).is_absolute()
    ):
        base = storage.resolve(".")
        with contextlib.suppress(ValueError):
            record["storage_key"] = Path(key).relative_to(base).as_posix()
    return record


def usable_handle(
    storage: ReadableFiles, record: CacheRecord, *, keep: bool = True, signing_key: str | None = None
) -> BaseResult[Any]:
    """Return the handle of a record's value, after a look at its file.

    `keep`: the value stays in memory once it was read. A file in a folder is looked at (its header and size, and if it
    is small its checksum); a file elsewhere is read.

    Raises:
        FileNotFoundError: the file is gone.
        MissingResult: it is damaged, or the value of another run was written to its place; says so.
    """
    facts = record.result
    if facts.get("type") == "literal":
        value = facts.get("value")
        return LiteralResult(UUID(value) if isinstance(value, str) else value)
    handle: PersistedResult[Any] = PersistedResult(
        storage=storage,
        storage_key=facts["storage_key"],
        serializer_type=facts["serializer_type"],
        cache_object=keep,
        size=facts.get("size"),
        value_type=facts.get("value_type"),
        checksum=facts.get("checksum"),
        signing_key=signing_key,
    )
    header = handle.header()
    if header.checksum != handle.checksum:
        raise MissingResult(f"another run wrote its own value to {location_of(storage, handle.storage_key)!r}")
    return handle


def new_record(
    key: str,
    storage: WritableFiles,
    handle: BaseResult[Any],
    *,
    expires: datetime | None = None,
    components: Mapping[str, str] | None = None,
    **facts: Any,
) -> CacheRecord:
    """Return the record for a value that was just written."""
    return CacheRecord(
        key=key,
        result=result_for_record(storage, handle),
        created=datetime.now(UTC).isoformat(),
        expires=None if expires is None else expires.isoformat(),
        components=components or {},
        **facts,
    )
