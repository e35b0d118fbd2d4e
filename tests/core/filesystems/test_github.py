"""The block of a git repository, against a git server on this machine."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from flowyard.filesystems import GitHub


def files(folder: Path) -> list[str]:
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in found if not path.startswith(".git/"))


def test_a_repository_is_copied(git_server: Any, tmp_path: Path) -> None:
    GitHub(repository=f"{git_server.address}/public").get_directory(local_path=str(tmp_path / "here"))
    assert files(tmp_path / "here") == ["flow.py", "sub/data.txt", "sub/deep/x"]
    assert (tmp_path / "here/flow.py").read_text() == "one"
    assert (tmp_path / "here/.git").is_dir()


@pytest.mark.parametrize(("reference", "content"), [("next", "two"), ("v1", "one"), ("main", "one")])
def test_a_branch_or_tag_is_copied(git_server: Any, tmp_path: Path, reference: str, content: str) -> None:
    block = GitHub(repository=f"{git_server.address}/public", reference=reference)
    block.get_directory(local_path=str(tmp_path))
    assert (tmp_path / "flow.py").read_text() == content


def test_a_commit_is_copied(git_server: Any, tmp_path: Path) -> None:
    command = ["git", "-C", str(git_server.folder / "public"), "rev-parse", "next"]
    commit = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    block = GitHub(repository=f"{git_server.address}/public", reference=commit)
    block.get_directory(local_path=str(tmp_path))
    assert (tmp_path / "flow.py").read_text() == "two"


def test_part_of_a_repository_is_copied_without_its_history(git_server: Any, tmp_path: Path) -> None:
    block = GitHub(repository=f"{git_server.address}/public", include_git_objects=False)

    async def call() -> None:
        await block.get_directory("sub", str(tmp_path / "part"))

    asyncio.run(call())
    block.get_directory(local_path=str(tmp_path / "all"))
    assert files(tmp_path / "part") == ["data.txt", "deep/x"]
    assert not (tmp_path / "all/.git").exists()


def test_a_private_repository_needs_the_token_which_is_left_nowhere(
    git_server: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    url = f"{git_server.address}/private"
    with pytest.raises(OSError, match=f"cannot copy '{url}' at its default branch"):
        GitHub(repository=url).get_directory(local_path=str(tmp_path / "no"))
    GitHub(repository=url, access_token=SecretStr(git_server.TOKEN)).get_directory(local_path=str(tmp_path / "yes"))
    assert files(tmp_path / "yes") == ["flow.py", "sub/data.txt", "sub/deep/x"]
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert git_server.TOKEN.encode() not in kept
    assert git_server.TOKEN not in "".join(capfd.readouterr())


def test_a_wrong_token_is_not_repeated(git_server: Any, tmp_path: Path) -> None:
    block = GitHub(repository=f"{git_server.address}/private", access_token=SecretStr("hunter2-wrong"))
    with pytest.raises(OSError, match="cannot copy") as caught:
        block.get_directory(local_path=str(tmp_path))
    assert "hunter2-wrong" not in str(caught.value)


@pytest.mark.parametrize("reference", ["no-such-branch", "--upload-pack=touch /tmp/x"])
def test_a_missing_reference_is_named(git_server: Any, tmp_path: Path, reference: str) -> None:
    block = GitHub(repository=f"{git_server.address}/public", reference=reference)
    with pytest.raises(OSError, match=f"at '{reference}'"):
        block.get_directory(local_path=str(tmp_path))


def test_paths_outside_of_the_repository_are_refused(git_server: Any, tmp_path: Path) -> None:
    block = GitHub(repository=f"{git_server.address}/public")
    with pytest.raises(ValueError, match=r"'\.\./\.\.' is outside of the repository"):
        block.get_directory("../..", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="no folder 'none'"):
        block.get_directory("none", str(tmp_path))


@pytest.mark.parametrize("url", ["git@github.com:me/flows.git", "http://example.com/x"])
def test_a_token_is_only_sent_over_https(url: str) -> None:
    with pytest.raises(ValidationError, match="can only be sent to an https address"):
        GitHub(repository=url, access_token=SecretStr("hunter2"))
    assert GitHub(repository=url).repository == url
