"""Files anywhere that fsspec reaches; the blocks of object stores and shares differ only in how they connect."""

from __future__ import annotations

import contextlib
import importlib
import posixpath
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast
from urllib.parse import urlsplit

from pydantic import Field, field_validator
from typing_extensions import override

from flowyard.duality import dual
from flowyard.exceptions import MissingStorageDriver
from flowyard.filesystems.base import FileSystemBlock
from flowyard.filesystems.ignoring import files_to_copy

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_EXTRAS = {
    "s3": "s3",
    "s3a": "s3",
    "gcs": "gcs",
    "gs": "gcs",
    "az": "azure",
    "abfs": "azure",
    "adl": "azure",
    "smb": "smb",
}
_OBJECT_STORES = frozenset(set(_EXTRAS) - {"smb"})
_COPIES_AT_A_TIME = 8
_NOT_THERE = (0xC000000F, 0xC0000034, 0xC000003A)
"""How SMB says that a file, or the folder it is in, does not exist; not all of it reaches us as that error."""


@contextlib.contextmanager
def _saying_what_is_missing(path: str) -> Generator[None]:
    try:
        yield
    except OSError as error:
        if getattr(error, "ntstatus", None) in _NOT_THERE:
            raise FileNotFoundError(f"there is no file {path!r}") from error
        raise


class RemoteFiles(FileSystemBlock, ABC):
    """Files below a URL, `basepath`. A subclass says which, and how to connect."""

    @property
    def base_url(self) -> str:
        """The URL of the base, with its scheme."""
        return cast("Any", self).basepath  # a field of some subclasses, and a property of others

    @abstractmethod
    def connection_settings(self) -> dict[str, Any]:
        """Return the arguments of the fsspec file system."""

    @property
    def filesystem(self) -> AbstractFileSystem:
        """The fsspec file system.

        Raises:
            MissingStorageDriver: the package that speaks its protocol is not installed.
        """
        return self._connect()

    def _connect(self, **options: Any) -> Any:
        scheme = urlsplit(self.base_url).scheme
        try:
            fsspec: Any = importlib.import_module("fsspec")
            return fsspec.filesystem(scheme, **self.connection_settings(), **options)
        except ImportError as error:
            raise MissingStorageDriver(scheme, error.name or str(error), _EXTRAS.get(scheme, "")) from error

    def resolve_url(self, path: str | None) -> str:
        """Return the URL of a file or folder; `path` is relative to the base, or a URL below it.

        Raises:
            ValueError: it is outside of the base.
        """
        base = urlsplit(self.base_url.rstrip("/"))
        # By hand: object names may have `?` and `#`, which URLs give a meaning.
        root = f"{base.netloc}{posixpath.normpath(base.path) if base.path else ''}".rstrip("/")
        wanted = path or ""
        if "://" in wanted:
            scheme, _, wanted = wanted.partition("://")
            if scheme != base.scheme:
                raise ValueError(
                    f"path {path!r} is not below {self.base_url!r}: give a path of the scheme {base.scheme!r}"
                )
            found = posixpath.normpath(wanted)
        elif wanted.startswith("/"):
            found = posixpath.normpath(wanted) if root.startswith("/") else f"/{wanted}"
        else:
            found = posixpath.normpath(f"{root}/{wanted}") if wanted else root
        if found != root and not found.startswith(f"{root}/"):
            raise ValueError(f"path {path!r} is outside of the base path {self.base_url!r}; give a path inside of it")
        return f"{base.scheme}://{found}"

    @override
    def read_file(self, path: str) -> bytes:
        filesystem: Any = self.filesystem
        url = self.resolve_url(path)
        with _saying_what_is_missing(url):
            return filesystem.cat_file(url)

    @override
    def write_file(self, path: str, content: bytes) -> str:
        url = self.resolve_url(path)
        filesystem: Any = self.filesystem
        self._make_folder(filesystem, url)
        filesystem.pipe_file(url, content)
        return url

    def iter_paths(self, folder: str) -> Iterator[str]:
        """Yield the files in a folder and below, as paths relative to the base; nothing if there is no folder.

        Asks the store each time. Blocks, whatever the colour of the caller.
        """
        filesystem, place = self._located(folder)
        base = str(filesystem._strip_protocol(self.resolve_url(None))).rstrip("/")
        try:
            found = cast("list[str]", filesystem.find(place))
        except FileNotFoundError:
            return
        for path in sorted(found):
            if not path.endswith("/"):
                yield str(filesystem._strip_protocol(path)).removeprefix(base).lstrip("/")

    def delete_file(self, path: str) -> None:
        """Delete a file; one that is not there is no error. Blocks, whatever the colour of the caller."""
        filesystem, place = self._located(path)
        with contextlib.suppress(FileNotFoundError), _saying_what_is_missing(path):
            filesystem.rm_file(place)

    def file_size(self, path: str) -> int:
        """Return how many bytes a file has.

        Raises:
            FileNotFoundError: there is no such file.
        """
        filesystem, place = self._located(path)
        with _saying_what_is_missing(path):
            return int(filesystem.size(place) or 0)

    def _located(self, path: str) -> tuple[Any, str]:
        """Return the fsspec file system and a path in it, as the methods take it that know no URLs."""
        filesystem = self._connect(use_listings_cache=False)  # others write here too
        return filesystem, str(filesystem._strip_protocol(self.resolve_url(path))).rstrip("/")

    @dual
    @override
    def put_directory(
        self,
        local_path: str | None = None,
        to_path: str | None = None,
        ignore_file: str | None = None,
        overwrite: bool = True,
    ) -> int:
        return self._put(local_path, to_path, ignore_file, overwrite=overwrite)

    def _make_folder(self, filesystem: Any, url: str) -> None:
        # In an object store a folder is nothing; asking for one there would make a bucket.
        if urlsplit(self.base_url).scheme in _OBJECT_STORES:
            return
        missing: list[str] = []
        parent: str = filesystem._parent(url)
        while parent.strip("/") and not filesystem.exists(parent):
            missing.append(parent)
            parent = filesystem._parent(parent)
        # One at a time: not every server says what `makedirs` needs to hear when the folder above is missing.
        for folder in reversed(missing):
            with contextlib.suppress(FileExistsError):  # somebody else was faster
                filesystem.mkdir(folder, create_parents=False)

    @override
    def _get(self, from_path: str | None, local_path: str | None) -> None:
        filesystem: Any = self.filesystem
        filesystem.invalidate_cache()  # others write here too
        url = self.resolve_url(from_path)
        source = str(filesystem._strip_protocol(url)).rstrip("/")
        target = Path(local_path or ".").expanduser().resolve()
        found = [path for path in cast("list[str]", filesystem.find(source)) if not path.endswith("/")]
        if not found and not filesystem.exists(source):
            raise FileNotFoundError(f"there is no folder {url!r}")
        copies: list[tuple[str, Path]] = []
        for path in found:
            local = (target / path.removeprefix(source).lstrip("/")).resolve()
            if not local.is_relative_to(target):
                raise ValueError(f"{path!r} would be written outside of {str(target)!r}; nothing was copied")
            copies.append((path, local))

        def copy(pair: tuple[str, Path]) -> None:
            pair[1].parent.mkdir(parents=True, exist_ok=True)
            pair[1].write_bytes(filesystem.cat_file(pair[0]))

        self._each(filesystem, copy, copies)

    def _put(self, local_path: str | None, to_path: str | None, ignore_file: str | None, *, overwrite: bool) -> int:
        filesystem: Any = self.filesystem
        source = Path(local_path or ".").expanduser().resolve()
        folder = self.resolve_url(to_path)
        paths = files_to_copy(source, ignore_file)
        if not overwrite:
            paths = [path for path in paths if not filesystem.exists(f"{folder}/{path}")]

        def copy(path: str) -> None:
            url = f"{folder}/{path}"
            self._make_folder(filesystem, url)
            filesystem.put_file(str(source / path), url)

        self._each(filesystem, copy, paths)
        return len(paths)

    @staticmethod
    def _each(filesystem: Any, copy: Any, items: list[Any]) -> None:
        """Copy all; several at a time where the file system has an event loop of its own."""
        if not getattr(filesystem, "async_impl", False):
            for item in items:
                copy(item)
            return
        with ThreadPoolExecutor(_COPIES_AT_A_TIME, thread_name_prefix="flowyard-copy") as pool:
            for _ in pool.map(copy, items):
                pass


class RemoteFileSystem(RemoteFiles):
    """Files anywhere that fsspec reaches, by URL.

    Example:
        from flowyard.filesystems import RemoteFileSystem

        RemoteFileSystem(basepath="s3://my-bucket/data", settings={"anon": True}).save("data")
        content = RemoteFileSystem.load("data").read_path("report.csv")
    """

    _block_type_name: ClassVar[str | None] = "Remote File System"
    _is_protected: ClassVar[bool] = True
    # What goes to fsspec has keys and passwords as often as not.
    _block_secret_fields: ClassVar[tuple[str, ...]] = ("settings.*",)

    basepath: str
    """With its scheme: `s3://bucket/folder`."""
    settings: dict[str, Any] = Field(default_factory=dict[str, Any])
    """Arguments of the fsspec file system; treated as secret."""

    @field_validator("basepath")
    @classmethod
    def _check_scheme(cls, value: str) -> str:
        scheme, separator, rest = value.partition("://")
        if not (scheme and separator and rest):
            raise ValueError(f"basepath {value!r} has no scheme; write it as 's3://bucket/folder'")
        if scheme == "file":
            raise ValueError("basepath is a local folder; use `LocalFileSystem`")
        return value

    @override
    def connection_settings(self) -> dict[str, Any]:
        return dict(self.settings)
