"""A flow run within a span, where traces are wanted."""

from __future__ import annotations

from typing import Any

from flowyard.engine.flow_run import run_flow
from flowyard.engine.flow_template import FlowCall
from flowyard.schemas.states import State
from flowyard.settings import get_current_settings
from flowyard.telemetry import TELEMETRY


async def run_traced_flow(call: FlowCall) -> State[Any]:
    """Do what `run_flow` does."""
    TELEMETRY.follow(get_current_settings())
    steps = run_flow(call)
    return await (TELEMETRY.flow_steps(call.template.name, steps) if TELEMETRY.is_on else steps)
