"""Loggers of runs, and where their records go: the console and the journal."""

from flowyard.logging.configuration import load_logging_config, setup_logging
from flowyard.logging.handlers import APILogHandler, FlowyardConsoleHandler, JournalLogHandler
from flowyard.logging.loggers import (
    FlowyardLogAdapter,
    LogEavesdropper,
    PrefectLogAdapter,
    disable_logger,
    disable_run_logger,
    flow_run_logger,
    get_logger,
    get_run_logger,
    task_run_logger,
)
from flowyard.logging.prints import patch_print, print_as_log
from flowyard.logging.run_log import RunLog, run_log_for_flow, run_log_for_task

__all__ = [
    "APILogHandler",
    "FlowyardConsoleHandler",
    "FlowyardLogAdapter",
    "JournalLogHandler",
    "LogEavesdropper",
    "PrefectLogAdapter",
    "RunLog",
    "disable_logger",
    "disable_run_logger",
    "flow_run_logger",
    "get_logger",
    "get_run_logger",
    "load_logging_config",
    "patch_print",
    "print_as_log",
    "run_log_for_flow",
    "run_log_for_task",
    "setup_logging",
    "task_run_logger",
]
