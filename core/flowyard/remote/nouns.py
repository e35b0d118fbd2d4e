"""The nouns of the control plane that do something here before or after they ask the server."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from uuid import UUID

from typing_extensions import override

from flowyard.exceptions import ServerAway
from flowyard.rules.artifacts import check_artifact_key, shortened_metadata
from flowyard.rules.variables import check_variable_name, check_variable_tags, check_variable_value
from flowyard.schemas.artifacts import ArtifactRecord
from flowyard.schemas.limits import SlotAnswer, SlotRequest
from flowyard.schemas.variables import VariableRecord
from flowyard.upcalls.calls import Question
from flowyard.upcalls.limits import AskedLimits
from flowyard.upcalls.nouns import AskedNoun

if TYPE_CHECKING:
    from flowyard.remote.slot_calls import SlotCalls

T = TypeVar("T")


class Tell(Protocol):
    """See `RemoteControlPlane.tell`."""

    def __call__(self, question: Question, alone: Callable[[ServerAway], tuple[T, Question | None]]) -> T:
        """Ask, or go on alone."""
        ...


class RemoteArtifacts(AskedNoun):
    """Artifacts on a server; they can be made while it is away."""

    __slots__ = ("_tell",)

    def __init__(self, ask: Callable[[Question], Any], tell: Tell) -> None:
        super().__init__(ask, "artifacts")
        self._tell = tell

    def create(self, record: ArtifactRecord) -> ArtifactRecord:
        """See `ArtifactStore`."""
        check_artifact_key(record.key)
        record.metadata = shortened_metadata(record.metadata)
        question = Question("artifacts", "create", [record], {})
        self._tell(question, lambda _: (record, question))
        return record


class RemoteVariables(AskedNoun):
    """Variables on a server; what cannot be one is refused before it is sent."""

    __slots__ = ()

    def __init__(self, ask: Callable[[Question], Any]) -> None:
        super().__init__(ask, "variables")

    def create(self, record: VariableRecord) -> VariableRecord:
        """See `VariableStore`."""
        _check(record)
        return self._ask(Question("variables", "create", [record], {}))

    def put(self, record: VariableRecord, *, keep_tags: bool = False) -> VariableRecord:
        """See `VariableStore`."""
        _check(record)
        return self._ask(Question("variables", "put", [record], {"keep_tags": keep_tags}))

    def update(self, name: str, /, **changes: Any) -> VariableRecord:
        """See `VariableStore`."""
        if "value" in changes:
            changes["value"] = check_variable_value(name, changes["value"])
        return self._ask(Question("variables", "update", [name], changes))


def _check(record: VariableRecord) -> None:
    check_variable_name(record.name)
    record.value = check_variable_value(record.name, record.value)
    record.tags = check_variable_tags(record.name, record.tags)


class RemoteLimits(AskedLimits):
    """The ledger of slots on a server. Thread-safe."""

    __slots__ = ("_calls", "_keep_leases", "_make_calls", "_making")

    def __init__(
        self, ask: Callable[[Question], Any], keep_leases: Callable[[], None], make_calls: Callable[[], SlotCalls]
    ) -> None:
        super().__init__(ask)
        self._keep_leases = keep_leases
        self._make_calls = make_calls
        self._making = threading.Lock()
        self._calls: SlotCalls | None = None

    @override
    def acquire(self, request: SlotRequest, *, when_freed: Callable[[], None] | None = None) -> SlotAnswer:
        self._keep_leases()
        return super().acquire(request, when_freed=when_freed)

    def watch(self, lease_id: UUID, when_freed: Callable[[], None]) -> None:
        """See `LimitStore`."""
        with self._making:
            calls = self._calls = self._calls or self._make_calls()
        calls.wait(lease_id, when_freed)

    def unwatch(self, lease_id: UUID) -> None:
        """See `LimitStore`."""
        self._forget([lease_id])

    @override
    def _call(self, lease_id: UUID, when_freed: Callable[[], None]) -> None:
        self.watch(lease_id, when_freed)

    @override
    def _forget(self, lease_ids: Sequence[UUID]) -> None:
        if self._calls is not None:
            self._calls.remove(lease_ids)
