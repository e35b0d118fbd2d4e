"""The contract of file systems: a folder, memory, and real protocols against servers on this machine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pydantic import SecretStr

from flowyard.filesystems import GCS, S3, SMB, Azure, LocalFileSystem, RemoteFileSystem
from flowyard.testing.filesystems import FileSystemContract

from .conftest import create_gcs_bucket


class TestLocalFileSystem(FileSystemContract):
    @pytest.fixture
    def filesystem(self, tmp_path: Path) -> LocalFileSystem:
        (tmp_path / "base").mkdir()
        return LocalFileSystem(basepath=str(tmp_path / "base"))


class TestMemory(FileSystemContract):
    @pytest.fixture
    def filesystem(self) -> RemoteFileSystem:
        return RemoteFileSystem(basepath=f"memory://{uuid4()}/base")


class TestS3(FileSystemContract):
    @pytest.fixture
    def filesystem(self, s3_server: str, monkeypatch: pytest.MonkeyPatch) -> S3:
        monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        name = f"bucket-{uuid4()}"
        block = S3(
            bucket_path=f"{name}/base", aws_access_key_id=SecretStr("key"), aws_secret_access_key=SecretStr("secret")
        )
        filesystem: Any = block.filesystem
        filesystem.mkdir(name)
        return block


class TestGCS(FileSystemContract):
    @pytest.fixture
    def filesystem(self, gcs_server: str, monkeypatch: pytest.MonkeyPatch) -> GCS:
        import fsspec.config

        monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs_server)
        monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")  # or gcsfs waits 60 s for another endpoint
        monkeypatch.setitem(fsspec.config.conf, "gcs", {"token": "anon"})
        name = f"bucket-{uuid4()}"
        create_gcs_bucket(gcs_server, name)
        return GCS(bucket_path=f"{name}/base", project="test")


class TestAzure(FileSystemContract):
    @pytest.fixture
    def filesystem(self, azure_server: str) -> Azure:
        name = f"container-{uuid4()}"
        block = Azure(bucket_path=f"{name}/base", azure_storage_connection_string=SecretStr(azure_server))
        filesystem: Any = block.filesystem
        filesystem.mkdir(name)
        return block


class TestSMB(FileSystemContract):
    @pytest.fixture
    def filesystem(self, smb_server: int, monkeypatch: pytest.MonkeyPatch) -> SMB:
        # The server's package has a script of the name of the client's; the folder of `pytest` is on the path first.
        monkeypatch.setattr(sys, "path", [folder for folder in sys.path if not Path(folder, "smbclient.py").is_file()])
        return SMB(
            share_path=f"SHARE/{uuid4()}",
            smb_host="127.0.0.1",
            smb_port=smb_server,
            smb_username=SecretStr("me"),
            smb_password=SecretStr("hunter2-smb"),
        )
