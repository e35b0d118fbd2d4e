"""Input of people and of other runs to a flow run that executes."""

from flowyard.input.keysets import keyset_from_base_key, keyset_from_paused_state
from flowyard.input.mailbox import receive_input, send_input
from flowyard.input.run_input import AutomaticRunInput, RunInput, RunInputMetadata, run_input_subclass_from_type
from flowyard.input.waiting import GetAutomaticInputHandler, GetInputHandler

__all__ = [
    "AutomaticRunInput",
    "GetAutomaticInputHandler",
    "GetInputHandler",
    "RunInput",
    "RunInputMetadata",
    "keyset_from_base_key",
    "keyset_from_paused_state",
    "receive_input",
    "run_input_subclass_from_type",
    "send_input",
]
