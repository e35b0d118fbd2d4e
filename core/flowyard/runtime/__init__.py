"""What code can know about the run it is in, one attribute each: `runtime.flow_run.name`."""

from flowyard.runtime import deployment, flow_run, task_run

__all__ = ["deployment", "flow_run", "task_run"]
