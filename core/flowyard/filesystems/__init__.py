"""Where files are: the contract of storage, and the local folder."""

from flowyard.filesystems.base import (
    ReadableDeploymentStorage,
    ReadableFileSystem,
    WritableDeploymentStorage,
    WritableFileSystem,
)
from flowyard.filesystems.folder import Folder as LocalFileSystem

__all__ = [
    "LocalFileSystem",
    "ReadableDeploymentStorage",
    "ReadableFileSystem",
    "WritableDeploymentStorage",
    "WritableFileSystem",
]
