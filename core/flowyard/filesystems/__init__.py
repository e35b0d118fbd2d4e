"""Where files are: blocks for folders, object stores, shares and repositories, and the contract they fulfil."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowyard.filesystems.base import (
        ReadableDeploymentStorage,
        ReadableFileSystem,
        WritableDeploymentStorage,
        WritableFileSystem,
    )
    from flowyard.filesystems.github import GitHub
    from flowyard.filesystems.local import LocalFileSystem
    from flowyard.filesystems.object_stores import GCS, S3, SMB, Azure
    from flowyard.filesystems.remote import RemoteFileSystem

__all__ = [
    "GCS",
    "S3",
    "SMB",
    "Azure",
    "GitHub",
    "LocalFileSystem",
    "ReadableDeploymentStorage",
    "ReadableFileSystem",
    "RemoteFileSystem",
    "WritableDeploymentStorage",
    "WritableFileSystem",
]

_MODULES = {
    **dict.fromkeys(
        ("ReadableDeploymentStorage", "ReadableFileSystem", "WritableDeploymentStorage", "WritableFileSystem"), "base"
    ),
    **dict.fromkeys(("GCS", "S3", "SMB", "Azure"), "object_stores"),
    "GitHub": "github",
    "LocalFileSystem": "local",
    "RemoteFileSystem": "remote",
}


def __getattr__(name: str) -> Any:
    # pydantic is 60 ms that flows without blocks need not pay: results use `folder`, which loads nothing.
    if name in _MODULES:
        import importlib  # noqa: PLC0415

        found = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
        globals()[name] = found
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
