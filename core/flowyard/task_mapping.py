"""What `Task.map` does: from the arguments of the call to one call for each item."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, cast

from flowyard.annotations import allow_failure, annotate, peel, quote, unmapped
from flowyard.context import current
from flowyard.engine.batching import BatchSize
from flowyard.engine.calls import Submitter
from flowyard.engine.dependencies import waited_for
from flowyard.engine.mapping import Feed
from flowyard.engine.submission import Submission
from flowyard.exceptions import MappingLengthMismatch, MappingMissingIterable
from flowyard.futures.future import FlowyardFuture
from flowyard.futures.sequences import BatchedFutureSequence, FutureSequence, FutureStream
from flowyard.parameters.binding import CallSignature
from flowyard.schemas.states import State

F = TypeVar("F", bound=FlowyardFuture[Any])
MappedFutures = FutureSequence[Any] | BatchedFutureSequence[Any] | FutureStream[Any]


def map_calls(
    submitter: Submitter[FlowyardFuture[Any]],
    signature: CallSignature,
    given: Mapping[str, Any],
    defaults: Mapping[str, Any],
    *,
    wait_for: Iterable[Any] | None,
    window: int | None,
    batch_size: BatchSize | None,
) -> MappedFutures:
    """Submit a call for each item of the iterables in `given`; `Task.map` has the contract."""
    _check_options(window, batch_size)
    mapped_from: dict[str, list[dict[str, str]]] = {}
    columns, static = _columns(signature.explode_variadic(given), mapped_from)
    if not columns:
        raise MappingMissingIterable(
            f"task {submitter.template.spec.name!r} cannot be mapped: none of its arguments is iterable; pass a list, "
            "or call it directly"
        )
    shared = {**signature.explode_variadic(defaults), **static}  # a `**kwargs` that nothing was given for is empty
    waits = waited_for(wait_for) if wait_for is not None else None

    def row(items: Sequence[Any]) -> dict[str, Any]:
        return signature.collapse_variadic({**shared, **dict(zip(columns, items, strict=True))})

    name = submitter.template.spec.name
    lengths = {column: len(items) for column, items in columns.items() if isinstance(items, Sequence)}
    if window is not None or len(lengths) < len(columns):
        return _stream(submitter, map(row, _rows_of_any(columns, name)), waits, mapped_from, window, batch_size)
    length = _common_length(lengths, name)
    rows = map(row, zip(*columns.values(), strict=True))
    if batch_size is not None:
        return _batched(submitter, rows, length, waits, mapped_from, batch_size)
    return FutureSequence(submitter.submit(parameters, waits, mapped_from) for parameters in rows)


def _stream(
    submitter: Submitter[FlowyardFuture[Any]],
    rows: Iterator[Mapping[str, Any]],
    wait_for: list[Any] | None,
    mapped_from: Mapping[str, Any],
    window: int | None,
    batch_size: BatchSize | None,
) -> FutureStream[Any]:
    number = submitter.scope.take_numbers(submitter.template.task_key, current().task_run)
    stream: FutureStream[Any] = FutureStream(submitter.template.spec.name, number)
    stream.feed = Feed(
        submitter.sharing(wait_for, mapped_from),
        rows,
        stream.identity,
        length=None,
        window=window,
        batch_size=batch_size,
        submitted=stream.note_submitted,
        settled=stream.note_settled,
    )
    stream.feed.is_fed.add_done_callback(stream.note_fed)
    stream.feed.start()
    return stream


def _batched(
    submitter: Submitter[FlowyardFuture[Any]],
    rows: Iterator[Mapping[str, Any]],
    length: int,
    wait_for: list[Any] | None,
    mapped_from: Mapping[str, Any],
    batch_size: BatchSize,
) -> BatchedFutureSequence[Any]:
    first = submitter.scope.take_numbers(submitter.template.task_key, current().task_run, length)
    futures: BatchedFutureSequence[Any] = BatchedFutureSequence(length, submitter.template.spec.name, first)
    futures.feed = Feed(
        submitter.sharing(wait_for, mapped_from),
        rows,
        futures.identity,
        length=length,
        window=None,
        batch_size=batch_size,
        submitted=futures.note_submitted,
        settled=futures.note_settled,
    )
    futures.feed.start()
    return futures


def _check_options(window: object, batch_size: object) -> None:
    for option, value in (("window", window), ("batch_size", batch_size)):
        is_count = isinstance(value, int) and not isinstance(value, bool) and value >= 1
        if value is not None and not is_count and not (option == "batch_size" and value == "auto"):
            allowed = "a whole number of at least 1" + (', or "auto"' if option == "batch_size" else "")
            raise ValueError(f"{option}={value!r} must be {allowed}")


def _rows_of_any(columns: Mapping[str, Iterable[Any]], task_name: str) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of iterables that may not know their length; unequal ends fail, naming how far each went."""
    iterators = {name: iter(items) for name, items in columns.items()}
    end = object()
    count = 0
    while True:
        row = {name: next(iterator, end) for name, iterator in iterators.items()}
        ended = [name for name, item in row.items() if item is end]
        if len(ended) == len(row):
            return
        if ended:
            longer = [name for name in row if name not in ended]
            raise MappingLengthMismatch(
                f"task {task_name!r} cannot be mapped further: its iterables have different lengths, "
                + ", ".join(f"{name}: {count}" for name in ended)
                + ", "
                + ", ".join(f"{name}: more than {count}" for name in longer)
                + f"; the first {count} calls were made"
            )
        count += 1
        yield tuple(row.values())


def _columns(
    parameters: Mapping[str, Any], mapped_from: dict[str, list[dict[str, str]]]
) -> tuple[dict[str, Iterable[Any]], dict[str, Any]]:
    """Split parameters into those to map over, as sequences, and those that every call gets whole.

    A future that is itself an argument is waited for, and its value mapped over; `mapped_from` gets its run.
    """
    columns: dict[str, Iterable[Any]] = {}
    static: dict[str, Any] = {}
    for name, value in parameters.items():
        inner, marks = peel(value)
        if unmapped in marks:
            static[name] = annotate(inner, [mark for mark in marks if mark is not unmapped])
            continue
        if isinstance(inner, (Submission, State)):
            run_id = inner.task_run.id if isinstance(inner, Submission) else inner.state_details.task_run_id
            if run_id is not None:
                mapped_from[name] = [{"input_type": "task_run", "id": str(run_id)}]
            inner = _value_of(inner)
        if quote in marks or not _is_mappable(inner):
            static[name] = value
        elif allow_failure in marks:
            columns[name] = [allow_failure(item) for item in inner]
        elif isinstance(inner, Sequence) or not hasattr(inner, "__len__"):
            # What has no length is pulled item by item.
            columns[name] = cast("Iterable[Any]", inner)
        else:
            columns[name] = list(inner)
    return columns, static


def _value_of(upstream: Any) -> Any:
    if isinstance(upstream, FlowyardFuture):
        return FlowyardFuture.result(cast("FlowyardFuture[Any]", upstream))
    return upstream.result()


def _is_mappable(value: object) -> bool:
    return hasattr(value, "__iter__") and not isinstance(value, (str, bytes, io.IOBase))


def _common_length(lengths: Mapping[str, int], task_name: str) -> int:
    if len(set(lengths.values())) > 1:
        raise MappingLengthMismatch(
            f"task {task_name!r} cannot be mapped: its iterables have different lengths, "
            + ", ".join(f"{name}: {length}" for name, length in lengths.items())
            + "; make them equal, or wrap what every call shall get whole in `unmapped(...)`"
        )
    return next(iter(lengths.values()))
