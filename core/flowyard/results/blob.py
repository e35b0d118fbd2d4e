r"""The file of a persisted result: a header that tells all about it, and the serialized value.

    {"format": "flowyard-result/1", "serializer": {...}, "checksum": "xxh3:...", "size": 123, ...}\n<bytes>

The header is one line of JSON: ``head -1 FILE`` shows it. The value's bytes follow as the serializer made them. Large
buffers of arrays are pieces of their own (`parts` has the sizes), which begin at multiples of 64.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, NamedTuple

import xxhash

from flowyard._version import __version__
from flowyard.exceptions import CorruptResult, SerializationError, exception_traceback
from flowyard.serializers.base import Part, Serializer

FORMAT = "flowyard-result/1"
LONGEST_HEADER = 512 * 1024
_PREFIX = b'{"format": "flowyard-result/'
_LONGEST_TRACEBACK = 64 * 1024
_ALIGNMENT = 64
_decode = json.JSONDecoder().raw_decode
_SIGNATURE = b', "signature": "'


@dataclass(frozen=True, slots=True)
class BlobHeader:
    """What a result file says about itself; a recovery needs nothing else."""

    format: str
    serializer: dict[str, Any]
    checksum: str
    """Of the value's bytes, without the gaps: ``xxh3:`` (against accidents) or, in a signed file, ``blake2b:``."""
    size: int
    """Bytes of value, without the gaps."""
    version: str
    """The version of Flowyard that wrote the file."""
    created: str
    value_type: str | None = None
    parts: list[int] | None = None
    """Sizes of the pieces; None when there is one."""
    flow_run_id: str | None = None
    task_run_id: str | None = None
    task_key: str | None = None
    dynamic_key: str | None = None
    attempt: int = 0
    """The run count of the run that made the value."""
    fingerprint: str | None = None
    """`fingerprint_of` the run's inputs; None when they could not be hashed."""
    state_type: str = "COMPLETED"
    """The type of the final state whose value this is."""
    state_name: str | None = None
    transaction: str | None = None
    """The stamp of the transaction that must commit before the value counts for others."""
    exception: dict[str, str] | None = field(default=None)
    """Type, message and traceback of a value that is an exception."""

    def file_size(self, header_size: int) -> int:
        """Return how many bytes the file of this header has, whose line takes `header_size`."""
        return _layout(header_size, self.parts or [self.size])[-1][1]


_KNOWN_FIELDS = frozenset(field.name for field in fields(BlobHeader))


class Blob(NamedTuple):
    """A result file that was not written yet."""

    header: BlobHeader
    pieces: Sequence[Part]
    """Header line, parts of the value, and the gaps between them."""

    def to_bytes(self) -> bytes:
        """Return the file in one piece."""
        return b"".join(self.pieces)


def make_blob(value: Any, serializer: Serializer, *, signing_key: str | None = None, **facts: Any) -> Blob:
    """Return the file for a value; `facts` are the fields of `BlobHeader` that the caller knows.

    An exception that cannot be serialized, or not be read back, is described in the header and has no bytes. Large
    buffers are those of the value: they must not change before they are written.

    Raises:
        SerializationError: the serializer refuses the value.
    """
    if isinstance(value, BaseException):
        parts: Sequence[Part] = [_exception_bytes(value, serializer)]
        facts["exception"] = _describe(value)
    else:
        try:
            parts = serializer.dump_parts(value)
        except Exception as error:
            raise SerializationError(
                type(value).__name__, serializer.type, f"{type(error).__name__}: {error}"
            ) from error
    sizes = [part.nbytes if isinstance(part, memoryview) else len(part) for part in parts]
    header = BlobHeader(
        format=FORMAT,
        serializer=serializer.to_record(),
        checksum=checksum(parts, "xxh3" if signing_key is None else "blake2b"),
        size=sum(sizes),
        version=__version__,
        created=datetime.now(UTC).isoformat(),
        value_type=type_name(value),
        parts=sizes if len(sizes) > 1 else None,
        **facts,
    )
    line = header_line({name: value for name in _FIELDS if (value := getattr(header, name)) is not None}, signing_key)
    pieces: list[Part] = [line]
    end = len(line)
    for (begin, _), part in zip(_layout(len(line), sizes), parts, strict=True):
        if begin > end:
            pieces.append(bytes(begin - end))
        pieces.append(part)
        end = begin + (part.nbytes if isinstance(part, memoryview) else len(part))
    return Blob(header, pieces)


_FIELDS = tuple(field.name for field in fields(BlobHeader))


def _layout(header_size: int, sizes: Sequence[int]) -> list[tuple[int, int]]:
    """Return where each piece of a value begins and ends in the file."""
    places: list[tuple[int, int]] = []
    end = header_size
    for size in sizes:
        begin = -(-end // _ALIGNMENT) * _ALIGNMENT if places else end
        end = begin + size
        places.append((begin, end))
    return places


def places_of(header: BlobHeader, header_size: int) -> list[tuple[int, int]]:
    """Return where each piece of the value begins and ends in the file, whose header line takes `header_size`."""
    return _layout(header_size, header.parts or [header.size])


def type_name(value: object) -> str:
    """Return the type of a value, for people."""
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def checksum(parts: Sequence[Part], algorithm: str) -> str:
    """Return the checksum of a value's pieces: ``xxh3`` reads 20 GB a second, ``blake2b`` cannot be forged."""
    digest = xxhash.xxh3_128() if algorithm == "xxh3" else hashlib.blake2b(digest_size=32)
    for part in parts:
        digest.update(part)
    return f"{algorithm}:{digest.hexdigest()}"


# --- the header line ----------------------------------------------------------------------------------------


def header_line(facts: dict[str, Any], signing_key: str | None) -> bytes:
    """Return facts as one line of JSON, signed if there is a key."""
    line = json.dumps(facts).encode()
    if signing_key is not None:
        line = line[:-1] + _SIGNATURE + _signature(line, signing_key) + b'"}'
    return line + b"\n"


def signed_facts(line: bytes, where: str, signing_key: str | None) -> dict[str, Any]:
    """Return the facts in a line of `header_line`; with a key only if it signed them.

    Raises:
        CorruptResult: the signature is missing or wrong, or the line is no JSON.
    """
    body, mark, rest = line.rstrip(b"\n").rpartition(_SIGNATURE)
    if mark:
        body += b"}"
    else:
        body = line
    if signing_key is not None:
        if not mark:
            raise CorruptResult(
                where, "it is not signed, and FLOWYARD_RESULTS_SIGNING_KEY is set: only signed results are read"
            )
        if not hmac.compare_digest(rest, _signature(body, signing_key) + b'"}'):
            raise CorruptResult(where, "its signature is wrong: it was changed, or signed with another key")
    try:
        text = body.decode()
        facts, end = _decode(text)
        if end != len(text):
            raise ValueError(f"it goes on after its end at {end}")
    except ValueError as error:
        raise CorruptResult(where, f"its header is damaged ({error})") from error
    if not isinstance(facts, dict):
        raise CorruptResult(where, "its header is damaged (it is no JSON object)")
    return facts  # pyright: ignore[reportUnknownVariableType]


def _signature(line: bytes, signing_key: str) -> bytes:
    return hmac.digest(signing_key.encode(), line, "sha256").hex().encode()


def read_header(blob: bytes, where: str, signing_key: str | None = None) -> BlobHeader:
    """Return the header of a result file; `blob` may be only the beginning of it.

    Raises:
        CorruptResult: this is not the beginning of a result file, or (with a key) the signature is missing or wrong.
    """
    end = blob.find(b"\n", 0, LONGEST_HEADER)
    if not blob.startswith(_PREFIX) or end < 0:
        raise CorruptResult(where, "it does not begin with the header of a Flowyard result")
    facts = signed_facts(blob[:end], where, signing_key)
    if facts["format"] != FORMAT:
        raise CorruptResult(
            where, f"its format is {facts['format']!r}, and this version of Flowyard knows {FORMAT!r}: upgrade it"
        )
    try:
        # fields of later versions are not needed to read the value
        return BlobHeader(**{name: value for name, value in facts.items() if name in _KNOWN_FIELDS})
    except TypeError as error:
        raise CorruptResult(where, f"its header is damaged ({error})") from error


# --- exceptions ---------------------------------------------------------------------------------------------


def _describe(error: BaseException) -> dict[str, str]:
    kind = type(error)
    return {
        "type": f"{kind.__module__}.{kind.__qualname__}",
        "message": str(error),
        "traceback": exception_traceback(error)[-_LONGEST_TRACEBACK:],
    }


def _exception_bytes(error: BaseException, serializer: Serializer) -> bytes:
    """Return the bytes of an exception, or none when it would not come back: many pickle well and unpickle badly."""
    try:
        content = serializer.dumps(error)
        restored: object = serializer.loads(content)
    except Exception:
        return b""
    return content if type(restored) is type(error) else b""
