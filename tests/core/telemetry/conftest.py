"""What traces are told to: an exporter in memory, in the one tracer provider that a process can have."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from flowyard.process.backends import close_backends
from flowyard.settings import FLOWYARD_HOME, FLOWYARD_TRACING_ENABLED, temporary_settings
from flowyard.telemetry import TELEMETRY


@pytest.fixture(scope="session")
def exporter() -> InMemorySpanExporter:
    provider, exporter = TracerProvider(), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


@pytest.fixture
def spans(exporter: InMemorySpanExporter, tmp_path: Path) -> Iterator[InMemorySpanExporter]:
    """Trace what runs in the test; the exporter has the spans that ended."""
    exporter.clear()
    with temporary_settings({FLOWYARD_HOME: tmp_path, FLOWYARD_TRACING_ENABLED: True}):
        yield exporter
        close_backends()
    # What a process began to trace it traces for ever; the tests of other modules do not.
    TELEMETRY.is_on = False
