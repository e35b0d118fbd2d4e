"""Deleting the files of results, wherever they were kept, but for those that the cache still needs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePath
from typing import Any
from uuid import UUID

from flowyard.exceptions import CorruptResult, ResultStorageFailed
from flowyard.filesystems.contract import ListedFiles
from flowyard.filesystems.folder import Folder, LocalFiles
from flowyard.logging.loggers import get_logger
from flowyard.results.blocks import load_storage
from flowyard.results.cache_records import iter_records, read_record
from flowyard.results.commits import FOLDER as TRANSACTIONS
from flowyard.results.factory import run_folder
from flowyard.results.storage import location_of

VALUES = f"{TRANSACTIONS}/values"


@dataclass(frozen=True, slots=True)
class KeptResult:
    """What is recorded about the value of a run."""

    record: Mapping[str, Any]
    cache_key: str | None = None


class FileCollector:
    """Deletes result files of flow runs and counts them; a dry run only counts."""

    def __init__(self, default: Folder, *, now: datetime, dry_run: bool) -> None:
        self.file_count = 0
        self.byte_count = 0
        self._default = default
        self._now = now
        self._dry_run = dry_run
        self._folders: dict[str, Folder] = {}
        self._cached: dict[str | None, set[str]] = {}
        self._blocks: dict[str, Any] = {}

    def delete_run(self, flow_run_id: UUID, kept: Collection[KeptResult] = (), more: Iterable[str] = ()) -> None:
        """Delete the files of a flow run.

        In a folder all that is in the run's own. Elsewhere what is recorded (`kept`) and below the run's own folder:
        a name that a user chose may be that of a later run's value by now. `more`: further keys of the run there.

        Raises:
            ResultStorageFailed: a storage does not answer; not all is deleted.
        """
        folder = run_folder(flow_run_id)
        places: dict[str, list[KeptResult]] = {}
        folders: dict[str | None, LocalFiles] = {self._default.basepath: self._default}
        for result in kept:
            key = result.record.get("storage_key", "")
            block_id = result.record.get("storage_block_id")
            if block_id is not None:
                places.setdefault(block_id, []).append(result)
            elif PurePath(key).is_absolute():
                base, found, _ = PurePath(key).as_posix().partition(f"/{folder}/")
                if found:
                    folders[base] = self._folders.setdefault(base, Folder(base))
        for block_id, results in places.items():
            storage = self._block(block_id)
            if isinstance(storage, LocalFiles):
                folders[storage.basepath] = storage
            elif isinstance(storage, ListedFiles):
                self._delete_recorded(storage, folder, results, more)
        for storage in folders.values():
            self._delete_folder(storage, folder)

    def _block(self, block_id: str) -> Any:
        if block_id not in self._blocks:
            try:
                self._blocks[block_id] = load_storage(UUID(block_id), "a recorded result")
            except (ValueError, TypeError) as error:
                get_logger("results").warning("The files of results stay where they are: %s", error)
                self._blocks[block_id] = None
        return self._blocks[block_id]

    def _delete_recorded(
        self, storage: ListedFiles, folder: str, results: Iterable[KeptResult], more: Iterable[str]
    ) -> None:
        try:
            for result in results:
                key: str = result.record["storage_key"]
                if key.startswith(f"{folder}/") and not self._is_cached(storage, key, result.cache_key):
                    self._count(result.record.get("size") or 0)
                    if not self._dry_run:
                        storage.delete_file(key)
            if not self._dry_run:
                for key in more:
                    storage.delete_file(key)
        except Exception as error:  # whatever the client of a store raises
            raise ResultStorageFailed(
                "deleted", location_of(storage, folder), f"{type(error).__name__}: {error}"
            ) from error

    def _is_cached(self, storage: ListedFiles, key: str, cache_key: str | None) -> bool:
        if cache_key is None:
            return False
        try:
            record = read_record(storage, cache_key)
        except CorruptResult:
            return False
        return record is not None and record.result.get("storage_key") == key and not record.is_expired(self._now)

    def _delete_folder(self, storage: LocalFiles, folder: str) -> None:
        cached = self._cached_in(storage)
        for key in list(storage.iter_paths(folder)):
            if key not in cached:
                self._delete(storage, key)
        if not self._dry_run:
            _remove_empty(storage.resolve(folder))

    def _cached_in(self, storage: LocalFiles) -> set[str]:
        if storage.basepath not in self._cached:
            records = [record for _, record in iter_records(storage) if record is not None]
            live = [record for record in records if not record.is_expired(self._now)]
            self._cached[storage.basepath] = {record.result.get("storage_key", "") for record in live}
        return self._cached[storage.basepath]

    def _delete(self, storage: LocalFiles, key: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._count(storage.file_size(key))
            if not self._dry_run:
                storage.delete_file(key)

    def _count(self, size: int) -> None:
        self.file_count += 1
        self.byte_count += size

    # --- transactions -----------------------------------------------------------------------------------------

    def delete_transactions(
        self, deleted: Collection[UUID], is_known: Callable[[UUID], bool], before: datetime
    ) -> None:
        """Delete what old transactions left in the folder of the settings, and nothing needs any more.

        The record of a transaction without a key goes with its flow run, unless a value of the cache or a transaction
        with a key counts because of it. Values of transactions that never committed go when they are old. A transaction
        with a key has been done for ever.

        Args:
            deleted: the flow runs that are gone now.
            is_known: says of another flow run whether it is recorded here.
            before: what is younger stays, if its flow run was not deleted.
        """
        storage = self._default
        records = dict(iter_records(storage, folder=TRANSACTIONS))
        commits = {path: record for path, record in records.items() if not path.startswith(f"{VALUES}/")}
        cached = [record for _, record in iter_records(storage) if record is not None]
        counting = [record for record in cached if not record.is_expired(self._now)]
        counting += [record for record in commits.values() if record is not None and record.key.startswith("key:")]
        needed = {record.transaction.partition("/")[2] for record in counting if record.transaction is not None}
        values: set[str] = set()
        for path, record in commits.items():
            if record is None:
                continue
            # What older versions wrote does not say whose it is.
            flow_run_id = record.flow_run_id if record.key.startswith("id:") else None
            if flow_run_id is None or record.key in needed:
                is_needed = True
            elif UUID(flow_run_id) in deleted:
                is_needed = False
            else:
                is_needed = not _is_older(storage, path, before) or is_known(UUID(flow_run_id))
            if not is_needed:
                self._delete(storage, path)
            else:
                values.add(record.result.get("storage_key", ""))
        for path in records:
            if path.startswith(f"{VALUES}/") and path not in values and _is_older(storage, path, before):
                self._delete(storage, path)
        if not self._dry_run:
            _remove_empty(storage.resolve(TRANSACTIONS))


def _is_older(storage: LocalFiles, key: str, before: datetime) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return datetime.fromtimestamp(storage.resolve(key).stat().st_mtime, UTC) < before
    return False


def _remove_empty(folder: Path) -> None:
    if not folder.is_dir():
        return
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir():
            with contextlib.suppress(OSError):  # not empty
                path.rmdir()
    with contextlib.suppress(OSError):
        folder.rmdir()
