"""Log lines as JSON objects, of flows and of servers."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from flowyard.logging.formatters import JsonLineFormatter

SCRIPT = """
from flowyard import flow, task
from flowyard.task_runners import ProcessPoolTaskRunner

@task
def load(path):
    raise ValueError("no " + path)

@flow(task_runner=ProcessPoolTaskRunner(max_workers=1))
def etl():
    load.submit("disk").wait()
    return 1

if __name__ == "__main__":
    etl()
"""


def environment(home: Path, **more: str) -> dict[str, str]:
    return {**os.environ, "FLOWYARD_HOME": str(home), "FLOWYARD_LOGGING_FORMAT": "json", **more}


def test_each_line_of_a_flow_and_its_workers_is_an_object(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, tmp_path / "script.py"]
    done = subprocess.run(command, env=environment(tmp_path), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines: list[dict[str, Any]] = [json.loads(line) for line in done.stderr.splitlines()]
    assert lines[0]["flow_name"] == "etl"
    assert len({line["flow_run_id"] for line in lines}) == 1
    failed = next(line for line in lines if "exception" in line)
    assert (failed["exception"]["type"], failed["exception"]["message"]) == ("ValueError", "no disk")
    assert (failed["level"], failed["logger"], failed["task_name"]) == ("ERROR", "flowyard.task_runs", "load")


def test_each_line_of_a_server_is_an_object(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "flowyard.cli", "server", "start", "--port", "0", "--log-level", "INFO"]
    env = environment(tmp_path, FLOWYARD_LOGGING_LEVEL="DEBUG")
    with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        wanted = {"uvicorn.error", "flowyard.retention"}
        seen: list[dict[str, Any]] = []
        for line in server.stderr:
            seen.append(json.loads(line))
            if wanted <= {each["logger"] for each in seen}:
                break
        server.terminate()
        rest = server.stderr.read()
    assert wanted <= {each["logger"] for each in seen}, seen
    assert all("time" in json.loads(line) for line in rest.splitlines())


def test_a_line_says_when_and_what_even_if_its_arguments_do_not_fit() -> None:
    record = logging.makeLogRecord({"name": "a", "levelname": "INFO", "msg": "%d rows", "args": ("x",), "created": 0.5})
    record.stack_info = "Stack"
    line = json.loads(JsonLineFormatter().format(record))
    assert (line["time"], line["level"], line["stack"]) == ("1970-01-01T00:00:00.500000+00:00", "INFO", "Stack")
    assert "%d rows" in line["message"]
    assert "flow_run_id" not in line
