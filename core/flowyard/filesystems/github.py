"""The block of a git repository."""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import ClassVar, Self
from urllib.parse import urlsplit

from pydantic import SecretStr, model_validator
from typing_extensions import override

from flowyard.duality import dual
from flowyard.filesystems.base import ReadableDeploymentStorage

_COMMIT = re.compile(r"[0-9a-f]{40}")


class GitHub(ReadableDeploymentStorage):
    """A repository on GitHub, or on any git server; only read, by the `git` program.

    Example:
        from flowyard.filesystems import GitHub

        GitHub(repository="https://github.com/me/flows", reference="main").save("flows")
        GitHub.load("flows").get_directory(local_path="checkout")
    """

    _block_type_name: ClassVar[str | None] = "GitHub"
    _is_protected: ClassVar[bool] = True

    repository: str
    """Its URL, as `git clone` takes it."""
    reference: str | None = None
    """A branch, a tag or the 40 digits of a commit; None is the default branch."""
    access_token: SecretStr | None = None
    """For a private repository; needs an `https` URL."""
    include_git_objects: bool = True
    """Whether the folder `.git` is copied too."""

    @model_validator(mode="after")
    def _check_token(self) -> Self:
        url = urlsplit(self.repository)
        is_safe = url.scheme == "https" or (url.scheme == "http" and url.hostname in ("127.0.0.1", "localhost", "::1"))
        if self.access_token is not None and not is_safe:
            raise ValueError(
                f"an access_token can only be sent to an https address, and repository is {self.repository!r}"
            )
        return self

    @dual
    @override
    def get_directory(self, from_path: str | None = None, local_path: str | None = None) -> None:
        self._get(from_path, local_path)

    def _get(self, from_path: str | None, local_path: str | None) -> None:
        target = Path(local_path or ".").expanduser().resolve()
        with tempfile.TemporaryDirectory(prefix="flowyard-git-") as temporary:
            clone = Path(temporary).resolve() / "clone"
            self._clone(clone)
            source = (clone / (from_path or ".")).resolve()
            if not source.is_relative_to(clone):
                raise ValueError(f"path {from_path!r} is outside of the repository; give a path inside of it")
            if not source.is_dir():
                raise FileNotFoundError(f"there is no folder {from_path!r} in {self.repository!r}")
            ignored = None if self.include_git_objects else shutil.ignore_patterns(".git")
            # Links stay links: what they lead to is not ours to copy.
            shutil.copytree(source, target, dirs_exist_ok=True, symlinks=True, ignore=ignored)

    def _clone(self, folder: Path) -> None:
        if self.reference is not None and _COMMIT.fullmatch(self.reference):
            self._git("init", "--quiet", str(folder))
            self._git("-C", str(folder), "fetch", "--quiet", "--depth=1", "--", self.repository, self.reference)
            self._git("-C", str(folder), "checkout", "--quiet", "FETCH_HEAD")
            return
        branch = [] if self.reference is None else [f"--branch={self.reference}"]
        self._git("clone", "--quiet", "--depth=1", *branch, "--", self.repository, str(folder))

    def _git(self, *arguments: str) -> None:
        environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0"}
        token = None if self.access_token is None else self.access_token.get_secret_value()
        if token is not None:
            # By a header from the environment: other users see the arguments of a process, and `git clone` writes its
            # URL into the copy. The header goes to this repository only.
            pair = base64.b64encode(f"x-access-token:{token}".encode()).decode()
            environment |= {
                "GIT_CONFIG_COUNT": "1",
                "GIT_CONFIG_KEY_0": f"http.{self.repository}.extraHeader",
                "GIT_CONFIG_VALUE_0": f"Authorization: Basic {pair}",
            }
        try:
            done = subprocess.run(["git", *arguments], capture_output=True, text=True, env=environment, check=False)
        except FileNotFoundError as error:
            raise OSError("the program `git` is not installed; install it to read repositories") from error
        if done.returncode:
            said = done.stderr.strip()
            where = "its default branch" if self.reference is None else repr(self.reference)
            if token:
                said = said.replace(token, "********")
            raise OSError(f"cannot copy {self.repository!r} at {where}: {said}")
