"""Handles: where the value of a finished run is. Each satisfies `schemas.states.ResultHandle`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Generic
from uuid import UUID

from typing_extensions import TypeVar, override

from flowyard.annotations import NotSet
from flowyard.exceptions import CorruptResult, MissingResult
from flowyard.filesystems.contract import ReadableFiles
from flowyard.filesystems.folder import LocalFiles
from flowyard.results.blob import BlobHeader
from flowyard.results.reading import Opened
from flowyard.results.storage import located, location_of, open_file
from flowyard.settings import get_current_settings

R = TypeVar("R", default=Any)

_SMALL = 2048
"""Up to how many bytes of value are kept between a look at a file and the question for its value."""
ONLY_HERE = "storage"
"""In the record of a reference: the class of a storage that only the process can read that made the value."""
LITERAL_TYPES: tuple[type[Any], ...] = (type(None), bool, UUID)
"""Exact types of values that are recorded themselves instead of a reference to a file."""


class BaseResult(ABC, Generic[R]):
    """What all handles have in common."""

    __slots__ = ()

    type: ClassVar[str]
    """How the record of the handle is told apart: unpersisted, literal, reference."""
    artifact_type: ClassVar[str] = "result"

    @abstractmethod
    def get(self) -> R:
        """Return the value.

        Raises:
            MissingResult: the value was not kept, or its file is gone or damaged.
        """

    @abstractmethod
    def to_record(self) -> dict[str, Any]:
        """Return what the state backend stores: never the value itself, but for literals."""

    @property
    @abstractmethod
    def artifact_description(self) -> str:
        """One line about the value and where it is."""

    def has_cached_object(self) -> bool:
        """Say whether `get` answers from memory."""
        return True

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({self.artifact_description})"


class UnpersistedResult(BaseResult[R]):
    """A value in the memory of this process. Made for every task run: about 0.2 microseconds."""

    __slots__ = ("value",)

    type = "unpersisted"

    def __init__(self, value: Any = NotSet) -> None:
        self.value = value
        """`NotSet` when the value was dropped (`cache_result_in_memory=False`)."""

    @override
    def get(self) -> R:
        if self.value is NotSet:
            raise MissingResult(
                "the run completed, but its value was neither persisted nor kept in memory; "
                "pass `persist_result=True`, or leave out `cache_result_in_memory=False`"
            )
        return self.value

    @override
    def has_cached_object(self) -> bool:
        return self.value is not NotSet

    @override
    def to_record(self) -> dict[str, Any]:
        return {"type": "unpersisted"}

    @property
    @override
    def artifact_description(self) -> str:
        if self.value is NotSet:
            return "Result that was not kept."
        return f"Unpersisted result of type `{self.value.__class__.__name__}`"


class LiteralResult(BaseResult[R]):
    """None, True, False or a UUID: recorded as it is, no file needed."""

    __slots__ = ("fingerprint", "value")

    type = "literal"

    def __init__(self, value: Any, *, fingerprint: str | None = None) -> None:
        if value.__class__ not in LITERAL_TYPES:
            raise TypeError(f"{value!r} cannot be a literal result: only None, True, False and UUIDs can")
        self.value = value
        self.fingerprint = fingerprint
        """The hash of the inputs that the value was made from; None when they could not be hashed."""

    @override
    def get(self) -> R:
        return self.value

    @override
    def to_record(self) -> dict[str, Any]:
        value = str(self.value) if self.value.__class__ is UUID else self.value
        record: dict[str, Any] = {"type": "literal", "value": value}
        return record if self.fingerprint is None else {**record, "fingerprint": self.fingerprint}

    @property
    @override
    def artifact_description(self) -> str:
        return f"Result with value `{self.value}`"


class PersistedResult(BaseResult[R]):
    """A value in a file of a storage; read when it is asked for, unless it is still in memory.

    Pickling it leaves the value behind: whoever unpickles it reads the file.
    """

    __slots__ = (
        "_opened",
        "_signing_key",
        "_value",
        "cache_object",
        "checksum",
        "fingerprint",
        "offset",
        "serializer_type",
        "size",
        "storage",
        "storage_block_id",
        "storage_key",
        "value_type",
    )

    type = "reference"

    def __init__(
        self,
        *,
        storage: ReadableFiles,
        storage_key: str,
        serializer_type: str,
        storage_block_id: UUID | None = None,
        cache_object: bool = True,
        size: int | None = None,
        value_type: str | None = None,
        checksum: str | None = None,
        value: Any = NotSet,
        signing_key: str | None = None,
        fingerprint: str | None = None,
        offset: int | None = None,
    ) -> None:
        self.storage = storage
        self.storage_key = storage_key
        self.offset = offset
        """Where in the file the value is, if that is a pack; None when the file has this value alone."""
        self.serializer_type = serializer_type
        self.storage_block_id = storage_block_id
        self.cache_object = cache_object
        """Whether the value stays in memory once it was read or written."""
        self.size = size
        """Bytes of serialized value; None when nobody said."""
        self.value_type = value_type
        self.checksum = checksum
        """Of the value that this is about: another one may have been written to its place since."""
        self.fingerprint = fingerprint
        """The hash of the inputs that the value was made from; None when they could not be hashed."""
        self._value = value if cache_object else NotSet
        self._signing_key = signing_key
        self._opened: Opened | None = None

    @override
    def get(self) -> R:
        if self._value is not NotSet:
            return self._value
        try:
            value = self._read()
        except FileNotFoundError as error:
            where = location_of(self.storage, self.storage_key)
            raise MissingResult(
                f"the persisted result {where!r} is gone: {error}; run its task again to make it anew"
            ) from error
        except (OSError, ValueError) as error:
            raise CorruptResult(location_of(self.storage, self.storage_key), str(error)) from error
        if self.cache_object:
            self._value = value
        return value

    def _read(self) -> Any:
        opened, self._opened = self._opened, None
        with located(self.storage, self.storage_key):
            if opened is not None:
                return opened.value()
            with open_file(self.storage, self.storage_key, self.offset) as file:
                return Opened(file, self.storage_key, self._key()).value()

    def _key(self) -> str | None:
        # A handle that was read from a record or a pickle has no key: its process has one, or none.
        return self._signing_key or get_current_settings().FLOWYARD_RESULTS_SIGNING_KEY

    def header(self) -> BlobHeader:
        """Return what the file says about itself; a small file is read whole, and not again for its value.

        Raises:
            FileNotFoundError: it is gone.
            MissingResult: it is damaged, or its storage does not answer.
        """
        with located(self.storage, self.storage_key), open_file(self.storage, self.storage_key, self.offset) as file:
            opened = Opened(file, self.storage_key, self._key())
            if opened.is_small:
                opened.verify()
                if opened.header.size <= _SMALL:
                    self._opened = opened
            return opened.header

    @override
    def has_cached_object(self) -> bool:
        return self._value is not NotSet

    @override
    def to_record(self) -> dict[str, Any]:
        record: dict[str, Any] = {
            "type": "reference",
            "serializer_type": self.serializer_type,
            "storage_block_id": None if self.storage_block_id is None else str(self.storage_block_id),
            "storage_key": self.storage_key,
        }
        if self.offset is not None:
            record["offset"] = self.offset
        if self.storage_block_id is None and not isinstance(self.storage, LocalFiles):
            record[ONLY_HERE] = type(self.storage).__name__
        if self.size is not None:
            record |= {"size": self.size, "value_type": self.value_type, "checksum": self.checksum}
        if self.fingerprint is not None:
            record["fingerprint"] = self.fingerprint
        return record

    @property
    @override
    def artifact_description(self) -> str:
        what = "Result" if self.value_type is None else f"Result of type `{self.value_type}`"
        size = "" if self.size is None else f" ({_bytes_for_people(self.size)})"
        return f"{what}{size} persisted to `{location_of(self.storage, self.storage_key)}` with {self.serializer_type}"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PersistedResult):
            return NotImplemented
        own, others = (self.storage_key, self.offset), (other.storage_key, other.offset)  # pyright: ignore[reportUnknownMemberType]
        return own == others and self.storage == other.storage  # pyright: ignore[reportUnknownMemberType]

    def __hash__(self) -> int:
        return hash((self.storage_key, self.offset))

    def __reduce__(self) -> tuple[Any, ...]:
        # Not the signing key: a pickle may go anywhere.
        return _persisted_result, ({name: getattr(self, name) for name in _PICKLED},)


_PICKLED = (
    "storage",
    "storage_key",
    "serializer_type",
    "storage_block_id",
    "cache_object",
    "size",
    "value_type",
    "checksum",
    "fingerprint",
    "offset",
)


def _persisted_result(options: dict[str, Any]) -> PersistedResult[Any]:
    return PersistedResult(**options)


def _bytes_for_people(size: int) -> str:
    amount = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" or amount >= 100 else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"
