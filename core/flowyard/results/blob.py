r"""The file of a persisted result: a header that tells all about it, and the serialized value.

    {"format": "flowyard-result/1", "serializer": {...}, "checksum": "...", "size": 123, ...}\n<bytes>

The header is one line of JSON: ``head -1 FILE`` shows it. The value's bytes follow as the serializer made them.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, cast

from flowyard._version import __version__
from flowyard.exceptions import CorruptResult, RemoteException, SerializationError, UnknownPlugin, exception_traceback
from flowyard.serializers.base import Serializer
from flowyard.serializers.registry import serializer_from_record

FORMAT = "flowyard-result/1"
_PREFIX = b'{"format": "flowyard-result/'
_LONGEST_TRACEBACK = 64 * 1024


@dataclass(frozen=True, slots=True)
class BlobHeader:
    """What a result file says about itself; a recovery needs nothing else."""

    format: str
    serializer: dict[str, Any]
    checksum: str
    """BLAKE2b (16 bytes) of the value's bytes, in hexadecimal."""
    size: int
    version: str
    """The version of Flowyard that wrote the file."""
    created: str
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
    exception: dict[str, str] | None = field(default=None)
    """Type, message and traceback of a value that is an exception."""


_KNOWN_FIELDS = frozenset(field.name for field in fields(BlobHeader))


def make_blob(value: Any, serializer: Serializer, **facts: Any) -> bytes:
    """Return the file for a value; `facts` are the fields of `BlobHeader` that the caller knows.

    An exception that cannot be serialized, or not be read back, is described in the header and has no bytes.

    Raises:
        SerializationError: the serializer refuses the value.
    """
    if isinstance(value, BaseException):
        content = _exception_bytes(value, serializer)
        facts["exception"] = _describe(value)
    else:
        try:
            content = serializer.dumps(value)
        except Exception as error:
            raise SerializationError(
                type(value).__name__, serializer.type, f"{type(error).__name__}: {error}"
            ) from error
    header = BlobHeader(
        format=FORMAT,
        serializer=serializer.to_record(),
        checksum=_checksum(content),
        size=len(content),
        version=__version__,
        created=datetime.now(UTC).isoformat(),
        **facts,
    )
    return json.dumps(asdict(header)).encode() + b"\n" + content


def read_header(blob: bytes, where: str) -> BlobHeader:
    """Return the header of a result file; `blob` may be only the beginning of it.

    Raises:
        CorruptResult: this is not the beginning of a result file.
    """
    line, newline, _ = blob.partition(b"\n")
    if not line.startswith(_PREFIX) or not newline:
        raise CorruptResult(where, "it does not begin with the header of a Flowyard result")
    try:
        facts: dict[str, Any] = json.loads(line)
        # fields of later versions are not needed to read the value
        return BlobHeader(**{name: value for name, value in facts.items() if name in _KNOWN_FIELDS})
    except (ValueError, TypeError) as error:
        raise CorruptResult(where, f"its header is damaged ({error})") from error


def read_value(blob: bytes, where: str) -> Any:
    """Return the value in a result file; an exception that cannot be made again comes back as `RemoteException`.

    Raises:
        CorruptResult: the file is truncated or changed, or its bytes cannot be read here; names the file.
    """
    header = read_header(blob, where)
    content = blob[blob.index(b"\n") + 1 :]
    if len(content) != header.size:
        raise CorruptResult(where, f"it has {len(content)} bytes of value instead of {header.size}: it was cut off")
    if _checksum(content) != header.checksum:
        raise CorruptResult(where, "its checksum is wrong: it was changed or damaged")
    if header.exception is not None and not content:
        return _stand_in(header.exception)
    try:
        return serializer_from_record(header.serializer).loads(content)
    except UnknownPlugin as error:
        raise CorruptResult(where, str(error)) from error
    except Exception as error:
        if header.exception is not None:
            return _stand_in(header.exception)
        raise CorruptResult(
            where, f"{header.serializer['type']} cannot read it here ({type(error).__name__}: {error})"
        ) from error


def _checksum(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _describe(error: BaseException) -> dict[str, str]:
    kind = type(error)
    return {
        "type": f"{kind.__module__}.{kind.__qualname__}",
        "message": str(error),
        "traceback": exception_traceback(error)[-_LONGEST_TRACEBACK:],
    }


def _stand_in(description: dict[str, str]) -> RemoteException:
    return RemoteException(description["type"], description["message"], description.get("traceback", ""))


def _exception_bytes(error: BaseException, serializer: Serializer) -> bytes:
    """Return the bytes of an exception, or none when it would not come back: many pickle well and unpickle badly."""
    try:
        content = serializer.dumps(error)
        restored = cast("object", serializer.loads(content))
    except Exception:
        return b""
    return content if type(restored) is type(error) else b""
