"""How a log record becomes text: console lines and JSON."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from typing_extensions import override

from flowyard.logging.run_log import FLOW_RUNS, TASK_RUNS
from flowyard.telemetry import TELEMETRY

PREFIX = "%(asctime)s.%(msecs)03d | %(levelname)-7s | "
STANDARD_FORMAT = PREFIX + "%(name)s - %(message)s"
FLOW_RUN_FORMAT = PREFIX + "Flow run %(flow_run_name)r - %(message)s"
TASK_RUN_FORMAT = PREFIX + "Task run %(task_run_name)r - %(message)s"
TIME_FORMAT = "%H:%M:%S"

_Style = Literal["%", "{", "$"]


class FlowyardFormatter(logging.Formatter):
    """Formats records of runs by the name of their run, and all others by the name of their logger."""

    def __init__(
        self,
        format: str | None = None,  # the key in logging.yml
        datefmt: str | None = None,
        style: _Style = "%",
        validate: bool = True,
        *,
        defaults: Mapping[str, Any] | None = None,
        task_run_fmt: str | None = None,
        flow_run_fmt: str | None = None,
    ) -> None:
        super().__init__(format, datefmt, style, validate, defaults=defaults)
        self._run_formats: dict[str, tuple[str, logging.PercentStyle]] = {}
        for logger_name, attribute, run_format in (
            (FLOW_RUNS, "flow_run_name", flow_run_fmt),
            (TASK_RUNS, "task_run_name", task_run_fmt),
        ):
            if run_format:
                run_style = type(self._style)(run_format, defaults=defaults)
                if validate:
                    run_style.validate()
                self._run_formats[logger_name] = (attribute, run_style)

    @override
    def usesTime(self) -> bool:
        return super().usesTime() or any(style.usesTime() for _, style in self._run_formats.values())

    @override
    def formatMessage(self, record: logging.LogRecord) -> str:
        name = record.name
        for logger_name, (attribute, style) in self._run_formats.items():
            # The name may be missing: anybody can log to `flowyard.flow_runs`.
            if name.startswith(logger_name) and getattr(record, attribute, None) is not None:
                return style.format(record)
        return super().formatMessage(record)


PrefectFormatter = FlowyardFormatter


class ConsoleFormatter(logging.Formatter):
    """What `FlowyardFormatter` makes with the default formats, at a fifth of its cost (1.2 microseconds)."""

    def __init__(self) -> None:
        super().__init__(STANDARD_FORMAT, TIME_FORMAT)
        self._second: tuple[int, str] = (-1, "")

    @override
    def format(self, record: logging.LogRecord) -> str:
        created = record.created
        second = int(created)
        # One tuple, read and replaced whole: threads may format at once.
        known, clock = self._second
        if known != second:
            clock = time.strftime(TIME_FORMAT, time.localtime(second))
            self._second = (second, clock)
        attributes = record.__dict__
        name = record.name
        if name.startswith(TASK_RUNS) and (run_name := attributes.get("task_run_name")) is not None:
            source = f"Task run {run_name!r}"
        elif name.startswith(FLOW_RUNS) and (run_name := attributes.get("flow_run_name")) is not None:
            source = f"Flow run {run_name!r}"
        else:
            source = name
        message = attributes["message"] = message_of(record)
        milliseconds = int((created - second) * 1000)
        line = f"{clock}.{milliseconds:03d} | {record.levelname:<7} | {source} - {message}"
        if record.exc_info or record.exc_text or record.stack_info:
            return line + trailing_text(self, record)
        return line


def message_of(record: logging.LogRecord) -> str:
    """Return the message with its arguments filled in.

    Where they do not fit, the line must not get lost over it: it then says both, and what is wrong with them.
    """
    try:
        return record.getMessage()
    except Exception as error:  # `str` of an argument may raise anything
        try:
            arguments = repr(record.args)
        except Exception:
            arguments = "arguments without a repr"
        return f"{record.msg} {arguments} [the arguments do not fit the message: {type(error).__name__}: {error}]"


def trailing_text(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    """Return the traceback and the stack of a record, each on lines of its own; empty when it has none."""
    text = ""
    if record.exc_info and not record.exc_text:
        record.exc_text = formatter.formatException(record.exc_info)  # kept for the next handler, as stdlib does
    if record.exc_text:
        text = "\n" + record.exc_text
    if record.stack_info:
        text += "\n" + formatter.formatStack(record.stack_info)
    return text


def format_exception_info(exc_info: logging._SysExcInfoType) -> dict[str, str | None]:  # pyright: ignore[reportPrivateUsage]  stdlib's name for it
    """Return type, message and traceback of an exception as text, for JSON."""
    kind, error, _ = exc_info
    if kind is None:
        return {"type": None, "message": None, "traceback": None}
    return {
        "type": kind.__name__,
        "message": str(error),
        "traceback": logging.Formatter().formatException(exc_info),
    }


_RUN_FIELDS = ("flow_run_id", "flow_run_name", "flow_name", "task_run_id", "task_run_name", "task_name")


class JsonLineFormatter(logging.Formatter):
    """One line of JSON per record, with fields that stay what they are: see `docs/how-to/logging.md`."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": message_of(record),
            "process": record.process,
            "thread": record.threadName,
        }
        attributes = record.__dict__
        for name in _RUN_FIELDS:
            value = attributes.get(name)
            if value is not None:
                fields[name] = str(value)
        fields.update(TELEMETRY.place_fields())
        if record.exc_info and record.exc_info[0] is not None:
            fields["exception"] = format_exception_info(record.exc_info)
        if record.stack_info:
            fields["stack"] = record.stack_info
        return json.dumps(fields, default=str)


class JsonFormatter(logging.Formatter):
    """One JSON object per record: every attribute it has, the message filled in.

    `fmt` is `default` (one line) or `pretty` (indented).
    """

    def __init__(self, fmt: str = "default", dmft: str | None = None, style: _Style = "%") -> None:
        super().__init__(datefmt=dmft, style=style)
        if fmt not in ("default", "pretty"):
            raise ValueError(f"fmt={fmt!r} is no JSON format; use 'default' or 'pretty'")
        self._indent = 2 if fmt == "pretty" else None

    @override
    def format(self, record: logging.LogRecord) -> str:
        fields = {key: value for key, value in record.__dict__.items() if key != "flowyard_run"}
        fields["message"] = message_of(record)
        # The arguments are in the message, and may be anything at all.
        fields.pop("args", None)
        fields.pop("exc_text", None)
        if record.exc_info:
            fields["exc_info"] = format_exception_info(record.exc_info)
        return json.dumps(fields, default=str, indent=self._indent)
