"""The control plane of a process that reports to a server: every call is a request.

What a running flow cannot do without (to begin, to enter states, to be renamed, to make artifacts) is decided here
while the server is away, by the same rules, and told to it later.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from uuid import UUID

from flowyard.exceptions import RecordsNotDurable, ServerAway
from flowyard.ports import Lease
from flowyard.remote.connection import Connection
from flowyard.remote.delivery import address_of
from flowyard.remote.journal import RemoteJournal
from flowyard.remote.nouns import RemoteArtifacts, RemoteLimits, RemoteVariables
from flowyard.rules.bookkeeping import apply_decision, enter_state
from flowyard.schemas.ids import new_id
from flowyard.schemas.orchestration import OrchestrationResult, Verdict
from flowyard.schemas.requests import ApiAnswer, ApiRequest
from flowyard.schemas.runs import FlowRun
from flowyard.schemas.states import State
from flowyard.services.orchestration import decide
from flowyard.upcalls.calls import Question, open_answer
from flowyard.upcalls.worker import AskedControlPlane

if TYPE_CHECKING:
    from flowyard.remote.slot_calls import SlotCalls

T = TypeVar("T")
_logger = logging.getLogger("flowyard.remote")
_NOBODY = UUID(int=0)
# What fails, or does something else, when it is done twice.
_ONCE = frozenset({"create", "save_document"})


class Keeper(Protocol):
    """Renews the leases of this process."""

    def start(self) -> None:
        """Begin with it, unless it is at it."""
        ...


class RemoteControlPlane(AskedControlPlane):
    """Runs and their records on a server. Thread-safe."""

    __slots__ = ("_connection", "_journal", "_keeper", "_runs")

    def __init__(
        self,
        connection: Connection,
        journal: RemoteJournal,
        keeper: Keeper | None,
        make_slot_calls: Callable[[], SlotCalls],
    ) -> None:
        super().__init__(self.ask)
        self._connection = connection
        self._journal = journal
        self._keeper = keeper
        # The flow runs of this process as the server knows them, for when it is away.
        self._runs: dict[UUID, FlowRun] = {}
        object.__setattr__(self, "artifacts", RemoteArtifacts(self.ask, self.tell))
        object.__setattr__(self, "variables", RemoteVariables(self.ask))
        object.__setattr__(self, "limits", RemoteLimits(self.ask, self._keep_leases, make_slot_calls))

    # --- flow runs ----------------------------------------------------------------------------------------------

    def begin_flow_run(self, flow_name: str, flow_run: FlowRun) -> Lease:
        """See `ControlPlane`."""
        self._keep_leases()

        def begin(error: ServerAway) -> tuple[tuple[FlowRun, int], Question]:
            if flow_run.run_count or flow_run.flow_id != _NOBODY or flow_run.state is None:
                raise error  # a run that may be somebody else's
            known = replace(flow_run, flow_name=flow_name, state=None)
            enter_state(known, flow_run.state)
            return (known, 1), Question("", "begin_again", [flow_name, flow_run], {})

        known, token = self.tell(Question("", "begin_flow_run", [flow_name, flow_run], {}), begin)
        self._runs[flow_run.id] = known
        for name in FlowRun.__slots__:
            value = getattr(known, name)
            if name == "state" and flow_run.state is not None and value is not None and value.id == flow_run.state.id:
                continue  # it has the value of the run, which does not travel
            setattr(flow_run, name, value)
        return Lease(flow_run.id, token)

    def propose_flow_run_state(
        self, flow_run_id: UUID, state: State[Any], *, lease: Lease | None = None, force: bool = False
    ) -> OrchestrationResult:
        """See `ControlPlane`."""
        _identify(state)
        token = None if lease is None else lease.token
        question = Question("", "propose_flow_run_state", [flow_run_id, state], {"token": token, "force": force})
        if lease is None:
            return _as_proposed(self.ask(question), state)

        def propose(error: ServerAway) -> tuple[OrchestrationResult, Question | None]:
            run = self._runs.get(flow_run_id)
            if run is None:
                raise error
            decision = decide(run, state, force=force, now=datetime.now(UTC))
            later: Question | None = None
            if decision.state is not None:
                _identify(decision.state)
                apply_decision(run, decision)
                arguments: list[Any] = [flow_run_id, decision.state]
                later = Question("", "propose_flow_run_state", arguments, {"token": token, "force": True})
            return OrchestrationResult(decision.verdict, run.state, decision.reason, decision.delay_seconds), later

        answer = _as_proposed(self.tell(question, propose), state)
        self._follow(flow_run_id, answer)
        return answer

    def update_flow_run(self, flow_run_id: UUID, **changes: Any) -> None:
        """See `ControlPlane`."""
        question = Question("", "update_flow_run", [flow_run_id], changes)

        def update(error: ServerAway) -> tuple[None, Question]:
            if flow_run_id not in self._runs:
                raise error
            return None, question

        self.tell(question, update)

    def reap_dead_runs(self, now: datetime) -> list[UUID]:
        """See `ControlPlane`; the server goes by its own clock."""
        del now
        return self.ask(Question("", "reap_dead_runs", [], {}))

    def cancelling_among(self, flow_run_ids: Collection[UUID]) -> Sequence[UUID]:
        """See `ControlPlane`; asked once, because it is asked again soon."""
        question = Question("", "cancelling_among", [list(flow_run_ids)], {})
        return open_answer(self._connection.send(address_of(question), self._journal.delivery.body_of(question)))

    def _follow(self, flow_run_id: UUID, answer: OrchestrationResult) -> None:
        run, state = self._runs.get(flow_run_id), answer.state
        if run is None or state is None:
            return
        if run.state is None or run.state.id != state.id:
            enter_state(run, state)
        if state.is_final():
            self._runs.pop(flow_run_id, None)

    def answer_request(self, request: ApiRequest) -> ApiAnswer:
        """See `ControlPlane`."""
        self.settle()
        return self._connection.forward(request)

    # --- how ----------------------------------------------------------------------------------------------------

    def ask(self, question: Question) -> Any:
        """Return the server's answer; it knows everything that was recorded before the question.

        Raises:
            BackendUnavailable: no answer came.
        """
        self.settle()
        return self._answer_to(question)

    def settle(self) -> None:
        """Let the server know what was recorded here; where that cannot be, a warning says so."""
        try:
            self._journal.barrier()
        except RecordsNotDurable as error:
            # As with a database: what was committed can be read, and is what somebody who looks for the cause needs.
            _logger.warning("asking without the newest records: %s", error)
        if not self._journal.wait_for_server():
            _logger.warning("asking without what is kept here until the server is back")

    def tell(self, question: Question, alone: Callable[[ServerAway], tuple[T, Question | None]]) -> T:
        """Do what `ask` does, or go on alone when the server is away.

        Args:
            question: what to ask.
            alone: returns the answer to give without the server, and what to tell it later; or raises the error.
        """
        self._journal.barrier()
        if self._journal.wait_for_server():
            try:
                return self._answer_to(question)
            except ServerAway as error:
                if error.is_forbidden:
                    raise  # nothing that this process keeps would ever be taken
                away = error
        else:
            away = ServerAway(self._connection.url, "it does not answer", "start it")
        if not self._connection.has_answered:
            raise away  # nobody knows whether there has ever been a server at this address
        answer, later = alone(away)
        if later is not None:
            self._journal.perform(lambda delivery: delivery.tell(later))
        return answer

    def _answer_to(self, question: Question) -> Any:
        is_repeatable = question.method not in _ONCE or question.noun == "artifacts"
        body = self._journal.delivery.body_of(question)
        return open_answer(self._connection.ask(address_of(question), body, is_repeatable=is_repeatable))

    def _keep_leases(self) -> None:
        if self._keeper is not None:
            self._keeper.start()


def _identify(state: State[Any]) -> None:
    """Give a state what tells the server that it is proposed a second time, because an answer got lost."""
    if state.state_details.transition_id is None:
        state.state_details = replace(state.state_details, transition_id=new_id())


def _as_proposed(answer: OrchestrationResult, state: State[Any]) -> OrchestrationResult:
    """Return an answer with the very state that was proposed, if that is what was entered: it has the value."""
    entered = answer.state
    if entered is None or entered.id != state.id:
        return answer
    state.name, state.message = entered.name, entered.message
    state.timestamp, state.state_details = entered.timestamp, entered.state_details
    # Proposed twice, refused the second time: it is the state that the run is in.
    return replace(answer, status=Verdict.ACCEPT, state=state, reason=None)
