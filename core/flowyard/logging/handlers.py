"""Where log records go: the console, the journal of the run, and the handlers of the root logger.

A handler that fails says so on stderr, once for each place that logged and for each error, and never fails a run.
"""

from __future__ import annotations

import logging
import sys
import traceback
import warnings
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO
from uuid import UUID

from typing_extensions import override

from flowyard.context import current
from flowyard.exceptions import MissingContextError, RecordsNotDurable
from flowyard.logging.formatters import ConsoleFormatter, JsonLineFormatter, message_of, trailing_text
from flowyard.logging.highlighters import FlowyardConsoleHighlighter
from flowyard.logging.run_log import RunLog
from flowyard.ports import Recorder
from flowyard.schemas.events import LogEmitted
from flowyard.settings import (
    FLOWYARD_LOGGING_COLORS,
    FLOWYARD_LOGGING_FORMAT,
    FLOWYARD_LOGGING_MARKUP,
    FLOWYARD_LOGGING_TO_API_ENABLED,
    FLOWYARD_LOGGING_TO_API_MAX_LOG_SIZE,
    FLOWYARD_LOGGING_TO_API_WHEN_MISSING_FLOW,
    Settings,
    get_current_settings,
)

if TYPE_CHECKING:
    from rich.console import Console

_StreamHandler = logging.StreamHandler[TextIO] if TYPE_CHECKING else logging.StreamHandler


class FailureReport:
    """Says on stderr that a handler failed: once per place and error, at most `limit` times."""

    def __init__(self, limit: int = 20) -> None:
        self._seen: set[tuple[str, int, type[BaseException] | None]] = set()
        self._limit = limit

    def __call__(self, handler: logging.Handler, record: logging.LogRecord) -> None:
        """Report the exception that is being handled."""
        kind, error, _ = sys.exc_info()
        place = (record.pathname, record.lineno, kind)
        if not logging.raiseExceptions or place in self._seen or len(self._seen) >= self._limit:
            return
        self._seen.add(place)
        stderr = sys.stderr
        if stderr is None:  # pyright: ignore[reportUnnecessaryComparison]  so it is under pythonw
            return
        try:
            stderr.write(
                f"--- {type(handler).__name__} could not handle a record of {record.name!r}; the run goes on, and "
                "the same failure is not shown again ---\n" + "".join(traceback.format_exception(error))
            )
        except (OSError, ValueError):
            return  # stderr is closed or full: there is nowhere left to say it


class FlowyardConsoleHandler(_StreamHandler):
    """Writes one line per record to stderr, in one write.

    `sys.stderr` is looked up for each record, as it may be replaced: by a test, by the progress view. Colours are
    used on terminals only. With `FLOWYARD_LOGGING_MARKUP` rich renders the markup of messages.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        highlighter: type[FlowyardConsoleHighlighter] = FlowyardConsoleHighlighter,
        styles: Mapping[str, str] | None = None,
        level: int | str = logging.NOTSET,
        *,
        settings: Settings | None = None,
    ) -> None:
        self._stream: TextIO | None = None
        super().__init__(stream)
        self.setLevel(level)
        settings = settings or get_current_settings()
        is_json = FLOWYARD_LOGGING_FORMAT.value_from(settings) == "json"
        self.formatter = JsonLineFormatter() if is_json else ConsoleFormatter()
        self._uses_colours = FLOWYARD_LOGGING_COLORS.value_from(settings) and not is_json
        self._uses_markup = FLOWYARD_LOGGING_MARKUP.value_from(settings) and not is_json
        self._highlighter = highlighter(styles)
        self._known: tuple[TextIO | None, FlowyardConsoleHighlighter | None] = (None, None)
        self._console: Console | None = None
        self._report = FailureReport()

    @property
    def stream(self) -> TextIO:
        """The stream that was given, else what `sys.stderr` is now."""
        return self._stream or sys.stderr

    @stream.setter
    def stream(self, value: TextIO | None) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        self._stream = None if value is sys.stderr else value

    @override
    def emit(self, record: logging.LogRecord) -> None:
        try:
            stream = self.stream
            if stream is None:  # pyright: ignore[reportUnnecessaryComparison]  so it is under pythonw
                return
            line = self.format(record)
            if self._uses_markup:
                self._print_markup(stream, line)
                return
            known, highlighter = self._known
            if known is not stream:
                highlighter = self._highlighter if self._uses_colours and _is_terminal(stream) else None
                self._known = (stream, highlighter)
            if highlighter is not None:
                line = highlighter.highlight(line)
            stream.write(line + "\n")
            if not getattr(stream, "line_buffering", False):  # stderr is: the write was flushed already
                stream.flush()
        except RecursionError:
            raise
        except Exception:  # whatever a stream or a `__str__` of a user raises
            self.handleError(record)

    def _print_markup(self, stream: TextIO, line: str) -> None:
        # rich takes 50 ms to import and only this option needs it.
        from rich.console import Console  # noqa: PLC0415
        from rich.errors import MarkupError  # noqa: PLC0415

        if self._console is None or self._console.file is not stream:
            self._console = Console(file=stream, no_color=not self._uses_colours, soft_wrap=True)
        try:
            self._console.print(line, markup=True, highlight=False)
        except MarkupError:  # `[/x]` in a message is not markup then
            self._console.print(line, markup=False, highlight=False)

    @override
    def handleError(self, record: logging.LogRecord) -> None:
        self._report(self, record)


PrefectConsoleHandler = FlowyardConsoleHandler


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except (AttributeError, ValueError):  # a stand-in of a test; a closed file
        return False


class JournalLogHandler(logging.Handler):
    """Records log lines of runs where their states are recorded.

    A record belongs to the run whose logger made it, else to the innermost run that is executing here. Attribute
    `send_to_api=False` (in `extra`) keeps a record out. Outside of runs `FLOWYARD_LOGGING_TO_API_WHEN_MISSING_FLOW`
    decides. A message of more bytes than `FLOWYARD_LOGGING_TO_API_MAX_LOG_SIZE` is cut.
    """

    def __init__(self, level: int | str = logging.NOTSET, *, settings: Settings | None = None) -> None:
        super().__init__(level)
        settings = settings or get_current_settings()
        self._is_enabled = FLOWYARD_LOGGING_TO_API_ENABLED.value_from(settings)
        self._max_bytes = FLOWYARD_LOGGING_TO_API_MAX_LOG_SIZE.value_from(settings)
        self._when_missing = FLOWYARD_LOGGING_TO_API_WHEN_MISSING_FLOW.value_from(settings)
        self._report = FailureReport()

    @classmethod
    def flush(cls) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]  a class method in Prefect 2 too
        """Do nothing: the journal commits by itself, and before a flow run ends."""

    @classmethod
    async def aflush(cls) -> None:
        """Do nothing, as `flush`."""

    @override
    def handle(self, record: logging.LogRecord) -> bool:
        # Without the lock that stdlib takes here: recorders may be called from any thread.
        if not self._is_enabled or (self.filters and not self.filter(record)):
            return False
        self.emit(record)
        return True

    @override
    def emit(self, record: logging.LogRecord) -> None:
        attributes = record.__dict__
        if not attributes.get("send_to_api", True):
            return
        run: RunLog | None = attributes.get("flowyard_run")
        recorder = run.recorder if run is not None else None
        if run is None or recorder is None:
            here = current()
            innermost = here.shown_task_run or here.flow_run
            if innermost is None:
                self._refuse(record)
                return
            recorder = innermost.recorder
            if run is None:
                self._append(recorder, record, *_owner(attributes))
                return
        self._append(recorder, record, run.flow_run_id, run.task_run_id)

    def _append(
        self, recorder: Recorder, record: logging.LogRecord, flow_run_id: UUID | None, task_run_id: UUID | None
    ) -> None:
        try:
            message = message_of(record)
            if record.exc_info or record.exc_text or record.stack_info:
                message += trailing_text(self.formatter or _PLAIN, record)
            if len(message) * 4 > self._max_bytes:  # UTF-8 takes at most 4 bytes for a character
                message = cut(message, self._max_bytes)
            time = datetime.fromtimestamp(record.created, UTC)
            recorder.append(LogEmitted(flow_run_id, task_run_id, record.name, record.levelno, message, time))
        except RecordsNotDurable:
            pass  # the journal has said so, and the run's next state says it where it counts
        except Exception:  # a lost lease too
            self.handleError(record)

    def _refuse(self, record: logging.LogRecord) -> None:
        if self._when_missing == "ignore":
            return
        message = (
            f"logger {record.name!r} was used outside of a flow or task that is running in this process, so its "
            "record is not stored; set FLOWYARD_LOGGING_TO_API_WHEN_MISSING_FLOW=ignore if that is intended"
        )
        if self._when_missing == "error":
            raise MissingContextError(message)
        # The frames between: emit, handle, callHandlers, Logger.handle, _log, and the logging call itself.
        warnings.warn(message, stacklevel=8)

    @override
    def handleError(self, record: logging.LogRecord) -> None:
        self._report(self, record)


APILogHandler = JournalLogHandler

_PLAIN = logging.Formatter()


def _owner(attributes: Mapping[str, Any]) -> tuple[UUID | None, UUID | None]:
    """Return the ids of flow run and task run for a record that no logger of a run made."""
    here = current()
    innermost = here.shown_task_run
    task_run = innermost.task_run if innermost is not None else None
    flow_run_id = here.flow_run.flow_run.id if here.flow_run is not None else None
    task_run_id = None
    if task_run is not None:
        task_run_id = task_run.id
        flow_run_id = task_run.flow_run_id or flow_run_id
    given = attributes.get("flow_run_id")
    if given is None:
        return flow_run_id, task_run_id
    # Said by hand: `extra={"flow_run_id": ...}`.
    given_task = attributes.get("task_run_id")
    return _uuid(given), (_uuid(given_task) if given_task is not None else None)


def _uuid(value: object) -> UUID:
    return value if isinstance(value, UUID) else UUID(str(value))


def cut(message: str, max_bytes: int) -> str:
    """Return `message`, or, if it takes more than `max_bytes` in UTF-8, its beginning and how much is missing."""
    data = message.encode("utf-8", "surrogatepass")
    if len(data) <= max_bytes:
        return message
    longest_marker = len(_marker(len(data), len(data)).encode())
    kept = data[: max(0, max_bytes - longest_marker)].decode("utf-8", "ignore")
    return kept + _marker(len(data) - len(kept.encode()), len(data))


def _marker(missing: int, total: int) -> str:
    return f"... [truncated: {missing:,} of {total:,} bytes left out]"


class RootForwarder(logging.Handler):
    """Hands records of Flowyard's loggers to the root logger's handlers, but for those that write to the console.

    `flowyard` does not propagate, because a user who called `logging.basicConfig` would see each line twice. What
    listens at the root otherwise (a file, an error tracker, pytest's caplog) shall hear of runs all the same.
    Also keeps what `setup_logging` did last, because this handler is what it always leaves behind.
    """

    def __init__(self, logger: logging.Logger) -> None:
        super().__init__()
        self._logger = logger
        self.applied: Any = None

    @override
    def handle(self, record: logging.LogRecord) -> bool:
        handlers = logging.root.handlers
        if not handlers or self._logger.propagate:
            return False
        for handler in handlers:
            if record.levelno >= handler.level and not writes_to_console(handler):
                handler.handle(record)
        return True


def writes_to_console(handler: logging.Handler) -> bool:
    """Say whether a handler, of whatever library, writes to this process's stdout or stderr."""
    # rich's handler has its stream inside of a console.
    stream: object = getattr(handler, "stream", None) or getattr(getattr(handler, "console", None), "file", None)
    return stream is not None and stream in (sys.stderr, sys.stdout, sys.__stderr__, sys.__stdout__)


def chain_of(logger: logging.Logger) -> list[logging.Logger]:
    """Return the logger and those whose handlers its records reach."""
    chain = [logger]
    while chain[-1].propagate and chain[-1].parent is not None:
        chain.append(chain[-1].parent)
    return chain
