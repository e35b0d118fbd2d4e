# pyright: reportUnnecessaryTypeIgnoreComment=true
"""Only type-checked, never run: blocks keep the types of their fields, and their helpers the types of arguments."""

from __future__ import annotations

from typing import assert_type

from pydantic import SecretStr

from flowyard.blocks.core import Block
from flowyard.blocks.fields import SecretDict
from flowyard.blocks.system import Secret
from flowyard.filesystems import S3, LocalFileSystem, WritableFileSystem


class Mine(Block):
    _block_type_name = "My Block"

    user: str
    password: SecretStr
    more: SecretDict | None = None


mine = Mine(user="me", password=SecretStr("x"))
assert_type(mine.user, str)
assert_type(mine.password, SecretStr)
assert_type(mine.get_block_placeholder(), str)
assert_type(Secret(value=SecretStr("x")).get(), str)
Mine(user=1, password=SecretStr("x"))  # pyright: ignore[reportArgumentType]
Mine()  # pyright: ignore[reportCallIssue]
mine.save("name", overwrite=True)
mine.save(name=1)  # pyright: ignore[reportArgumentType]
Mine.load("name", validate=False)
Mine.load()  # pyright: ignore[reportCallIssue]


class Storage(WritableFileSystem):
    folder: str

    def read_path(self, path: str) -> bytes:
        return path.encode()

    async def write_path(self, path: str, content: bytes) -> str:
        return path


assert_type(Storage(folder="x").read_path("x"), bytes)
assert_type(S3(bucket_path="b").basepath, str)
LocalFileSystem(basepath="x").write_path("a", b"")
LocalFileSystem(basepath="x").write_path("a")  # pyright: ignore[reportCallIssue]
