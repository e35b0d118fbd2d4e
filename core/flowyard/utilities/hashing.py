"""Hashes that are the same in every process: of text, of files, of objects.

For cache keys and versions, not for secrets: the default algorithm is MD5.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, cast

import cloudpickle


class Hash(Protocol):
    """A hash object of `hashlib`."""

    def update(self, data: bytes, /) -> None: ...  # noqa: D102
    def digest(self) -> bytes: ...  # noqa: D102
    def hexdigest(self) -> str: ...  # noqa: D102


HashAlgorithm = Callable[[bytes], Hash]
"""`hashlib.sha256`, or anything else that is called the same way."""

# Not for security: some hardened builds of OpenSSL refuse MD5 otherwise.
MD5: HashAlgorithm = functools.partial(hashlib.md5, usedforsecurity=False)


def stable_hash(*args: str | bytes, hash_algo: HashAlgorithm = MD5) -> str:
    """Return the hash of the arguments in hexadecimal; text is encoded as UTF-8.

    One argument gives its plain hash, none the hash of nothing. Where one argument ends and the next begins matters:
    ``("ab", "c")`` and ``("a", "bc")`` differ.
    """
    parts = [arg.encode() if isinstance(arg, str) else arg for arg in args]
    if len(parts) == 1:
        return hash_algo(parts[0]).hexdigest()
    return hash_algo(b"".join(hash_algo(part).digest() for part in parts)).hexdigest()


def file_hash(path: str | Path, hash_algo: HashAlgorithm = MD5) -> str:
    """Return the hash of a file's content in hexadecimal; the file is read in chunks.

    Raises:
        OSError: the file cannot be read.
    """
    found = hash_algo(b"")
    with Path(path).open("rb") as file:
        while chunk := file.read(1 << 18):
            found.update(chunk)
    return found.hexdigest()


def hash_objects(*args: object, hash_algo: HashAlgorithm = MD5, **kwargs: object) -> str | None:
    """Return a hash of any objects, or None when one of them cannot be hashed.

    Equal plain values (numbers, text, bytes, lists, tuples, sets, dicts in any order, dataclasses, pydantic models,
    nested) hash equal in every process; values of different types differ (1, 1.0, True and "1"; a list and a tuple).
    Everything else is hashed by its cloudpickle bytes: objects that differ get different hashes, equal ones may do so
    too. The code of a dataclass or model is not looked at.
    """
    found = hash_algo(b"")
    try:
        _feed(found, args)
        _feed(found, kwargs)
    except Exception:
        return None
    return found.hexdigest()


def _feed(found: Hash, value: object) -> None:
    """Write an unambiguous form of a value: a tag, its length or count, its content."""
    cls = value.__class__
    if value is None or cls is bool:
        _write(found, b"c", repr(value).encode())
    elif cls is str:
        _write(found, b"s", cast("str", value).encode("utf-8", "surrogatepass"))
    elif cls is bytes:
        _write(found, b"b", cast("bytes", value))
    elif cls is int:
        _write(found, b"i", format(cast("int", value), "x").encode())  # unlike str(), without a limit of digits
    elif cls is float:
        _write(found, b"f", cast("float", value).hex().encode())
    elif cls is list or cls is tuple:
        items = cast("list[object]", value)
        _write(found, b"l" if cls is list else b"t", b"%d" % len(items))
        for item in items:
            _feed(found, item)
    elif cls is dict:
        pairs = cast("dict[object, object]", value).items()
        _feed_unordered(found, b"d", [(key, item) for key, item in pairs])
    elif cls is set or cls is frozenset:
        _feed_unordered(found, b"e" if cls is set else b"z", list(cast("set[object]", value)))
    elif (state := _state_of(value)) is not None:
        _write(found, b"o", f"{cls.__module__}.{cls.__qualname__}".encode())
        _feed(found, state)
    else:
        pickled: bytes = cloudpickle.dumps(value)  # pyright: ignore[reportUnknownMemberType]  it has no types
        _write(found, b"p", pickled)


def _write(found: Hash, tag: bytes, content: bytes) -> None:
    found.update(b"%b%d:%b" % (tag, len(content), content))


class _Buffer:
    """Collects what `_feed` writes, to be sorted."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def update(self, data: bytes, /) -> None:
        self.parts.append(data)

    def digest(self) -> bytes:
        return b"".join(self.parts)

    def hexdigest(self) -> str:
        return self.digest().hex()


def _feed_unordered(found: Hash, tag: bytes, items: list[Any]) -> None:
    # The order of a set of strings changes from process to process, so the items' own forms make the order.
    forms: list[bytes] = []
    for item in items:
        buffer = _Buffer()
        _feed(buffer, item)
        forms.append(buffer.digest())
    _write(found, tag, b"%d" % len(forms))
    for form in sorted(forms):
        found.update(form)


def _state_of(value: object) -> object | None:
    """Return what makes up an object of a plain class; None when only a pickle knows."""
    cls = value.__class__
    if hasattr(cls, "__pydantic_fields_set__"):
        state = dict(cast("dict[str, object]", cast("Any", value).__getstate__()))
        # Which fields were given and which came by default is no part of the value, and its order is not stable.
        state.pop("__pydantic_fields_set__", None)
        return state
    if (
        dataclasses.is_dataclass(cls)
        and cls.__reduce_ex__ is object.__reduce_ex__
        and cls.__reduce__ is object.__reduce__
        and not issubclass(cls, (list, tuple, dict, set, frozenset, str, bytes, int, float))
    ):
        # A frozen dataclass with slots pickles as the list of its fields, others as their attributes.
        return cast("Any", value).__getstate__()
    return None
