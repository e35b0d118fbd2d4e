"""Calls with equal cache keys in several processes that share a bucket, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

SCRIPT = """
import os, sys, time
from pathlib import Path
from flowyard import flow, task
from flowyard.cache_policies import INPUTS
from flowyard.filesystems import RemoteFileSystem

storage = RemoteFileSystem(basepath=sys.argv[1], settings={"key": "key", "secret": "secret"})
folder, name = Path(sys.argv[2]), sys.argv[3]

@task(cache_policy=INPUTS, cache_lock=True, result_storage=storage)
def work(number):
    with open(folder / "calls", "a") as file:
        file.write(f"{number}\\n")
    time.sleep(0.3)
    return [number]

@flow
def one():
    (folder / name).touch()
    while not (folder / "go").exists():
        time.sleep(0.01)
    return [work(number) for number in range(3)]

print(one())
"""


def test_equal_calls_of_processes_that_share_a_bucket_execute_once(
    s3_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flowyard.filesystems import RemoteFileSystem

    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    bucket = f"bucket-{uuid4()}"
    storage = RemoteFileSystem(basepath=f"s3://{bucket}/cache", settings={"key": "key", "secret": "secret"})
    filesystem: Any = storage.filesystem
    filesystem.mkdir(bucket)
    names = [str(number) for number in range(3)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, f"s3://{bucket}/shared", str(tmp_path), name],
            env={**os.environ, "FLOWYARD_HOME": str(tmp_path / f"home-{name}"), "FLOWYARD_LOGGING_LEVEL": "ERROR"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for name in names
    ]
    waiting = set(names)
    while waiting and all(process.poll() is None for process in processes):
        waiting = {name for name in waiting if not (tmp_path / name).exists()}
    (tmp_path / "go").touch()
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert outputs == ["[[0], [1], [2]]\n"] * 3
    assert sorted((tmp_path / "calls").read_text().split()) == names
