"""The example `census.py`, as the README starts it: how long its flow call takes, the start of a cluster included."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from benchmarks.workloads.reply import reply

CENSUS = Path(__file__).resolve().parents[2] / "examples" / "census.py"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runner", required=True)
    parser.add_argument("--limit", type=int)
    options = parser.parse_args()
    limit = [] if options.limit is None else ["--limit", str(options.limit)]
    command = [sys.executable, str(CENSUS), "--runner", options.runner, "--output", "json", *limit]
    report = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    files = sum(package["files"] + len(package["failures"]) for package in report["packages"])
    reply(files=files, call_seconds=report["seconds"])


if __name__ == "__main__":
    main()
