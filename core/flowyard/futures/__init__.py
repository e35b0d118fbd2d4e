"""What `submit` and `map` return, and waiting for it."""

from flowyard.futures.future import (
    AsyncFlowyardFuture,
    FlowyardFuture,
    PrefectFuture,
    resolve_futures_to_data,
    resolve_futures_to_states,
)
from flowyard.futures.sequences import (
    BatchedFutureSequence,
    DoneAndNotDone,
    FutureSequence,
    FutureStream,
    as_completed,
    wait,
)

__all__ = [
    "AsyncFlowyardFuture",
    "BatchedFutureSequence",
    "DoneAndNotDone",
    "FlowyardFuture",
    "FutureSequence",
    "FutureStream",
    "PrefectFuture",
    "as_completed",
    "resolve_futures_to_data",
    "resolve_futures_to_states",
    "wait",
]
