"""Spans of flow runs, task runs and requests."""

# What a test's flow returns is known by the test.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from flowyard import flow, task
from flowyard.exceptions import InvalidSetting
from flowyard.local.backend import LocalBackend
from flowyard.process.backends import close_backends
from flowyard.server.app import create_app
from flowyard.settings import (
    FLOWYARD_API_URL,
    FLOWYARD_TRACING_ENABLED,
    Settings,
    get_current_settings,
    temporary_settings,
)
from flowyard.telemetry import TELEMETRY, Telemetry
from flowyard.testing.servers import serving


def parents(exporter: InMemorySpanExporter) -> list[tuple[str, str | None]]:
    """Return the names of the spans and of what they are in, sorted."""
    found = exporter.get_finished_spans()
    names = {span.context.span_id: span.name for span in found if span.context is not None}
    return sorted(
        ((span.name, names[span.parent.span_id] if span.parent is not None else None) for span in found),
        key=str,
    )


def one(exporter: InMemorySpanExporter, name: str) -> ReadableSpan:
    (found,) = [span for span in exporter.get_finished_spans() if span.name == name]
    return found


@task
def add(x: int) -> int:
    with trace.get_tracer("mine").start_as_current_span("mine"):
        return x + 1


@task
async def add_later(x: int) -> int:
    await asyncio.sleep(0)
    return x + 1


@flow
def child() -> int:
    return add(1)


def test_each_run_is_a_span_in_the_one_that_called_it(spans: InMemorySpanExporter) -> None:
    @flow
    def parent() -> int:
        with trace.get_tracer("mine").start_as_current_span("part"):
            first = add.submit(1)
        later = add_later.submit(first)
        return later.result() + child()

    assert parent() == 5
    assert parents(spans) == sorted(
        [
            *[("parent", None), ("part", "parent"), ("add", "part"), ("mine", "add"), ("add_later", "parent")],
            *[("child", "parent"), ("add", "child"), ("mine", "add")],
        ],
        key=str,
    )
    assert len({span.context.trace_id for span in spans.get_finished_spans() if span.context is not None}) == 1


def test_spans_of_async_flows_at_once_are_each_in_their_own(spans: InMemorySpanExporter) -> None:
    @flow
    async def inner(name: str) -> int:
        with trace.get_tracer("mine").start_as_current_span(name):
            return await add_later(1)

    @flow
    async def outer() -> list[int]:
        return list(await asyncio.gather(inner("left"), inner("right")))

    assert asyncio.run(outer()) == [2, 2]
    expected = [("outer", None), ("left", "inner"), ("right", "inner"), ("add_later", "left"), ("add_later", "right")]
    assert parents(spans) == sorted([*expected, ("inner", "outer"), ("inner", "outer")], key=str)


def test_a_span_says_whose_it_is_and_how_the_run_ended(spans: InMemorySpanExporter) -> None:
    @task(retries=1)
    def fragile() -> None:
        raise ValueError("no disk")

    @flow(flow_run_name="tonight")
    def etl() -> None:
        fragile()

    state: Any = etl(return_state=True)
    run_id = str(state.state_details.flow_run_id)
    failed, whole = one(spans, "fragile"), one(spans, "etl")
    assert failed.attributes is not None
    assert whole.attributes is not None
    assert failed.attributes["flowyard.flow_run.id"] == whole.attributes["flowyard.flow_run.id"] == run_id
    assert (failed.attributes["flowyard.state.type"], failed.attributes["flowyard.task_run.run_count"]) == ("FAILED", 2)
    assert [event.name for event in failed.events] == ["AwaitingRetry", "Retrying"]
    assert failed.status.status_code is whole.status.status_code is trace.StatusCode.ERROR
    assert "no disk" in (failed.status.description or "")


def test_a_flow_retry_is_an_event(spans: InMemorySpanExporter) -> None:
    attempts: list[int] = []

    @flow(retries=1)
    def etl() -> None:
        attempts.append(1)
        if len(attempts) == 1:
            raise ValueError("no disk")

    etl()
    assert [event.name for event in one(spans, "etl").events] == ["AwaitingRetry", "Retrying"]
    assert one(spans, "etl").status.status_code is trace.StatusCode.UNSET


def test_nothing_is_traced_unless_it_is_asked_for(spans: InMemorySpanExporter) -> None:
    with temporary_settings({FLOWYARD_TRACING_ENABLED: False}):
        assert child() == 2
    assert parents(spans) == [("mine", None)]
    assert not TELEMETRY.is_on


def test_without_the_library_the_setting_says_what_to_install(
    spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    del spans
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(InvalidSetting, match=r"pip install 'flowyard\[opentelemetry\]'"):
        Telemetry().follow(get_current_settings())


def test_a_request_of_a_server_is_a_span_in_the_trace_of_the_flow(spans: InMemorySpanExporter) -> None:
    settings = Settings({FLOWYARD_TRACING_ENABLED: True})
    with (
        LocalBackend.in_memory() as backend,
        serving(create_app(settings, backend=backend)) as server,
        temporary_settings({FLOWYARD_API_URL: f"{server.address}/api"}),
    ):
        assert child() == 2
        close_backends()
    found = parents(spans)
    assert ("child", None) in found
    assert ("POST /api/control/{noun}/{method}", "child") in found
    # What is sent in batches belongs to no single run.
    assert ("POST /api/journal", None) in found
    assert one(spans, "child").context is not None
    answered = [span for span in spans.get_finished_spans() if span.name.startswith("POST /api/control")]
    assert all((span.attributes or {})["http.response.status_code"] == 200 for span in answered)


# --- over OTLP, with workers ----------------------------------------------------------------------------------


@pytest.fixture
def collector() -> Iterator[tuple[str, list[Any]]]:
    """A receiver of OTLP/HTTP: its address, and the spans that came."""
    received: list[Any] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            request = ExportTraceServiceRequest.FromString(body)
            received.extend(
                ({at.key: at.value.string_value for at in resource.resource.attributes}, span)
                for resource in request.resource_spans
                for scope in resource.scope_spans
                for span in scope.spans
            )
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            del format, args

    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", received
    server.shutdown()
    server.server_close()
    thread.join()


SCRIPT = """
import os
from flowyard import flow, task
{runner_import}

@task
def double(x):
    return x * 2, os.getpid()

@flow(task_runner={runner})
def etl():
    return double.map(range(4)).result()

if __name__ == "__main__":
    values, pids = zip(*etl())
    assert sum(values) == 12
    assert os.getpid() not in pids
"""


@pytest.mark.parametrize(
    ("module", "runner"),
    [
        pytest.param("flowyard.task_runners", "ProcessPoolTaskRunner(max_workers=2)", id="process"),
        pytest.param("flowyard_dask", "DaskTaskRunner(cluster_kwargs={'n_workers': 2})", id="dask"),
        pytest.param("flowyard_ray", "RayTaskRunner(init_kwargs={'num_cpus': 2})", id="ray", marks=pytest.mark.ray),
    ],
)
def test_spans_of_worker_processes_reach_a_collector_in_the_trace_of_their_flow(
    collector: tuple[str, list[Any]], tmp_path: Path, module: str, runner: str
) -> None:
    pytest.importorskip(module)
    address, received = collector
    runner_import = f"from {module} import {runner.partition('(')[0]}"
    (tmp_path / "script.py").write_text(SCRIPT.format(runner_import=runner_import, runner=runner))
    env = {
        **os.environ,
        "FLOWYARD_HOME": str(tmp_path),
        "FLOWYARD_TRACING_ENABLED": "true",
        "OTEL_EXPORTER_OTLP_ENDPOINT": address,
        "OTEL_SERVICE_NAME": "warehouse",
    }
    done = subprocess.run(
        [sys.executable, tmp_path / "script.py"], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    whole = next(span for _, span in received if span.name == "etl")
    inner = [span for _, span in received if span.name == "double"]
    assert len(inner) == 4
    assert {(span.trace_id, span.parent_span_id) for span in inner} == {(whole.trace_id, whole.span_id)}
    assert {resource["service.name"] for resource, _ in received} == {"warehouse"}
