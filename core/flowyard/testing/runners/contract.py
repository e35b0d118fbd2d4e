"""The two contracts, put together from tests by subject."""

from __future__ import annotations

from flowyard.testing.runners.flow_cache import FlowCacheContract
from flowyard.testing.runners.flow_limits import FlowLimitsContract
from flowyard.testing.runners.flow_order import FlowOrderContract
from flowyard.testing.runners.flow_records import FlowRecordsContract
from flowyard.testing.runners.flow_values import FlowValuesContract
from flowyard.testing.runners.life import LifeContract
from flowyard.testing.runners.outcomes import OutcomeContract
from flowyard.testing.runners.places import PlacesContract
from flowyard.testing.runners.upcalls import UpcallContract


class TaskRunnerContract(LifeContract, OutcomeContract, PlacesContract):
    """What a runner owes to the engine."""


class TaskRunnerFlowContract(
    FlowValuesContract, FlowOrderContract, FlowRecordsContract, FlowLimitsContract, FlowCacheContract, UpcallContract
):
    """What flows may expect of every runner: the same results, states and errors."""
