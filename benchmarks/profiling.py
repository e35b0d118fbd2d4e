"""`python -m benchmarks profile`: where the time of a case goes, by function and thread, or by line.

Functions: `cProfile` in every thread, on the clock of the thread's own CPU time, so that waiting for the GIL is
nobody's cost. It makes small Python functions look dearer than they are; `--lines` samples the stack instead and
does not.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import pstats
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def main(arguments: list[str]) -> int:
    """Run one case in this process and print where its time went."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks profile", description=__doc__)
    parser.add_argument("case", choices=("sequential", "submitted", "mapped", "graph", "gathered"))
    parser.add_argument("--tasks", type=int, default=5000)
    parser.add_argument("--level", default="ERROR", help="logging level of Flowyard (ERROR)")
    parser.add_argument("--sort", default="tottime", choices=("tottime", "cumulative", "ncalls"))
    parser.add_argument("--limit", type=int, default=30, metavar="N", help="lines of each list (30)")
    parser.add_argument("--lines", action="store_true", help="sample lines of the calling thread")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="flowyard-profile-", ignore_cleanup_errors=True) as home:
        # Settings are read when flowyard is imported, below.
        os.environ.update(FLOWYARD_HOME=home, FLOWYARD_LOGGING_LEVEL=options.level)
        # Another process makes the database, so that this is no part of what the journal's thread does here.
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        program = [sys.executable, "-m", "benchmarks.workloads.one_task"]
        subprocess.run(program, env=environment, check=True, capture_output=True)
        work = _work(options.case)
        if options.lines:
            work(10)
            _sample_lines(lambda: work(options.tasks), options.tasks, options.limit)
        else:
            _profile_threads(work, options.tasks, options.sort, options.limit)
    return 0


def _work(case: str) -> Callable[[int], Any]:
    # Imported when the home is set: a profile must not write into the user's database.
    from benchmarks.workloads import graph, noop, wait10ms  # noqa: PLC0415

    if case == "graph":
        return lambda count: graph.layered(4, max(10, count // 4))
    if case == "gathered":
        return lambda count: wait10ms.run("gathered", count)
    return noop.library.flow(noop.MODES[case])


def _profile_threads(work: Callable[[int], Any], tasks: int, sort: str, limit: int) -> None:
    profiles: list[tuple[str, cProfile.Profile]] = []

    def begin(frame: FrameType, event: str, argument: object) -> None:
        del frame, event, argument
        profile = _ThreadProfile(time.thread_time)
        profiles.append((threading.current_thread().name.rstrip("0123456789").rstrip("-_"), profile))
        profile.enable()  # takes the place of this function for the rest of the thread

    # Before the first run, which starts the journal's thread.
    threading.setprofile(begin)
    work(10)
    main_profile = cProfile.Profile(time.thread_time)
    profiles.append(("calling thread", main_profile))
    begin_wall, begin_cpu = time.perf_counter(), time.process_time()
    main_profile.enable()
    try:
        work(tasks)
    finally:
        main_profile.disable()
        threading.setprofile(None)
    wall, cpu = time.perf_counter() - begin_wall, time.process_time() - begin_cpu
    print(f"{wall / tasks * 1e6:,.0f} us a task (CPU {cpu / tasks * 1e6:,.0f} us); without the profiler it is less")
    by_name: dict[str, Any] = {}
    threads = Counter[str]()
    for name, profile in profiles:  # the threads of a pool are shown as one
        threads[name] += 1
        if name in by_name:
            by_name[name].add(profile)
        else:
            by_name[name] = pstats.Stats(profile)
    for name, stats in by_name.items():
        print(f"\n=== {name} ({threads[name]}): {stats.total_tt / tasks * 1e6:,.1f} us a task")
        print("    us a task  calls a task  function")
        ranked = sorted(stats.stats.items(), key=lambda item: _key(item[1], sort), reverse=True)
        for (file, line, function), (_, calls, own, total, _) in ranked[:limit]:
            cost = total if sort == "cumulative" else own
            print(f"    {cost / tasks * 1e6:9.2f}  {calls / tasks:12.2f}  {_short(file)}:{line} {function}")


class _ThreadProfile(cProfile.Profile):
    """The profile of a thread that may still run: a call that is under way is left out.

    Stopping it would end that call by the clock of the thread that stops it, which is another one.
    """

    def create_stats(self) -> None:
        self.snapshot_stats()


def _key(entry: tuple[int, int, float, float, Any], sort: str) -> float:
    return {"tottime": entry[2], "cumulative": entry[3], "ncalls": float(entry[1])}[sort]


def _sample_lines(work: Callable[[], Any], tasks: int, limit: int) -> None:
    """Note at every millisecond of CPU time which line the calling thread is at, and which lines lead there."""
    own: Counter[str] = Counter()
    leading: Counter[str] = Counter()
    samples = 0

    def note(signum: int, frame: FrameType | None) -> None:
        nonlocal samples
        del signum
        samples += 1
        place = f"{_short(frame.f_code.co_filename)}:{frame.f_lineno} {frame.f_code.co_name}" if frame else "?"
        own[place] += 1
        seen = set[str]()
        while frame:
            seen.add(f"{_short(frame.f_code.co_filename)}:{frame.f_lineno} {frame.f_code.co_name}")
            frame = frame.f_back
        leading.update(seen)

    signal.signal(signal.SIGPROF, note)
    begin, begin_thread, begin_process = time.perf_counter(), time.thread_time(), time.process_time()
    signal.setitimer(signal.ITIMER_PROF, 0.001, 0.001)
    try:
        work()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    wall = time.perf_counter() - begin
    thread, process = time.thread_time() - begin_thread, time.process_time() - begin_process
    print(
        f"{wall / tasks * 1e6:,.0f} us a task; CPU of the calling thread {thread / tasks * 1e6:,.0f}, "
        f"of all threads {process / tasks * 1e6:,.0f}; {samples:,} samples"
    )
    for title, counter in (("the line itself", own), ("the line and what it calls", leading)):
        print(f"\n=== {title}: us a task of the calling thread")
        for place, count in counter.most_common(limit):
            print(f"    {count / samples * thread / tasks * 1e6:9.2f}  {place}")


def _short(path: str) -> str:
    file = Path(path)
    if file.is_relative_to(ROOT):
        return str(file.relative_to(ROOT))
    for parent in ("site-packages", "lib", "Lib"):
        if f"/{parent}/" in path:
            return path.rpartition(f"/{parent}/")[2]
    return path if path.startswith(("<", "~")) else file.name


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
