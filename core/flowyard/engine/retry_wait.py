"""The time between two attempts of a flow run."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from flowyard.engine.effects import Record, SleepUntil
from flowyard.exceptions import BackendError
from flowyard.ports import ControlPlane
from flowyard.schemas.runs import utcnow

_LONGEST_SLEEP = timedelta(seconds=1)
"""How often a flow that waits looks whether it is still wanted."""


async def wait_for_retry(control: ControlPlane, flow_run_id: UUID, due: datetime) -> None:
    """Sleep until the next attempt is due, or until somebody has ended the run."""
    # A run that waits is Cancelled at once, as one that nobody executes: no command comes to its process.
    while (now := utcnow()) < due:
        await SleepUntil(min(due, now + _LONGEST_SLEEP))
        if now + _LONGEST_SLEEP < due and await Record(lambda: _is_over(control, flow_run_id)):
            return


def _is_over(control: ControlPlane, flow_run_id: UUID) -> bool:
    try:
        state = control.read_flow_run(flow_run_id).state
    except BackendError:  # away for a moment: the attempt will be asked for
        return False
    return state is not None and state.is_final()
