"""Reading and writing storage whose methods may be plain or `async def`."""

from __future__ import annotations

import contextlib
import inspect
import threading
from collections.abc import Callable, Coroutine, Generator, Sequence
from io import BytesIO, FileIO
from typing import Any, cast
from uuid import UUID

from flowyard.exceptions import CorruptResult, ResultStorageFailed
from flowyard.filesystems.contract import ListedFiles, ReadableFiles, WritableFiles
from flowyard.filesystems.folder import LocalFiles
from flowyard.results.packs import Frame, Packs, read_frame


def read_bytes(storage: ReadableFiles, key: str) -> bytes:
    """Return the content of a file.

    Raises:
        FileNotFoundError: there is no such file.
    """
    if isinstance(storage, LocalFiles):
        return storage.read_file(key)
    return _finish(storage.read_path(key))


def open_file(storage: ReadableFiles, key: str, offset: int | None = None) -> FileIO | BytesIO:
    """Return an open file; of a storage that is not a folder, all of it is in memory.

    `offset`: the file is a pack, and what is at that offset in it is opened.

    Raises:
        FileNotFoundError: there is no such file.
        IsADirectoryError, ValueError: the key names no file.
        CorruptResult: there is no whole result at the offset.
        ResultStorageFailed: the storage does not answer.
    """
    try:
        if offset is not None:
            with storage.open_file(key) if isinstance(storage, LocalFiles) else BytesIO(read_bytes(storage, key)) as f:
                return BytesIO(read_frame(f, offset, key))
        return storage.open_file(key) if isinstance(storage, LocalFiles) else BytesIO(read_bytes(storage, key))
    except (FileNotFoundError, IsADirectoryError, ValueError, CorruptResult):
        raise
    except Exception as error:
        raise _failed("read", storage, key, error) from error


def list_files(storage: ListedFiles, folder: str) -> list[str]:
    """Return the files in a folder and below.

    Raises:
        ResultStorageFailed: the storage does not answer.
    """
    try:
        return list(storage.iter_paths(folder))
    except Exception as error:
        raise _failed("listed", storage, folder, error) from error


def write_parts(storage: WritableFiles, key: str, parts: Sequence[bytes | bytearray | memoryview]) -> None:
    """Write a file from its pieces, which only a folder takes without a copy.

    Raises:
        ResultStorageFailed: the storage does not take it.
        ValueError: the key leads out of the storage.
    """
    try:
        if isinstance(storage, LocalFiles):
            storage.write_file(key, parts)
        else:
            _finish(storage.write_path(key, b"".join(parts)))
    except ValueError:
        raise
    except Exception as error:
        raise _failed("written", storage, key, error) from error


def append_to_pack(packs: Packs, storage: LocalFiles, folder: str, flow_run_id: UUID, content: bytes) -> Frame:
    """Write a small result to the pack of a flow run in a folder.

    Raises:
        ResultStorageFailed: the storage does not take it.
    """
    try:
        return packs.append(storage, folder, flow_run_id, content)
    except ValueError:
        raise
    except Exception as error:
        raise _failed("written", storage, folder, error) from error


def _failed(what: str, storage: ReadableFiles | LocalFiles, key: str, error: Exception) -> ResultStorageFailed:
    return ResultStorageFailed(what, location_of(storage, key), f"{type(error).__name__}: {error}")


@contextlib.contextmanager
def located(storage: ReadableFiles | LocalFiles, key: str) -> Generator[None]:
    """Say in a `CorruptResult` of the block where the file is: finding that out takes longer than reading it."""
    try:
        yield
    except CorruptResult as error:
        error.where = location_of(storage, key)
        error.args = (error.where, error.cause)
        raise


def location_of(storage: ReadableFiles | LocalFiles, key: str) -> str:
    """Return where a file is, for people."""
    if isinstance(storage, LocalFiles):
        try:
            return str(storage.resolve(key))
        except ValueError:
            return key
    return f"{type(storage).__name__}: {key}"


def _finish(made: Any) -> Any:
    """Return what a method returned; an awaitable runs to its end first, in a thread of its own if a loop runs here."""
    if not inspect.isawaitable(made):
        return made
    import asyncio  # noqa: PLC0415  50 ms that a script with local storage need not pay

    coroutine = cast("Coroutine[Any, Any, Any]", made)
    if asyncio._get_running_loop() is None:  # pyright: ignore[reportPrivateUsage]
        return asyncio.run(coroutine)
    outcome: list[Callable[[], Any]] = []

    def work() -> None:
        try:
            value = asyncio.run(coroutine)
        except BaseException as error:  # handed to the thread that waits
            failure = error

            def fail() -> Any:
                raise failure

            outcome.append(fail)
        else:
            outcome.append(lambda: value)

    thread = threading.Thread(target=work, name="flowyard-storage")
    thread.start()
    thread.join()
    return outcome[0]()
