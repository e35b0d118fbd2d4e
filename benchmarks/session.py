"""One run of the benchmark: prepares the environments, takes the samples in turn, checks the records."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import launch, peers, records
from benchmarks.case import PEER_LIBRARY, Case
from benchmarks.launch import Arm, RunFailed
from benchmarks.measured import Measured
from benchmarks.records import RecordsMissing


def say(text: str) -> None:
    """Tell the person who waits what is going on; results go to standard output, this does not."""
    print(text, file=sys.stderr, flush=True)


@dataclass(slots=True)
class Session:
    """The interpreters of the subjects, and the homes that peers start from."""

    repeat: int
    interpreters: dict[str, Path]
    unavailable: Mapping[str, str] = field(default_factory=dict[str, str])
    home_templates: dict[str, Path] = field(default_factory=dict[str, Path])
    _stack: ExitStack = field(default_factory=ExitStack)

    def close(self) -> None:
        """Remove what was made for this run."""
        self._stack.close()

    def measure(self, case: Case) -> Measured:
        """Take every arm's samples: one unmeasured run each (byte code, file caches), then A B A B.

        A case that takes long has no unmeasured run, and fewer samples.
        """
        measured = Measured()
        for arm in case.arms:
            if arm.subject in self.unavailable:
                measured.failures[arm.label] = self.unavailable[arm.subject]
        repeats = range(-1, self.repeat) if case.samples is None else range(min(case.samples, self.repeat))
        for repeat in repeats:
            for arm in case.arms:
                if arm.label in measured.failures:
                    continue
                say(f"  {case.name}: {arm.label} ({'warm-up' if repeat < 0 else f'{repeat + 1} of {repeats.stop}'})")
                try:
                    values = self._run(case, arm, first=repeat == repeats.start)
                except (RunFailed, RecordsMissing) as problem:
                    measured.failures[arm.label] = f"{type(problem).__name__}: {problem}"
                    say(f"    FAILED: {problem}")
                    continue
                if repeat >= 0:
                    measured.add(arm.label, values)
        return measured

    def _run(self, case: Case, arm: Arm, *, first: bool) -> dict[str, float]:
        python = self.interpreters[arm.subject]
        with launch.run(arm, python, self._home_template(arm, python)) as reply:
            if expected := case.expected.get(arm.label):
                records.verify(reply.home, expected)
                if first:
                    self._read_back(arm, reply.home, expected)
            return reply.values

    def _read_back(self, arm: Arm, home: Path, expected: records.Expected) -> None:
        reading = Arm(f"{arm.label}, read back", launch.workload("read_back"))
        with launch.run(reading, self.interpreters["flowyard"], home_template=home) as reply:
            values = {name: int(value) for name, value in reply.values.items() if name != "process_seconds"}
        sample = min(expected.tasks, values["sample"])
        wanted = {
            "flow_runs": expected.flow_runs,
            "completed_task_runs": expected.tasks,
            "rolled_up_task_runs": expected.tasks,
            "sample": sample,
            "complete_in_sample": sample,
        }
        if values != wanted or not sample:
            raise RecordsMissing(f"the control plane reads {values}, and {wanted} were expected")

    def _home_template(self, arm: Arm, python: Path) -> Path | None:
        """Return a home that a peer has made its database in: Prefect 2 takes 15 s for that."""
        if not arm.subject.startswith("prefect"):
            return None
        if arm.subject not in self.home_templates:
            folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="flowyard-benchmark-home-")))
            say(f"  making the database of {peers.PEERS[arm.subject].title}")
            first = Arm(f"{arm.label}, first run", launch.workload("noop", tasks=1), arm.subject, PEER_LIBRARY)
            with launch.run(first, python) as reply:
                reply.home.rename(folder / "home")
            self.home_templates[arm.subject] = folder / "home"
        return self.home_templates[arm.subject]


def prepare(repeat: int, peer_names: list[str], *, refresh: bool) -> Session:
    """Make the environments of the peers that were asked for."""
    interpreters = {"flowyard": launch.own_interpreter()}
    unavailable: dict[str, str] = {}
    for name in peer_names:
        say(f"environment of {peers.PEERS[name].title}")
        try:
            interpreters[name] = peers.interpreter(peers.PEERS[name], refresh=refresh)
        except peers.PeerUnavailable as problem:
            unavailable[name] = str(problem)
            say(f"  not available: {problem}")
    return Session(repeat, interpreters, unavailable)
