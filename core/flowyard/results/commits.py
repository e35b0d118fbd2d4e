"""Records of committed transactions: one small file for each, which makes all that was staged count at once.

What a task leaves inside of a transaction (its value, the record of the cache, its state) is written where it is made,
with the transaction's stamp `ID/NAME` on it. It counts when the record `NAME` exists and lists `ID`: a commit is the
atomic write of that one file, a rollback writes nothing, and a process that dies in between leaves nothing that counts.
"""

from __future__ import annotations

from flowyard.exceptions import MissingResult
from flowyard.filesystems.contract import ReadableFiles, WritableFiles
from flowyard.results.cache_records import CacheRecord, read_record, write_record

FOLDER = "transactions"


def stamp_of(transaction_id: str, name: str) -> str:
    """Return what is written on all that is staged: the transaction, and the record that will list it."""
    return f"{transaction_id}/{name}"


def read_commit(storage: ReadableFiles, name: str, signing_key: str | None = None) -> CacheRecord | None:
    """Return the record of a committed transaction; None when it has not committed, or the record is damaged.

    Raises:
        ResultStorageFailed: the storage does not answer.
    """
    try:
        record = read_record(storage, name, signing_key, folder=FOLDER)
    except MissingResult:
        return None
    if record is None or not Commits(storage, signing_key).has(record.transaction):
        return None
    return record


def write_commit(storage: WritableFiles, record: CacheRecord, signing_key: str | None = None) -> None:
    """Make all that the record lists count. A later record of the same name must list what this one does.

    Raises:
        ResultStorageFailed: the storage does not take it.
    """
    write_record(storage, record, signing_key, folder=FOLDER)


def is_committed(storage: ReadableFiles, stamp: str, signing_key: str | None = None) -> bool:
    """Say whether what has a stamp counts."""
    transaction_id, _, name = stamp.partition("/")
    record = read_commit(storage, name, signing_key)
    return record is not None and transaction_id in record.components


class Commits:
    """Answers for many stamps, and reads each record once."""

    def __init__(self, storage: ReadableFiles, signing_key: str | None = None) -> None:
        self._storage = storage
        self._signing_key = signing_key
        self._known: dict[str, bool] = {}

    def has(self, stamp: str | None) -> bool:
        """Say whether what has a stamp counts; what has none does."""
        if stamp is None:
            return True
        known = self._known.get(stamp)
        if known is None:
            known = self._known[stamp] = is_committed(self._storage, stamp, self._signing_key)
        return known
