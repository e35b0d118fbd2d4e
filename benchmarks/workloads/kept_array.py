"""A large array, written and read back: as a persisted result, and as raw bytes by the same process.

Memory is the growth of the peak of the resident set, of a process that does nothing else; `--part` says which.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.workloads.reply import reply
from flowyard.results import PersistedResult, ResultFactory
from flowyard.results.options import default_storage
from flowyard.serializers import PickleSerializer
from flowyard.settings import get_current_settings


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def write_raw(path: Path, megabytes: int) -> None:
    array = np.full(megabytes * 131_072, 1.5)
    begin = time.perf_counter()
    with path.open("wb", buffering=0) as file:
        rest = array.data.cast("B")
        while rest:
            rest = rest[file.write(rest) :]
    print(time.perf_counter() - begin, 0)


def read_raw(path: Path, megabytes: int) -> None:
    del megabytes
    begin = time.perf_counter()
    content = path.read_bytes()
    array = np.frombuffer(content)
    print(time.perf_counter() - begin, 0)
    assert array[-1] == 1.5


def write(path: Path, megabytes: int) -> None:
    array = np.full(megabytes * 131_072, 1.5)
    folder = default_storage(get_current_settings())
    factory = ResultFactory(
        persist_result=True,
        storage=folder,
        serializer=PickleSerializer(),
        storage_key=path.name,
        is_default_storage=True,
    )
    factory.create_result([1])
    before, begin = peak_bytes(), time.perf_counter()
    factory.create_result(array)
    print(time.perf_counter() - begin, (peak_bytes() - before) / array.nbytes)


def read(path: Path, megabytes: int) -> None:
    handle = PersistedResult[np.ndarray](
        storage=default_storage(get_current_settings()), storage_key=path.name, serializer_type="pickle"
    )
    before, begin = peak_bytes(), time.perf_counter()
    array = handle.get()
    print(time.perf_counter() - begin, (peak_bytes() - before) / array.nbytes)
    assert array[-1] == 1.5
    assert array.nbytes == megabytes << 20


PARTS = {"write-raw": write_raw, "read-raw": read_raw, "write": write, "read": read}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--megabytes", type=int, default=1024)
    parser.add_argument("--raw", action="store_true")
    parser.add_argument("--part", choices=PARTS)
    options = parser.parse_args()
    folder = Path(get_current_settings().FLOWYARD_LOCAL_STORAGE_PATH)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ("raw" if options.raw else "kept")
    if options.part:
        PARTS[options.part](path, options.megabytes)
        return
    taken: list[list[float]] = []
    for part in ("write-raw", "read-raw") if options.raw else ("write", "read"):
        command = [sys.executable, *("-m", __spec__.name), "--part", part, "--megabytes", str(options.megabytes)]
        done = subprocess.run(
            [*command, "--raw"] if options.raw else command, capture_output=True, text=True, check=True
        )
        taken.append([float(number) for number in done.stdout.split()])
    os.unlink(path)
    (write_seconds, written), (read_seconds, was_read) = taken
    reply(
        tasks=1,
        call_seconds=write_seconds + read_seconds,
        write_seconds=write_seconds,
        read_seconds=read_seconds,
        writer_growth=written,
        reader_growth=was_read,
    )


if __name__ == "__main__":
    main()
