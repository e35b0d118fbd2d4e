"""The engine's own door to the loggers of runs.

A task that runs logs three lines at INFO, so a line must be cheap: `RunLog` looks at the level first, makes its
record without looking for the caller, and hands it to the stdlib logger, which asks filters, handlers of users
and parents as for any other record. CPU time on the 2-core machine of CI: record 3, journal handler 2, console handler
2.5 microseconds, and the write to the pipe: 1 when its reader is awake, about 10 when the kernel must wake it up. A
line below the level takes 0.15. Lines are never held back to save such writes: what a run logged must be seen even
when the process is killed right after. `benchmarks` watches the cost through the sequential case at INFO.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Mapping
from functools import lru_cache
from os import getpid
from types import FrameType, TracebackType
from typing import Any, cast
from uuid import UUID

from flowyard.ports import Recorder
from flowyard.schemas.runs import FlowRun, TaskRun

FLOW_RUNS = "flowyard.flow_runs"
TASK_RUNS = "flowyard.task_runs"

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]

_flow_runs = logging.getLogger(FLOW_RUNS)
_task_runs = logging.getLogger(TASK_RUNS)
_STARTED = time.time()


class RunRecord(logging.LogRecord):
    """A log record of a run: what `LogRecord` holds, made three times as fast.

    `caller` is the frame that logged; without one the line is the engine's.
    """

    def __init__(  # pyright: ignore[reportMissingSuperCall]  it is what is left out here
        self,
        run: RunLog,
        name: str,
        level: int,
        msg: object,
        args: tuple[object, ...],
        exc_info: ExcInfo | None,
        caller: FrameType | None = None,
    ) -> None:
        created = time.time()
        path, function, line = "(engine)", "run", 0
        filename, module = path, "engine"
        if caller is not None:
            code = caller.f_code
            path, function, line = code.co_filename, code.co_name, caller.f_lineno
            filename, module = _file_and_module(path)
        if len(args) == 1 and args[0] and isinstance(args[0], Mapping):
            args = cast("tuple[object, ...]", args[0])  # `%(name)s` in the message, as with stdlib's loggers
        # Formatters of users read `record.__dict__`, so every documented attribute must be in it.
        self.__dict__ = {
            **run.extra,
            "flowyard_run": run,
            "name": name,
            "msg": msg,
            "args": args,
            "levelname": logging.getLevelName(level),
            "levelno": level,
            "pathname": path,
            "filename": filename,
            "module": module,
            "exc_info": exc_info,
            "exc_text": None,
            "stack_info": None,
            "lineno": line,
            "funcName": function,
            "created": created,
            "msecs": int((created - int(created)) * 1000) + 0.0,
            "relativeCreated": (created - _STARTED) * 1000,
            "thread": threading.get_ident(),
            "threadName": threading.current_thread().name,
            "processName": _process_name(),
            "process": getpid(),
            "taskName": None,
        }


@lru_cache(maxsize=1024)
def _file_and_module(path: str) -> tuple[str, str]:
    filename = os.path.basename(path)
    return filename, os.path.splitext(filename)[0]


def _process_name() -> str:
    multiprocessing = sys.modules.get("multiprocessing")
    if multiprocessing is None:
        return "MainProcess"
    return multiprocessing.current_process().name


class RunLog:
    """Logs lines of one run, and tells handlers which run that is and where its records are kept.

    Every record of a run's logger carries its `RunLog` as `flowyard_run`. Through a pickle it loses the recorder,
    which lives in one process: there the handler asks the run context.
    """

    __slots__ = (
        "_extra", "_extra_name", "_flow", "_flow_name", "_run", "flow_run_id", "logger", "recorder", "task_run_id",
    )  # fmt: skip

    def __init__(
        self,
        run: FlowRun | TaskRun,
        recorder: Recorder | None,
        *,
        flow: RunLog | None = None,
        flow_name: str | None = None,
    ) -> None:
        self._run: FlowRun | TaskRun | None = run
        self._flow = flow
        self._flow_name = flow_name
        self._extra: dict[str, Any] | None = None
        self._extra_name = ""
        self.recorder = recorder
        self.logger: logging.Logger
        """`flowyard.flow_runs` or `flowyard.task_runs`."""
        self.flow_run_id: UUID | None
        """The flow run a line belongs to; None for a task that was called outside of a flow."""
        self.task_run_id: UUID | None
        """The task run a line belongs to; None for a flow run's own."""
        if isinstance(run, TaskRun):
            self.logger = _task_runs
            self.flow_run_id = run.flow_run_id
            self.task_run_id = run.id
        else:
            self.logger = _flow_runs
            self.flow_run_id = run.id
            self.task_run_id = None

    @property
    def extra(self) -> dict[str, Any]:
        """What records have beside the stdlib's attributes: names and ids (as text) of the run."""
        run, extra = self._run, self._extra
        # A run can be renamed between two lines (a task run's name may be made from its parameters).
        if extra is None or (run is not None and self._extra_name != run.name):
            extra = self._extra = self._make_extra()
        return extra

    def _make_extra(self) -> dict[str, Any]:
        run = self._run
        assert run is not None, "a log without its run has its extra from the pickle"
        self._extra_name = run.name
        if isinstance(run, FlowRun):
            return {
                "flow_run_name": run.name,
                "flow_run_id": str(run.id),
                "flow_name": self._flow_name or run.flow_name,
            }
        extra: dict[str, Any]
        if self._flow is not None:
            extra = dict(self._flow.extra)
        else:
            flow_run_id = str(run.flow_run_id) if run.flow_run_id is not None else None
            extra = {"flow_run_name": None, "flow_run_id": flow_run_id, "flow_name": self._flow_name}
        extra["task_run_name"] = run.name
        extra["task_run_id"] = str(run.id)
        extra["task_name"] = run.task_name
        return extra

    def __reduce__(self) -> tuple[Any, ...]:
        # Without the run: its parameters may be anything, and a line needs its name only.
        return _detached, (self.flow_run_id, self.task_run_id, self.extra)

    def is_enabled_for(self, level: int) -> bool:
        """Say whether a line of this level would go anywhere."""
        return self.logger.isEnabledFor(level)

    def debug(self, msg: str, *args: object) -> None:
        """Log at DEBUG."""
        if self.logger.isEnabledFor(10):
            self._emit(10, msg, args, None)

    def info(self, msg: str, *args: object) -> None:
        """Log at INFO."""
        if self.logger.isEnabledFor(20):
            self._emit(20, msg, args, None)

    def warning(self, msg: str, *args: object) -> None:
        """Log at WARNING."""
        if self.logger.isEnabledFor(30):
            self._emit(30, msg, args, None)

    def error(self, msg: str, *args: object, exc_info: BaseException | None = None) -> None:
        """Log at ERROR, with the traceback of `exc_info` if there is one."""
        if self.logger.isEnabledFor(40):
            self._emit(40, msg, args, exc_info)

    def log(self, level: int, msg: str, *args: object, exc_info: BaseException | None = None) -> None:
        """Log at any level, with the traceback of `exc_info` if there is one."""
        if self.logger.isEnabledFor(level):
            self._emit(level, msg, args, exc_info)

    def _emit(self, level: int, msg: str, args: tuple[object, ...], error: BaseException | None) -> None:
        logger = self.logger
        exc_info: ExcInfo | None = None if error is None else (type(error), error, error.__traceback__)
        if logging.getLogRecordFactory() is logging.LogRecord:
            record: logging.LogRecord = RunRecord(self, logger.name, level, msg, args, exc_info)
        else:
            # Somebody adds their own attributes to all records (a trace id, say): they shall have them.
            extra = {**self.extra, "flowyard_run": self}
            record = logger.makeRecord(logger.name, level, "(engine)", 0, msg, args, exc_info, "run", extra)
        logger.handle(record)


def _detached(flow_run_id: UUID | None, task_run_id: UUID | None, extra: dict[str, Any]) -> RunLog:
    log = RunLog.__new__(RunLog)
    log.logger = _flow_runs if task_run_id is None else _task_runs
    log.recorder = None
    log.flow_run_id = flow_run_id
    log.task_run_id = task_run_id
    log._run = log._flow = log._flow_name = None  # pyright: ignore[reportPrivateUsage]  this is its second constructor
    log._extra_name = ""  # pyright: ignore[reportPrivateUsage]
    log._extra = extra  # pyright: ignore[reportPrivateUsage]
    return log


def run_log_for_flow(flow_run: FlowRun, flow_name: str | None, recorder: Recorder | None) -> RunLog:
    """Return the log of a flow run; `flow_name` None takes the one that the run has."""
    return RunLog(flow_run, recorder, flow_name=flow_name)


def run_log_for_task(task_run: TaskRun, recorder: Recorder | None, flow: RunLog | None = None) -> RunLog:
    """Return the log of a task run; `flow` is the log of its flow run, whose names the records then carry too."""
    return RunLog(task_run, recorder, flow=flow)
