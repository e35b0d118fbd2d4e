"""The bodies of the routes for our own processes: msgpack, mostly compressed, and bounded in size."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Annotated, Any, TypeVar, cast

from fastapi import Depends, HTTPException, Request, Response, status

from flowyard.schemas.reports import VERSION, Reporter
from flowyard.store.leases import Owner
from flowyard.upcalls.values import unpack_value

T = TypeVar("T")
MEDIA_TYPE = "application/msgpack"
_LARGEST = 64 * 2**20
"""Bytes of a body, unpacked; our own client sends 4 MB at a time."""
_GZIP = 16 + zlib.MAX_WBITS


async def _packed_body(request: Request) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > _LARGEST:
            raise _too_large()
        parts.append(part)
    return b"".join(parts)


def _unpacked_body(request: Request, packed: Annotated[bytes, Depends(_packed_body)]) -> bytes:
    encoding = request.headers.get("content-encoding", "identity")
    if encoding == "identity":
        return packed
    if encoding != "gzip":
        detail = f"Content-Encoding: {encoding!r} is not known here; send gzip, or plain msgpack."
        raise HTTPException(status.HTTP_415_UNSUPPORTED_MEDIA_TYPE, detail)
    decompressor = zlib.decompressobj(_GZIP)
    try:
        body = decompressor.decompress(packed, _LARGEST)
    except zlib.error as error:
        raise malformed(f"it is not gzip: {error}") from error
    if decompressor.unconsumed_tail:
        raise _too_large()
    if not decompressor.eof:
        raise malformed("it is not gzip: it ends too early")
    return body


Body = Annotated[bytes, Depends(_unpacked_body)]
"""The body of a request, decompressed."""


def opened(body: bytes, read: Callable[[Owner, Any], T]) -> T:
    """Return what `read` makes of a body: of who sent it, and of what.

    Raises:
        HTTPException: 400, it cannot be read; says why.
    """
    try:
        version, reporter, content = unpack_value(body)
        if version != VERSION:
            raise malformed(f"it has version {version!r}, and this server reads version {VERSION}")
        return read(_owner_of(reporter), content)
    except HTTPException:
        raise
    except Exception as error:  # whatever wrong bytes lead to
        raise malformed(f"{type(error).__name__}: {error}") from error


def malformed(cause: str) -> HTTPException:
    """Return the answer to a body that cannot be read."""
    return HTTPException(status.HTTP_400_BAD_REQUEST, f"The body cannot be read: {cause}")


def answer(content: bytes) -> Response:
    """Answer with packed content."""
    return Response(content, media_type=MEDIA_TYPE)


def _owner_of(reporter: object) -> Owner:
    if not isinstance(reporter, Reporter):
        raise TypeError(f"{reporter!r} is no process")
    host, pid = cast("object", reporter.host), cast("object", reporter.pid)
    if not isinstance(host, str) or not isinstance(pid, int):
        raise TypeError(f"{reporter!r} is no process")
    return Owner(reporter.id, host, pid, reporter.process_start_time, None)


def _too_large() -> HTTPException:
    detail = f"The body is larger than {_LARGEST} bytes; send it in parts."
    return HTTPException(status.HTTP_413_CONTENT_TOO_LARGE, detail)
