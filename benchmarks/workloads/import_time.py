"""How long `import flowyard` takes in a process that has imported nothing else."""

import time

begin = time.perf_counter()
import flowyard  # noqa: E402, F401  # pyright: ignore[reportUnusedImport]  the import is what is timed

import_seconds = time.perf_counter() - begin

from benchmarks.workloads.reply import reply  # noqa: E402

reply(import_seconds=import_seconds)
