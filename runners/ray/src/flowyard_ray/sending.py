"""Making Ray tasks out of jobs."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from flowyard import containers
from flowyard.exceptions import UnpicklableValue
from flowyard.task_runners.base import Handle, Upstream
from flowyard.task_runners.envelopes import Envelope
from flowyard.task_runners.packing import CallPacker, Shared
from flowyard.task_runners.plain_calls import pack_plain_calls
from flowyard_ray.api import ray
from flowyard_ray.context import MAX_CALLS, Options, max_calls_of
from flowyard_ray.jobs import Item, Job, RayHandle
from flowyard_ray.remote import Extras, remote_function
from flowyard_ray.values import Kept, Natives, stand_in_for
from flowyard_ray.work import pack_plain_work, pack_work

_KEPT_FUNCTIONS = 256
_LARGE_SPEC = 256 * 1024
"""From how many bytes on a function is put into the object store, and not into Ray's small store of functions."""


class Sender:
    """Packs jobs and starts them in Ray. For one thread.

    Args:
        run_facts: what workers must know about the flow run, packed.
    """

    def __init__(self, run_facts: bytes) -> None:
        self._run_facts = run_facts
        self._natives = Natives()
        self._packer = CallPacker(self._natives.reducers)
        self._functions: OrderedDict[tuple[bytes, int], tuple[Any, Any]] = OrderedDict()
        self._with_options: OrderedDict[tuple[bytes, int], tuple[Options, Any]] = OrderedDict()
        self._prepared: dict[int, tuple[Envelope, list[Any]]] = {}
        self._plain: bytes | None = None
        self._shared: tuple[Shared, Shared] | None = None

    def prepare(self, job: Job) -> list[tuple[Item, Exception]]:
        """Pack the calls of a job; those that cannot be packed are taken out of it and returned."""
        refused: list[tuple[Item, Exception]] = []
        self._prepared = {}
        self._plain = self._in_one_piece(job)
        if self._plain is not None:
            return refused
        for item in job.items:
            try:
                packed = self._packer.pack(item.call)
            except Exception as error:
                self._natives.take_all()
                refused.append((item, error))
                continue
            self._shared = packed.spec, packed.context
            self._prepared[id(item)] = packed.envelope, self._natives.take_all()
        if refused:
            job.items = [item for item in job.items if id(item) in self._prepared]
        for index, item in enumerate(job.items):
            item.handle.index = index
        return refused

    def _in_one_piece(self, job: Job) -> bytes | None:
        """Pack the calls of a job as one; None when they need Ray, or one of them is something special."""
        if len(job.items) < 2 or any(item.upstream for item in job.items):
            return None
        try:
            packed = pack_plain_calls([item.call for item in job.items], self._packer)
        except UnpicklableValue:  # one by one it is seen which
            packed = None
        if self._natives.take_all() or packed is None:
            return None
        self._shared = packed.spec, packed.context
        for index, item in enumerate(job.items):
            item.handle.index = index
        return packed.data

    def send(self, job: Job) -> None:
        """Start the job that was prepared last. Raises what Ray raises."""
        assert self._shared is not None
        spec, context = self._shared
        inputs = _Inputs()
        items: list[tuple[int, Envelope, list[list[int]]]] = []
        natives: list[list[Any]] = []
        for item in job.items if self._plain is None else ():
            envelope, found = self._prepared[id(item)]
            items.append((item.token, envelope, inputs.of(item)))
            natives.append(found)
        function, spec_reference = self._function(job.items[0].call.spec.name, spec, max_calls_of(job.options))
        extras = None
        if spec_reference is not None or any(natives):
            extras = Extras(natives, [] if spec_reference is None else [spec_reference])
        if self._plain is None:
            work = pack_work(self._run_facts, context.data, items, gives_back=job.is_gathered)
        else:
            tokens = [item.token for item in job.items]
            work = pack_plain_work(self._run_facts, context.data, self._plain, tokens, gives_back=job.is_gathered)
        remote = self._configured(function, spec.hash, job.options)
        job.outcome, job.values = remote.remote(work, extras, *inputs.arguments)
        self._prepared, self._plain = {}, None

    def _function(self, name: str, spec: Shared, max_calls: int) -> tuple[Any, Any]:
        found = self._functions.get((spec.hash, max_calls))
        if found is None:
            is_large = len(spec.data) >= _LARGE_SPEC
            reference = ray.put(spec.data) if is_large else None
            found = remote_function(name, spec.hash, None if is_large else spec.data, max_calls), reference
            self._functions[spec.hash, max_calls] = found
            if len(self._functions) > _KEPT_FUNCTIONS:
                self._functions.popitem(last=False)
        return found

    def _configured(self, function: Any, spec_hash: bytes, options: Options) -> Any:
        """Return a remote function with options. `.options()` costs 55 microseconds: once for all calls."""
        key = spec_hash, id(options)
        found = self._with_options.get(key)
        if found is None or found[0] is not options:
            # Ray itself never executes a call twice: Flowyard decides that, and records it.
            chosen: dict[str, Any] = {**_for_ray(options), "num_returns": 2, "max_retries": 0}
            found = self._with_options[key] = options, function.options(**chosen)
            if len(self._with_options) > _KEPT_FUNCTIONS:
                self._with_options.popitem(last=False)
        return found[1]


def _for_ray(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name not in ("max_retries", MAX_CALLS)}


class _Inputs:
    """The values of other calls that a job needs, each once, as arguments that Ray delivers."""

    def __init__(self) -> None:
        self.arguments: list[Any] = []
        self._numbers: dict[int, int] = {}

    def of(self, item: Item) -> list[list[int]]:
        """Return which arguments a call needs: its own key, the number of the argument, the place in there."""
        if not item.upstream:
            return []
        read = _read_by(item)
        return [[key, *self._place(handle, is_read=key in read)] for key, handle in item.upstream.items()]

    def _place(self, handle: Handle, *, is_read: bool) -> tuple[int, int]:
        assert isinstance(handle, RayHandle)
        outcome = handle.outcome
        if outcome is not None and not (outcome.state.is_completed() or outcome.state.is_failed()):
            # Cancelled or lost: in Ray there is an error, or nothing.
            handle.stand_in = handle.stand_in or stand_in_for(outcome)
        if handle.stand_in is not None:
            return self._number(handle.stand_in, [handle.stand_in]), 0
        if outcome is not None and not is_read:
            # It is only waited for: its value, which may be large, is not sent anywhere.
            stand_in = Kept(outcome.task_run.name, outcome.state.type)
            return self._number(stand_in, [stand_in]), 0
        reference = handle.place.reference
        if reference is None:
            assert outcome is not None, "an upstream is sent before what needs it"
            handle.stand_in = stand_in_for(outcome)
            return self._place(handle, is_read=is_read)
        return self._number(reference, reference), handle.index

    def _number(self, identity: object, argument: Any) -> int:
        number = self._numbers.get(id(identity))
        if number is None:
            number = self._numbers[id(identity)] = len(self.arguments)
            self.arguments.append(argument)
        return number


def _read_by(item: Item) -> set[int]:
    """Return the keys of the upstreams whose values the arguments of a call contain."""
    read: set[int] = set()
    for argument in item.call.arguments.values():
        found = containers.scan(argument, Upstream)
        if found is not None:
            read.update(upstream.key for upstream, _ in found.items)
    return read
