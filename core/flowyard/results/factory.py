"""How the values of one flow or task are kept, and the making of their handles."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

from flowyard.annotations import NotSet
from flowyard.exceptions import SerializationError
from flowyard.filesystems.contract import WritableFiles
from flowyard.filesystems.folder import LocalFiles
from flowyard.logging.loggers import get_logger
from flowyard.results.blob import Blob, make_blob
from flowyard.results.handles import (
    LITERAL_TYPES,
    BaseResult,
    LiteralResult,
    PersistedResult,
    UnpersistedResult,
)
from flowyard.results.packs import LARGEST, Packs
from flowyard.results.storage import append_to_pack, write_parts
from flowyard.schemas.runs import FlowRun, TaskRun
from flowyard.schemas.states import StateType
from flowyard.serializers.base import Serializer
from flowyard.settings import get_current_settings


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultOrigin:
    """Which run made a value, from what: it decides the place of a persisted result and is written into its header."""

    flow_run: FlowRun | None = None
    task_run: TaskRun | None = None
    """None for the value of the flow run itself."""
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])
    fingerprint: str | None = None
    state_type: StateType = StateType.COMPLETED
    state_name: str | None = None
    transaction: str | None = None
    """The stamp of the transaction that the run belongs to."""


_NOWHERE = ResultOrigin()


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultFactory:
    """How results are kept. Travels to workers with the task; `results.options` makes it from what users declare."""

    persist_result: bool
    storage: WritableFiles
    serializer: Serializer
    cache_result_in_memory: bool = True
    must_persist: bool = True
    """A value that cannot be serialized is an error; else it stays in memory, and a warning is logged."""
    storage_key: str | None = None
    """A task's `result_storage_key`: a template over `parameters`, `flow_run`, `task_run` and `deployment`."""
    storage_block_id: UUID | None = None
    own_signing_key: str | None = field(default=None, repr=False)
    """The key that signs results. It is not in pickles: where one is read, the settings have the key."""
    is_default_storage: bool = False
    """The storage is the one of the settings: references to it stay valid when its folder moves."""

    @property
    def signing_key(self) -> str | None:
        """The key that signs results and is asked of those that are read; None for none."""
        return self.own_signing_key or get_current_settings().FLOWYARD_RESULTS_SIGNING_KEY or None

    def __reduce__(self) -> tuple[Any, ...]:
        values = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "own_signing_key"}
        return _rebuilt, (values,)

    @property
    def keeps_in_memory_only(self) -> bool:
        """Whether `create_result` would only wrap the value: callers on a hot path then do that themselves."""
        return not self.persist_result and self.cache_result_in_memory

    def create_result(
        self, value: Any, origin: ResultOrigin | None = None, packs: Packs | None = None
    ) -> BaseResult[Any]:
        """Return a handle for a value, after writing it to storage if results are persisted.

        `packs`: a small result of a flow run in a folder goes there, if no name was chosen for it.

        Raises:
            SerializationError: the value must be persisted (`must_persist`), and the serializer refuses it.
            ResultStorageFailed: the storage cannot be written.
            ValueError: the template of `result_storage_key` cannot be filled, or leads out of the storage.
        """
        if not self.persist_result:
            return UnpersistedResult(value if self.cache_result_in_memory else NotSet)
        origin = origin or _NOWHERE
        if value.__class__ in LITERAL_TYPES:
            return LiteralResult(value, fingerprint=origin.fingerprint)
        flow_run_id = _flow_run_id(origin)
        run = origin.task_run
        try:
            blob = make_blob(
                value,
                self.serializer,
                signing_key=self.signing_key,
                flow_run_id=None if flow_run_id is None else str(flow_run_id),
                task_run_id=None if run is None else str(run.id),
                task_key=None if run is None else run.task_key,
                dynamic_key=None if run is None else run.dynamic_key,
                attempt=_run_count(origin),
                fingerprint=origin.fingerprint,
                state_type=origin.state_type.value,
                state_name=origin.state_name,
                transaction=origin.transaction,
            )
        except SerializationError as error:
            if self.must_persist:
                raise
            get_logger("results").warning(
                "The result of %s is kept in memory only, so a retry of its flow run has to make it again: %s",
                "a run" if run is None else f"task run {run.name!r}",
                error,
            )
            return UnpersistedResult(value)
        offset = None
        folder = self._folder
        if packs is not None and flow_run_id is not None and folder is not None and self._fits_in_pack(blob):
            frame = append_to_pack(packs, folder, run_folder(flow_run_id), flow_run_id, blob.to_bytes())
            key, offset = frame.path if self._is_found_by_path else frame.key, frame.offset
        else:
            key = self.key_for(origin)
            write_parts(self.storage, key, blob.pieces)
            key = self.recorded_key(key)
        return PersistedResult(
            storage=self.storage,
            storage_key=key,
            offset=offset,
            serializer_type=self.serializer.type,
            storage_block_id=self.storage_block_id,
            cache_object=self.cache_result_in_memory,
            size=blob.header.size,
            value_type=blob.header.value_type,
            checksum=blob.header.checksum,
            value=value,
            signing_key=self.signing_key,
            fingerprint=origin.fingerprint,
        )

    def key_for(self, origin: ResultOrigin) -> str:
        """Return where in the storage the value of a run goes: from the template, else from the run's identity."""
        if self.storage_key is not None:
            return self._key_from_template(self.storage_key, origin)
        return derived_key(_flow_run_id(origin), origin.task_run)

    def _key_from_template(self, template: str, origin: ResultOrigin) -> str:
        run = origin.flow_run
        names: dict[str, Any] = {
            "parameters": origin.parameters,
            "flow_run": run,
            "task_run": origin.task_run,
            "deployment": SimpleNamespace(id=None if run is None else run.deployment_id),
        }
        try:
            key = template.format(**names)
        except (KeyError, IndexError, AttributeError, ValueError) as error:
            raise ValueError(
                f"result_storage_key={template!r} cannot be filled: {type(error).__name__} {error}; it can use "
                f"parameters[...] ({', '.join(origin.parameters) or 'none'}) and attributes of flow_run, task_run and "
                "deployment"
            ) from error
        if not key:
            raise ValueError(f"result_storage_key={template!r} gives an empty key; name a file")
        return key

    def _fits_in_pack(self, blob: Blob) -> bool:
        # Large buffers are read from their place in the file, without a copy.
        return self.storage_key is None and len(blob.pieces) == 2 and sum(map(len, blob.pieces)) <= LARGEST

    def recorded_key(self, key: str) -> str:
        """Return the key of a file as references to it have it."""
        folder = self._folder
        return str(folder.resolve(key)) if folder is not None and self._is_found_by_path else key

    @property
    def _folder(self) -> LocalFiles | None:
        return self.storage if isinstance(self.storage, LocalFiles) else None

    @property
    def _is_found_by_path(self) -> bool:
        # Another process knows the default storage from its settings; any other folder must be in the key.
        return isinstance(self.storage, LocalFiles) and not self.is_default_storage and self.storage_block_id is None


def _flow_run_id(origin: ResultOrigin) -> UUID | None:
    if origin.task_run is not None and origin.task_run.flow_run_id is not None:
        return origin.task_run.flow_run_id
    return None if origin.flow_run is None else origin.flow_run.id


def _run_count(origin: ResultOrigin) -> int:
    run = origin.task_run or origin.flow_run
    return 0 if run is None else run.run_count


def _rebuilt(values: dict[str, Any]) -> ResultFactory:
    return ResultFactory(**values)


def run_folder(flow_run_id: UUID) -> str:
    """Return the folder of a flow run's results."""
    return f"runs/{flow_run_id}"


def derived_key(flow_run_id: UUID | None, run: TaskRun | None) -> str:
    """Return the first location of a run's value: from (flow run, task key, dynamic key).

    What a later attempt of the flow run makes has the attempt's number as well: other calls of that attempt may still
    use what the first one made. Tasks outside of flows have their id instead; a value without a run gets a random key.
    """
    if flow_run_id is None:
        return f"tasks/{uuid4().hex if run is None else run.id}"
    if run is None:
        return f"{run_folder(flow_run_id)}/flow"
    attempt = f".{run.flow_run_run_count}" if run.flow_run_run_count > 1 else ""
    return f"{run_folder(flow_run_id)}/tasks/{_file_name(run.task_key)}/{_file_name(run.dynamic_key)}{attempt}"


_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")


def _file_name(key: str) -> str:
    """Return a key as the name of a file on every platform; different keys have different names."""
    if key and len(key) <= 100 and not _UNSAFE.search(key):
        return key
    return f"{_UNSAFE.sub('_', key)[:60]}-{hashlib.blake2b(key.encode(), digest_size=6).hexdigest()}"
