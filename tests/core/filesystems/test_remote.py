from __future__ import annotations

import asyncio
import importlib
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pydantic import SecretStr, ValidationError

from flowyard import flow, task
from flowyard.blocks.core import Block
from flowyard.exceptions import MissingStorageDriver
from flowyard.filesystems import GCS, S3, SMB, Azure, LocalFileSystem, RemoteFileSystem
from flowyard.filesystems.folder import Folder
from flowyard.results import result_from_record


@pytest.mark.parametrize(
    ("block", "module", "command"),
    [
        (S3(bucket_path="b"), "s3fs", 'pip install "flowyard[s3]"'),
        (GCS(bucket_path="b"), "gcsfs", 'pip install "flowyard[gcs]"'),
        (Azure(bucket_path="b"), "adlfs", 'pip install "flowyard[azure]"'),
        (SMB(share_path="b", smb_host="h"), "smbclient", 'pip install "flowyard[smb]"'),
        (RemoteFileSystem(basepath="sftp://h/b"), "paramiko", "install what fsspec needs for it"),
    ],
    ids=["s3", "gcs", "azure", "smb", "sftp"],
)
def test_a_missing_driver_is_named_with_the_way_to_install_it(
    block: Any, module: str, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    for name in [name for name in sys.modules if name.startswith("fsspec.implementations.")]:
        monkeypatch.delitem(sys.modules, name)
    known: dict[str, Any] = importlib.import_module("fsspec.registry")._registry
    for scheme in list(known):
        monkeypatch.delitem(known, scheme)
    with pytest.raises(MissingStorageDriver) as caught:
        block.read_path("x")
    assert command in str(caught.value)
    assert f"{block.base_url.partition(':')[0]}://" in str(caught.value)


@pytest.mark.parametrize("basepath", ["bucket/folder", "://x", "s3://", "file:///tmp"])
def test_a_base_without_a_scheme_is_refused(basepath: str) -> None:
    with pytest.raises(ValidationError, match="basepath"):
        RemoteFileSystem(basepath=basepath)


def test_another_scheme_is_refused() -> None:
    block = RemoteFileSystem(basepath="memory://a/b")
    with pytest.raises(ValueError, match="'s3://a/b/c' is not below 'memory://a/b'"):
        block.read_path("s3://a/b/c")


def test_a_base_that_only_begins_alike_is_outside() -> None:
    block = RemoteFileSystem(basepath="memory://a/b")
    with pytest.raises(ValueError, match="outside of the base path"):
        block.read_path("memory://a/bc/d")


def test_names_with_the_signs_of_urls_are_names() -> None:
    block = RemoteFileSystem(basepath=f"memory://{uuid4()}/b")
    for name in ("what?x=1#y", "50%", "a b", "ü*[1]"):
        block.write_path(name, name.encode())
        assert block.read_path(name) == name.encode()


def test_what_would_be_written_outside_of_the_folder_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    block = RemoteFileSystem(basepath=f"memory://{uuid4()}/b")
    block.write_path("x", b"1")
    filesystem: Any = block.filesystem
    monkeypatch.setattr(type(filesystem), "find", lambda self, path: [f"{path}/../../evil"])
    with pytest.raises(ValueError, match=r"would be written outside of .*; nothing was copied"):
        block.get_directory(local_path=str(tmp_path / "here"))
    assert list(tmp_path.rglob("*")) == []


def test_existing_files_stay_without_overwrite(tmp_path: Path) -> None:
    block = RemoteFileSystem(basepath=f"memory://{uuid4()}/b")
    block.write_path("a", b"old")
    (tmp_path / "a").write_text("new")
    (tmp_path / "b").write_text("new")
    assert block.put_directory(str(tmp_path), overwrite=False) == 1
    assert (block.read_path("a"), block.read_path("b")) == (b"old", b"new")


def test_settings_are_secret_and_survive_saving(home: Path) -> None:
    block = RemoteFileSystem(basepath="memory://a/b", settings={"password": "hunter2-secret"})
    assert "hunter2" not in repr(block)
    block.save("r")
    assert Block.load("remote-file-system/r") == block


@pytest.mark.parametrize(
    "block",
    [
        S3(bucket_path="b/f", aws_access_key_id=SecretStr("id"), aws_secret_access_key=SecretStr("hunter2-s3")),
        GCS(bucket_path="b", service_account_info=SecretStr('{"key": "hunter2-gcs"}'), project="p"),
        Azure(bucket_path="b", azure_storage_account_key=SecretStr("hunter2-azure"), azure_storage_anon=False),
        SMB(share_path="/s/", smb_host="h", smb_port=4450, smb_password=SecretStr("hunter2-smb")),
        LocalFileSystem(basepath="~/x"),
    ],
    ids=lambda block: type(block).__name__,
)
def test_every_file_system_is_saved_and_loaded(block: Block, home: Path) -> None:
    block.save("it")
    loaded = type(block).load("it")
    assert loaded == block
    assert "hunter2" not in repr(loaded)


def test_an_account_that_is_no_json_is_refused_without_repeating_it() -> None:
    block = GCS(bucket_path="b", service_account_info=SecretStr("hunter2-not-json"))
    with pytest.raises(ValueError, match="service_account_info is not JSON") as caught:
        block.connection_settings()
    assert "hunter2" not in str(caught.value)


def test_a_container_is_part_of_the_base() -> None:
    assert Azure(bucket_path="f", azure_storage_container=SecretStr("c")).basepath == "az://c/f"
    assert SMB(share_path="/s/f/", smb_host="h").basepath == "smb://h/s/f"


def test_results_are_written_to_a_file_system(home: Path) -> None:
    storage = RemoteFileSystem(basepath=f"memory://{uuid4()}/results")

    @task(persist_result=True, result_storage_key="it")
    def make() -> list[int]:
        return [1]

    @flow(result_storage=storage)
    def keep() -> Any:
        return make(return_state=True)

    @flow(result_storage=storage)
    async def keep_async() -> Any:
        return make(return_state=True)

    awaiting: Any = keep_async

    async def call() -> Any:
        return await awaiting(return_state=True)

    for state in (keep(return_state=True), asyncio.run(call())):
        assert state.result().result() == [1]
        assert b"flowyard-result" in storage.read_path("it")


def test_results_are_found_by_who_did_not_write_them(home: Path) -> None:
    RemoteFileSystem(basepath=f"memory://{uuid4()}/named").save("named")

    @task(persist_result=True, result_storage="remote-file-system/named")
    def named() -> list[int]:
        return [1]

    @task(persist_result=True, result_storage=RemoteFileSystem(basepath=f"memory://{uuid4()}/unsaved"))
    def unsaved() -> list[int]:
        return [2]

    @flow
    def keep() -> list[Any]:
        return [named(return_state=True), unsaved(return_state=True)]

    for state, value in zip(keep(), ([1], [2]), strict=True):
        record = state.data.to_record()
        assert record["storage_block_id"]
        found = result_from_record(record, Folder("/nowhere"))
        assert found.get() == value


def test_a_link_that_leads_out_of_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "secret").write_text("s")
    (tmp_path / "base/link").symlink_to(tmp_path / "secret")
    with pytest.raises(ValueError, match="outside of the base path"):
        LocalFileSystem(basepath=str(tmp_path / "base")).get_directory(local_path=str(tmp_path / "out"))


def test_a_folder_equals_the_block_of_the_folder(tmp_path: Path) -> None:
    assert LocalFileSystem(basepath=str(tmp_path)) == Folder(str(tmp_path))
    assert Folder(str(tmp_path)) == LocalFileSystem(basepath=str(tmp_path))
    assert len({Folder(str(tmp_path)), LocalFileSystem(basepath=str(tmp_path))}) == 1
