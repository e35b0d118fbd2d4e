"""Calls of the control plane by the processes that report here."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from flowyard.exceptions import BackendUnavailable, RecordsNotDurable
from flowyard.local.guests import GuestControlPlane
from flowyard.ports import Lease
from flowyard.schemas.orchestration import OrchestrationResult
from flowyard.schemas.runs import FlowRun
from flowyard.schemas.states import State
from flowyard.upcalls.calls import HERE_ONLY, NOUNS, Question, pack_error
from flowyard.upcalls.values import pack_value

_RUNS = frozenset(
    {
        *("cancelling_among", "delete_flow_run", "forks", "resume_flow_run", "subflow_runs_of", "task_run_counts"),
        "update_flow_run",
    }
)
_logger = logging.getLogger("flowyard.server")
_SKEW = timedelta(minutes=2)
_READING = ("read_", "count_")


def answer(control: GuestControlPlane, question: Question) -> bytes:
    """Do what is asked and return the packed answer, which may be an error.

    Raises:
        RecordsNotDurable, BackendUnavailable: it could not be done now; nothing was.
    """
    try:
        return pack_value([None, _call_of(control, question)(*question.args, **question.kwargs)])
    except (RecordsNotDurable, BackendUnavailable):
        raise
    except Exception as error:  # it is the client's
        return pack_error(error)


def _call_of(control: GuestControlPlane, question: Question) -> Callable[..., Any]:
    if question.noun in NOUNS and not question.method.startswith("_") and question.method not in HERE_ONLY:
        return getattr(getattr(control, question.noun), question.method)
    if not question.noun and (question.method in _RUNS or question.method.startswith(_READING)):
        return getattr(control, question.method)
    special = None if question.noun else _SPECIAL.get(question.method)
    if special is None:
        raise PermissionError(f"{question.name!r} cannot be called over HTTP")
    return lambda *args, **kwargs: special(control, *args, **kwargs)


def _begin(control: GuestControlPlane, flow_name: str, run: FlowRun) -> tuple[FlowRun, int]:
    # Its state was made a moment ago, by the clock of its process.
    ahead = timedelta(0) if run.state is None else run.state.timestamp - datetime.now(UTC)
    if abs(ahead) > _SKEW:
        _logger.warning(
            "the clock of %s is %.0f seconds %s this server's: the times of its runs are, too; set one of the two",
            control.owner,
            abs(ahead.total_seconds()),
            "ahead of" if ahead > timedelta(0) else "behind",
        )
    return run, control.begin_flow_run(flow_name, run).token


def _begin_again(control: GuestControlPlane, flow_name: str, run: FlowRun) -> tuple[FlowRun, int]:
    return run, control.begin_again(flow_name, run).token


def _propose(
    control: GuestControlPlane, flow_run_id: UUID, state: State[Any], *, token: int | None = None, force: bool = False
) -> OrchestrationResult:
    lease = None if token is None else Lease(flow_run_id, token)
    return control.propose_flow_run_state(flow_run_id, state, lease=lease, force=force)


def _reap(control: GuestControlPlane) -> list[UUID]:
    # By the server's clock: leases are.
    return control.reap_dead_runs(datetime.now(UTC))


_SPECIAL: dict[str, Callable[..., Any]] = {
    "begin_again": _begin_again,
    "begin_flow_run": _begin,
    "leave": GuestControlPlane.leave,
    "propose_flow_run_state": _propose,
    "reap_dead_runs": _reap,
    "renew_leases": GuestControlPlane.renew_leases,
}
