"""Waiting for what other runs and people send: an iterator, in sync and in async code."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Generic, Protocol, Self, TypeVar
from uuid import UUID

from typing_extensions import override

from flowyard.context import current
from flowyard.duality import dual
from flowyard.process.control import control_plane
from flowyard.schemas.ids import as_id
from flowyard.schemas.inputs import InputRecord

R = TypeVar("R")


class _Readable(Protocol):
    @classmethod
    def from_record(cls, found: InputRecord) -> Any: ...


class GetInputHandler(Generic[R]):
    """Gives what arrives in the mailbox of a flow run, oldest first; each value is taken out.

    Iteration ends when nothing came for `timeout` seconds.
    """

    def __init__(
        self,
        run_input_cls: type[_Readable],
        key_prefix: str,
        timeout: float | None = 3600,
        poll_interval: float = 10,
        raise_timeout_error: bool = False,
        exclude_keys: set[str] | None = None,
        flow_run_id: UUID | str | None = None,
        with_metadata: bool = False,
    ) -> None:
        if flow_run_id is None:
            here = current().flow_run
            if here is None:
                raise RuntimeError("there is no flow run here: say whose input to receive with flow_run_id=")
            flow_run_id = here.flow_run.id
        self.run_input_cls = run_input_cls
        self.key_prefix = key_prefix
        self.timeout = timeout
        self.poll_interval = poll_interval
        self.raise_timeout_error = raise_timeout_error
        self.exclude_keys = set(exclude_keys or ())
        self.flow_run_id = as_id(flow_run_id)
        self.with_metadata = with_metadata

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> R:
        try:
            return self.wait()
        except TimeoutError:
            if self.raise_timeout_error:
                raise
            raise StopIteration from None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> R:
        try:
            # A thread: the state backend is asked without blocking the loop.
            return await asyncio.to_thread(self.wait)
        except TimeoutError:
            if self.raise_timeout_error:
                raise
            raise StopAsyncIteration from None

    def next(self) -> Any:
        """Return the next value; an awaitable in async code.

        Raises:
            TimeoutError: nothing came in time.
        """
        return dual(self.wait)()

    def wait(self) -> R:
        """Block until there is a value, take it out and return it.

        Raises:
            TimeoutError: nothing came in time.
        """
        deadline = None if self.timeout is None else time.monotonic() + self.timeout
        inputs = control_plane().inputs
        while True:
            found = inputs.read_many(self.flow_run_id, prefix=self.key_prefix, exclude=self.exclude_keys)
            if found:
                self.exclude_keys.add(found[0].key)
                return self.to_instance(found[0])
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise TimeoutError(
                    f"no input with a key like {self.key_prefix!r} came to flow run {self.flow_run_id} within "
                    f"{self.timeout:g} s"
                )
            time.sleep(self.poll_interval if left is None else min(self.poll_interval, left))

    def to_instance(self, flow_run_input: InputRecord) -> R:
        """Return a record as what the caller asked for."""
        return self.run_input_cls.from_record(flow_run_input)


class GetAutomaticInputHandler(GetInputHandler[R]):
    """The same for plain types: gives the plain values, unless the metadata is wanted."""

    @override
    def to_instance(self, flow_run_input: InputRecord) -> R:
        made: Any = super().to_instance(flow_run_input)
        return made if self.with_metadata else made.value
