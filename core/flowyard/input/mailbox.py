"""Sending typed values to a flow run, and receiving them in it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flowyard.duality import dual
from flowyard.input.run_input import AutomaticRunInput, put_into_mailbox, run_input_subclass_from_type
from flowyard.input.waiting import GetAutomaticInputHandler, GetInputHandler


@dual
def send_input(
    run_input: Any, flow_run_id: UUID | str, sender: str | None = None, key_prefix: str | None = None
) -> None:
    """Send a value to a flow run, which receives values of this type.

    Args:
        run_input: a `RunInput`, a pydantic model, or anything that JSON can say.
        flow_run_id: whose mailbox it goes to.
        sender: who sends it; None is the flow run that executes here, which can be answered.
        key_prefix: how its key begins; None follows from the type.
    """
    put_into_mailbox(run_input, flow_run_id, sender, key_prefix)


def receive_input(
    input_type: Any,
    timeout: float | None = 3600,
    poll_interval: float = 10,
    raise_timeout_error: bool = False,
    exclude_keys: set[str] | None = None,
    key_prefix: str | None = None,
    flow_run_id: UUID | str | None = None,
    with_metadata: bool = False,
) -> GetInputHandler[Any]:
    """Return an iterator over the values of a type that are sent to a flow run, in the order of their arrival.

    Use it in `for` or `async for`, or call its `next()`.

    Args:
        input_type: a `RunInput`, a pydantic model, or a plain type such as `int`; values of other types are left.
        timeout: seconds without a value after which the iterator ends; None is never.
        poll_interval: seconds between looks.
        raise_timeout_error: raise TimeoutError instead of ending.
        exclude_keys: keys to leave; the handler adds what it gave.
        key_prefix: how the keys begin; None follows from the type.
        flow_run_id: whose mailbox; None is the flow run that executes here.
        with_metadata: for a plain type give objects with `value` and `metadata`.
    """
    kind: Any = run_input_subclass_from_type(input_type)
    handler: Any = GetAutomaticInputHandler if issubclass(kind, AutomaticRunInput) else GetInputHandler
    made: GetInputHandler[Any] = handler(
        kind,
        key_prefix or kind.mailbox_prefix(),
        timeout=timeout,
        poll_interval=poll_interval,
        raise_timeout_error=raise_timeout_error,
        exclude_keys=exclude_keys,
        flow_run_id=flow_run_id,
        with_metadata=with_metadata,
    )
    return made
