"""Requests to a server, with next to no work on this side: HTTP/1.1 as bytes, on connections that stay open."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Request:
    """A request with a JSON body."""

    path: str
    """After the address of the API."""
    body: Any
    method: str = "POST"


@dataclass(slots=True)
class Load:
    """What came of many requests."""

    seconds: float = 0.0
    each: list[float] = field(default_factory=list[float])
    """Seconds of each, in the order of the answers."""
    answers: list[bytes] = field(default_factory=list[bytes])
    """The content of each, in the order of the requests."""

    @property
    def rate(self) -> float:
        """Requests a second."""
        return len(self.each) / self.seconds

    def milliseconds(self, share: float) -> float:
        """Return the time that this share of the requests did not exceed."""
        ranked = sorted(self.each)
        return ranked[min(int(share * len(ranked)), len(ranked) - 1)] * 1000


def ask(url: str, path: str, body: Any) -> Any:
    """Send one request and return the content of its answer."""
    request = urllib.request.Request(url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        content = answer.read()
    return json.loads(content) if content else None


def send_all(url: str, requests: Sequence[Request], connections: int = 1) -> Load:
    """Send requests on so many connections, one at a time on each, and read every answer to its end.

    Raises:
        SystemExit: an answer is not a success.
    """
    return asyncio.run(_send_all(url, requests, connections))


async def _send_all(url: str, requests: Sequence[Request], connections: int) -> Load:
    address = urlsplit(url)
    load = Load(answers=[b""] * len(requests))
    # Packed before: what is measured is the server.
    waiting = iter([(number, _packed(address.path, address.netloc, one)) for number, one in enumerate(requests)])
    opened = [await asyncio.open_connection(address.hostname, address.port) for _ in range(connections)]

    async def send_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for number, packed in waiting:
            begin = time.perf_counter()
            writer.write(packed)
            status, content = await _answer(reader)
            load.each.append(time.perf_counter() - begin)
            if not 200 <= status < 300:
                raise SystemExit(f"the answer to {requests[number].path} is {status}: {content[:500]!r}")
            load.answers[number] = content

    begin = time.perf_counter()
    await asyncio.gather(*(send_on(reader, writer) for reader, writer in opened))
    load.seconds = time.perf_counter() - begin
    for _, writer in opened:
        writer.close()
    return load


def _packed(prefix: str, host: str, request: Request) -> bytes:
    body = json.dumps(request.body).encode()
    head = (
        f"{request.method} {prefix}{request.path} HTTP/1.1\r\nHost: {host}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    status = int(head.split(" ", 2)[1])
    headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
    if headers.get("transfer-encoding") == "chunked":
        return status, await _chunks(reader)
    return status, await reader.readexactly(int(headers.get("content-length", 0)))


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    content = bytearray()
    while size := int(await reader.readline(), 16):
        content += await reader.readexactly(size)
        await reader.readline()
    await reader.readline()
    return bytes(content)


def measured(load: Load, name: str, number_of: Callable[[Load], int] = lambda load: len(load.each)) -> dict[str, float]:
    """Return what a workload replies with for a load."""
    return {
        f"{name}_seconds": load.seconds,
        f"{name}_count": number_of(load),
        f"{name}_p50": load.milliseconds(0.5),
        f"{name}_p99": load.milliseconds(0.99),
    }
