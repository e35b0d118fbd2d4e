"""Bases of blocks by what they can do."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, ClassVar, Generic, Self, TypeVar

from flowyard.blocks.core import Block
from flowyard.context import current
from flowyard.logging import get_logger, get_run_logger

T = TypeVar("T")
Logger = logging.Logger | logging.LoggerAdapter[logging.Logger]


class _Logging:
    @property
    def logger(self) -> Logger:
        """The logger of the run that this is used in, else one of the class's name."""
        here = current()
        if here.flow_run is not None or here.task_run is not None:
            return get_run_logger()
        return get_logger(type(self).__name__)


class CredentialsBlock(_Logging, Block, ABC):
    """Knows how to authenticate to a service."""

    @abstractmethod
    def get_client(self, *args: Any, **kwargs: Any) -> Any:
        """Return a client of the service; which one the arguments may say."""


class NotificationError(Exception):
    """A notification could not be sent."""

    def __init__(self, log: str) -> None:
        super().__init__(log)
        self.log = log


class NotificationBlock(_Logging, Block, ABC):
    """Sends messages to people."""

    _block_schema_capabilities: ClassVar[list[str] | None] = ["notify"]
    _raises_on_failure: bool = False

    @abstractmethod
    async def notify(self, body: str, subject: str | None = None) -> None:
        """Send a message.

        Raises:
            NotificationError: it could not be sent, inside of `raise_on_failure`.
        """

    @contextmanager
    def raise_on_failure(self) -> Generator[None]:
        """Let a failure to send be an error within the block; otherwise it is logged."""
        before, self._raises_on_failure = self._raises_on_failure, True
        try:
            yield
        finally:
            self._raises_on_failure = before


class JobRun(_Logging, ABC, Generic[T]):
    """One execution of a job of another system."""

    @abstractmethod
    async def wait_for_completion(self) -> None:
        """Return when the job has ended."""

    @abstractmethod
    async def fetch_result(self) -> T:
        """Return what the job made."""


class JobBlock(_Logging, Block, ABC):
    """A job of another system."""

    @abstractmethod
    async def trigger(self) -> JobRun[Any]:
        """Start the job."""


class DatabaseBlock(_Logging, Block, ABC):
    """A database; a context manager that closes its connections."""

    @abstractmethod
    async def fetch_one(
        self, operation: str, parameters: Any = None, **execution_kwargs: Any
    ) -> tuple[Any, ...] | None:
        """Return the next row of a query; None when there is none."""

    @abstractmethod
    async def fetch_many(
        self, operation: str, parameters: Any = None, size: int | None = None, **execution_kwargs: Any
    ) -> list[tuple[Any, ...]]:
        """Return the next `size` rows of a query."""

    @abstractmethod
    async def fetch_all(self, operation: str, parameters: Any = None, **execution_kwargs: Any) -> list[tuple[Any, ...]]:
        """Return all rows of a query."""

    @abstractmethod
    async def execute(self, operation: str, parameters: Any = None, **execution_kwargs: Any) -> None:
        """Run a statement."""

    @abstractmethod
    async def execute_many(self, operation: str, seq_of_parameters: Sequence[Any], **execution_kwargs: Any) -> None:
        """Run a statement once for each set of parameters."""

    async def __aenter__(self) -> Self:
        raise NotImplementedError(f"{type(self).__name__} does not support `async with`")

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        raise NotImplementedError(f"{type(self).__name__} does not support `async with`")

    def __enter__(self) -> Self:
        raise NotImplementedError(f"{type(self).__name__} does not support `with`")

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        raise NotImplementedError(f"{type(self).__name__} does not support `with`")


class ObjectStorageBlock(_Logging, Block, ABC):
    """A place that files and folders are copied to and from."""

    @abstractmethod
    async def download_object_to_path(self, from_path: str, to_path: str | Path, **download_kwargs: Any) -> Path:
        """Copy an object into a file and return its path."""

    @abstractmethod
    async def download_object_to_file_object(
        self, from_path: str, to_file_object: BinaryIO, **download_kwargs: Any
    ) -> BinaryIO:
        """Copy an object into an open file and return that."""

    @abstractmethod
    async def download_folder_to_path(self, from_folder: str, to_folder: str | Path, **download_kwargs: Any) -> Path:
        """Copy a folder into a local one and return its path."""

    @abstractmethod
    async def upload_from_path(self, from_path: str | Path, to_path: str, **upload_kwargs: Any) -> str:
        """Copy a file to an object and return its path."""

    @abstractmethod
    async def upload_from_file_object(self, from_file_object: BinaryIO, to_path: str, **upload_kwargs: Any) -> str:
        """Copy an open file to an object and return its path."""

    @abstractmethod
    async def upload_from_folder(self, from_folder: str | Path, to_folder: str, **upload_kwargs: Any) -> str:
        """Copy a local folder to a folder and return its path."""


class SecretBlock(_Logging, Block, ABC):
    """A place that keeps a secret."""

    @abstractmethod
    async def read_secret(self) -> bytes:
        """Return the secret."""

    @abstractmethod
    async def write_secret(self, secret_data: bytes) -> str:
        """Replace the secret and return the name it is kept under."""
