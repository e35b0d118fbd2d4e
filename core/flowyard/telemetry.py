"""Traces for OpenTelemetry: a span for each flow run, task run and request of a server. Optional: `opentelemetry`.

Off, it costs a flow one look at `TELEMETRY.is_on`, and a task one at its call's context. The context of a trace travels
as the text of a `traceparent` header (W3C Trace Context): in the calls that go to workers, and in requests.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Awaitable, Mapping
from contextvars import Context
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from flowyard._version import __version__
from flowyard.exceptions import InvalidSetting
from flowyard.schemas.events import JournalEvent, TaskRunEntered
from flowyard.schemas.runs import FlowRun, TaskRun
from flowyard.schemas.states import State, StateType
from flowyard.settings import FLOWYARD_TRACING_ENABLED, Settings

if TYPE_CHECKING:
    from opentelemetry import context as otel
    from opentelemetry.trace import Span, Tracer

HEADER = "traceparent"
_WORKER_DELAY_MILLISECONDS = 50.0
_FAILURES = (StateType.FAILED, StateType.CRASHED)
_logger = logging.getLogger("flowyard.telemetry")
T = TypeVar("T")


class _Outcome(Protocol):
    @property
    def state(self) -> State[Any]: ...


class _Recorder(Protocol):
    def append(self, event: JournalEvent) -> None: ...


_O = TypeVar("_O", bound=_Outcome)


class Telemetry:
    """What this process tells OpenTelemetry; off until a flow or a server wants it."""

    def __init__(self) -> None:
        self.is_on = False
        self._tracer: Tracer | None = None
        self._is_missing = False
        self._lock = threading.Lock()

    def follow(self, settings: Settings) -> None:
        """Begin to trace if the settings say so. It goes on for the life of the process.

        The spans go to the tracer provider of the program, if it has set one; else over OTLP/HTTP to where the
        variables `OTEL_EXPORTER_OTLP_...` say.

        Raises:
            InvalidSetting: OpenTelemetry is not installed.
        """
        if self.is_on or not settings.FLOWYARD_TRACING_ENABLED:
            return
        if not self._start():
            advice = "OpenTelemetry is not installed: pip install 'flowyard[opentelemetry]'"
            raise InvalidSetting(FLOWYARD_TRACING_ENABLED.name, True, advice)

    def _start(self, *, is_worker: bool = False) -> bool:
        """Begin to trace; False when what it takes is not installed here."""
        with self._lock:
            if self.is_on or self._is_missing:
                return self.is_on
            try:
                from opentelemetry import trace  # noqa: PLC0415  optional

                if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
                    trace.set_tracer_provider(_own_provider(is_worker=is_worker))
            except ImportError as error:
                _logger.debug("no traces: %s", error)
                self._is_missing = True
                return False
            self._tracer = trace.get_tracer("flowyard", __version__)
            self.is_on = True
            return True

    # --- the context of a trace ---------------------------------------------------------------------------------

    def here(self, user_context: Context | None = None) -> str:
        """Return the present place in a trace as text, or that of some context variables; empty outside of one."""
        return _place() if user_context is None else user_context.copy().run(_place)

    def headers(self) -> Mapping[str, str]:
        """Return what a request carries of the present trace."""
        place = _place() if self.is_on else ""
        return {HEADER: place} if place else {}

    def place_fields(self) -> Mapping[str, str]:
        """Return the ids of the present trace and span, as log lines have them; nothing outside of one."""
        if not self.is_on:
            return {}
        context = _current_span().get_span_context()
        if not context.is_valid:
            return {}
        return {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}

    # --- runs ---------------------------------------------------------------------------------------------------

    async def flow_steps(self, name: str, steps: Awaitable[State[Any]]) -> State[Any]:
        """Execute a flow run within a span."""
        assert self._tracer is not None
        with self._tracer.start_as_current_span(name, attributes={"flowyard.run.kind": "flow"}) as span:
            state = await steps
            _end(span, state)
            return state

    def flow_run_began(self, run: FlowRun) -> None:
        """Say on the present span whose it is, if there are any."""
        if not self.is_on:
            return
        _current_span().set_attributes(
            {
                "flowyard.flow.name": run.flow_name or "",
                "flowyard.flow_run.id": str(run.id),
                "flowyard.flow_run.name": run.name,
                "flowyard.run.tags": list(run.tags),
            }
        )

    def entered(self, state: State[Any]) -> None:
        """Note a state between the first and the last, such as a retry, on the present span, if there are any."""
        if self.is_on:
            _note(_current_span(), state)

    async def task_steps(self, run: TaskRun, place: str, recording: Recording, steps: Awaitable[_O]) -> _O:
        """Execute a task run within a span.

        Args:
            run: what executes.
            place: where in a trace it was called.
            recording: what its steps record with.
            steps: to be executed.
        """
        # Where it is not on yet, this is a worker.
        if not self._start(is_worker=True):
            return await steps
        assert self._tracer is not None
        attributes = {
            "flowyard.run.kind": "task",
            "flowyard.task.name": run.task_name,
            "flowyard.task_run.id": str(run.id),
            "flowyard.task_run.name": run.name,
            "flowyard.run.tags": list(run.tags),
        }
        if run.flow_run_id is not None:
            attributes["flowyard.flow_run.id"] = str(run.flow_run_id)
        parent = _context_of(place)
        with self._tracer.start_as_current_span(run.task_name, parent, attributes=attributes) as span:
            recording.span = span
            outcome = await steps
            span.set_attribute("flowyard.task_run.run_count", run.run_count)
            _end(span, outcome.state)
            return outcome

    # --- requests -----------------------------------------------------------------------------------------------

    def request_span(self, method: str, place: str) -> Any:
        """Return a context manager that is in the span of a request which a server answers; yields the span."""
        from opentelemetry.trace import SpanKind  # noqa: PLC0415  optional

        assert self._tracer is not None
        attributes = {"http.request.method": method}
        return self._tracer.start_as_current_span(
            method, _context_of(place), kind=SpanKind.SERVER, attributes=attributes
        )


class Recording:
    """A recorder that notes the states between the first and the last on a span too."""

    def __init__(self, recorder: _Recorder) -> None:
        self._recorder = recorder
        self.span: Span | None = None

    def append(self, event: JournalEvent) -> None:
        """Record an event."""
        if self.span is not None and isinstance(event, TaskRunEntered):
            _note(self.span, event.state)
        self._recorder.append(event)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._recorder, name)


def _own_provider(*, is_worker: bool) -> Any:
    """Return a provider whose spans go over OTLP/HTTP, all of it as the variables `OTEL_...` say."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415  optional
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    named = "OTEL_SERVICE_NAME" in os.environ
    provider = TracerProvider(resource=Resource.create({} if named else {SERVICE_NAME: "flowyard"}))
    # Ray kills its workers when the flow has ended: they cannot wait for the usual 5 seconds.
    delay = _WORKER_DELAY_MILLISECONDS if is_worker and "OTEL_BSP_SCHEDULE_DELAY" not in os.environ else None
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(), schedule_delay_millis=delay))
    return provider


def _place() -> str:
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get(HEADER, "")


def _context_of(place: str) -> otel.Context:
    from opentelemetry.context import Context as TraceContext  # noqa: PLC0415
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

    # Of an empty one: what a thread of a pool happens to be in has nothing to do with it.
    return TraceContextTextMapPropagator().extract({HEADER: place}, TraceContext())


def _current_span() -> Span:
    from opentelemetry.trace import get_current_span  # noqa: PLC0415

    return get_current_span()


def _note(span: Span, state: State[Any]) -> None:
    if state.is_final() or state.name in ("Pending", "Running"):
        return
    span.add_event(state.name, {"flowyard.state.type": state.type.value, "flowyard.state.message": state.message or ""})


def _end(span: Span, state: State[Any]) -> None:
    from opentelemetry.trace import StatusCode  # noqa: PLC0415

    span.set_attributes({"flowyard.state.type": state.type.value, "flowyard.state.name": state.name})
    if state.type in _FAILURES:
        span.set_status(StatusCode.ERROR, state.message)


TELEMETRY = Telemetry()
"""That of this process."""
