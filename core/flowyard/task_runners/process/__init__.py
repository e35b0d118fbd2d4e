"""Worker processes on this host."""

from flowyard.task_runners.process.runner import ProcessPoolTaskRunner

__all__ = ["ProcessPoolTaskRunner"]
