"""The command `python -m benchmarks`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import cases as spine
from benchmarks import dask_cases, machine, peers, plot, profiling, ray_cases, result_cases, server_cases, session
from benchmarks.case import Case
from benchmarks.figures import Figure, Row, table
from benchmarks.measured import Measured


def main() -> int:
    """Measure, print the table and write the results; returns 1 when a run of ours failed or lost records."""
    if sys.argv[1:2] == ["profile"]:
        return profiling.main(sys.argv[2:])
    options = _parse()
    cases = all_cases(options.peers, is_quick=options.quick)
    chosen = [case for case in cases if _is_chosen(case.name, options.only)]
    current = session.prepare(
        options.repeat or (1 if options.quick else 5), options.peers, refresh=options.refresh_peers
    )
    rows: list[Row] = []
    results: dict[str, Any] = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine.describe(),
        "quick": options.quick,
        "repeat": current.repeat,
        "peers": {
            name: peers.version(peers.PEERS[name], python)
            for name, python in current.interpreters.items()
            if name in peers.PEERS
        },
        "cases": {},
    }
    failed = False
    try:
        for case in chosen:
            session.say(f"{case.name}: {case.title}")
            measured = current.measure(case)
            case_rows = case.rows(measured)
            rows += case_rows
            results["cases"][case.name] = _case_to_json(case, measured, case_rows)
            failed = failed or any(arm.label in measured.failures for arm in case.arms if arm.subject == "flowyard")
    finally:
        current.close()
    print(", ".join(f"{name}: {value}" for name, value in results["machine"].items()))
    if results["peers"]:
        print(
            "peers: "
            + ", ".join(f"{peers.PEERS[name].title} ({version})" for name, version in results["peers"].items())
        )
    print(table(rows))
    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)
        (options.output / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    if options.plot:
        try:
            plot.draw(results, (options.output or Path()) / "results.svg")
        except plot.PlotUnavailable as problem:
            print(problem, file=sys.stderr)
            return 1
    return 1 if failed else 0


def all_cases(peers_wanted: Sequence[str], *, is_quick: bool) -> list[Case]:
    """Return every case, in the order of the table."""
    return [
        *spine.all_cases(spine.QUICK if is_quick else spine.FULL, peers_wanted),
        *result_cases.result_cases(result_cases.QUICK if is_quick else result_cases.FULL),
        *server_cases.server_cases(server_cases.QUICK if is_quick else server_cases.FULL, peers_wanted),
        *dask_cases.dask_cases(dask_cases.QUICK if is_quick else dask_cases.FULL, peers_wanted),
        *ray_cases.ray_cases(ray_cases.QUICK if is_quick else ray_cases.FULL, peers_wanted),
    ]


def _parse() -> argparse.Namespace:
    names = [case.name for case in all_cases((), is_quick=False)]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measures Flowyard and its peers. `python -m benchmarks profile --help` finds where the time goes.",
    )
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="NAME",
        help=f"cases to run: {', '.join(names)}; `dask`, `ray` and `server` mean all of these. "
        "Without, all of the spine",
    )
    parser.add_argument(
        "--quick", action="store_true", help="few tasks, one repeat: tries the harness, gives no figure"
    )
    parser.add_argument("--repeat", type=int, metavar="N", help="samples of each figure (5)")
    parser.add_argument(
        "--peers",
        nargs="?",
        const=",".join(peers.PEERS),
        default="",
        help=f"compare with peers, all or some of {','.join(peers.PEERS)}; their environments are made when missing",
    )
    parser.add_argument(
        "--refresh-peers", action="store_true", help="make the environments anew, with what is latest now"
    )
    parser.add_argument("--output", type=Path, metavar="DIR", help="where results.json and results.svg are written")
    parser.add_argument("--plot", action="store_true", help="draw results.svg (needs the dependency group `bench`)")
    options = parser.parse_args()
    for name in options.only or ():
        if not any(_is_chosen(known, [name]) for known in names):
            parser.error(f"argument --only: no case {name!r}; choose from {', '.join(names)}")
    options.peers = [name for name in options.peers.split(",") if name]
    for name in options.peers:
        if name not in peers.PEERS:
            parser.error(f"unknown peer {name!r}; choose from {', '.join(peers.PEERS)}")
    return options


def _is_chosen(name: str, only: Sequence[str] | None) -> bool:
    """Say whether a case is to be run; what takes a cluster, or minutes, must be named."""
    library, _, is_on_cluster = name.partition("-")
    return name in only or library in only if only else not is_on_cluster


def _case_to_json(case: Case, measured: Measured, rows: list[Row]) -> dict[str, Any]:
    return {
        "title": case.title,
        "arms": {
            label: {name: Figure(tuple(samples), "").to_json() for name, samples in values.items()}
            for label, values in measured.samples.items()
        },
        "failures": measured.failures,
        "rows": [row.to_json() for row in rows],
    }


if __name__ == "__main__":
    raise SystemExit(main())
