"""Other tools, each in a virtual environment of its own that is made here and kept in the user's cache folder."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


class PeerUnavailable(Exception):
    """The environment of a peer could not be made."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A tool to compare with, and what must be installed to run it."""

    name: str
    title: str
    distribution: str
    requirements: tuple[str, ...]
    imports: str
    """A module that fails to import when the tool was installed with something it cannot work with."""


PEERS = {
    peer.name: peer
    for peer in (
        Peer("prefect2", "Prefect 2.20", "prefect", ("prefect==2.20.*",), "prefect.server.api.server"),
        # Prefect 3.8 calls FastAPI's `Body` with an argument that FastAPI 0.150 or later no longer takes.
        Peer("prefect3", "Prefect 3", "prefect", ("prefect>=3,<4", "fastapi<0.150"), "prefect.server.api.server"),
        Peer(
            "prefect-dask",
            "prefect-dask on Prefect 2.20",
            "prefect-dask",
            ("prefect==2.20.*", "prefect-dask==0.2.*", "distributed"),
            "prefect_dask",
        ),
        Peer(
            "prefect-ray",
            "prefect-ray on Prefect 2.20",
            "prefect-ray",
            ("prefect==2.20.*", "prefect-ray==0.3.*", "ray>=2.40"),
            "prefect_ray",
        ),
        Peer("dbos", "DBOS", "dbos", ("dbos",), "dbos"),
        Peer("parsl", "Parsl", "parsl", ("parsl",), "parsl"),
    )
}


def cache_folder() -> Path:
    """Return the folder where environments are kept between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "flowyard-benchmarks")


def interpreter(peer: Peer, *, refresh: bool = False) -> Path:
    """Return the interpreter of the peer's environment, which is made if it is not there.

    "Latest" is what was latest when the environment was made; `refresh` makes it anew.

    Raises:
        PeerUnavailable: uv is missing, or the peer cannot be installed or imported; says why.
    """
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    digest = hashlib.sha256(" ".join((version, *peer.requirements)).encode()).hexdigest()[:8]
    folder = cache_folder() / "environments" / f"{peer.name}-{digest}"
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    complete = folder / "complete"
    if refresh:
        shutil.rmtree(folder, ignore_errors=True)
    if complete.exists():
        return python
    uv = shutil.which("uv")
    if uv is None:
        raise PeerUnavailable("uv is needed to make the environments of peers; `pip install uv` installs it")
    shutil.rmtree(folder, ignore_errors=True)
    for command in (
        [uv, "venv", "--quiet", "--python", sys.executable, str(folder)],
        [uv, "pip", "install", "--quiet", "--python", str(python), *peer.requirements],
        [str(python), "-c", f"import {peer.imports}"],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise PeerUnavailable(f"{peer.title} cannot be installed here: {done.stderr.strip()[-500:]}")
    complete.touch()
    return python


def version(peer: Peer, python: Path) -> str:
    """Return which version of the peer is in its environment."""
    code = f"import importlib.metadata as m; print(m.version({peer.distribution!r}))"
    return subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True).stdout.strip()
