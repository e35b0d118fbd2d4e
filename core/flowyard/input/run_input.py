"""What a run asks for: pydantic models whose schema people see as a form and whose values come back typed."""

from __future__ import annotations

import json
from typing import Any, ClassVar, Generic, Self, TypeVar, cast
from uuid import UUID

from pydantic import BaseModel, ConfigDict, PrivateAttr, create_model
from typing_extensions import override

from flowyard.context import current
from flowyard.duality import dual
from flowyard.exceptions import ObjectNotFound
from flowyard.input.keysets import Keyset, keyset_from_base_key
from flowyard.input.waiting import GetAutomaticInputHandler, GetInputHandler
from flowyard.process.control import control_plane
from flowyard.schemas.ids import as_id, new_id
from flowyard.schemas.inputs import InputRecord

T = TypeVar("T")
_SENDER = "prefect.flow-run."


class RunInputMetadata(BaseModel):
    """Where an input was found, and whose it is."""

    key: str
    sender: str | None
    receiver: UUID


class RunInput(BaseModel):
    """Base of typed input: subclass it with fields, and give the class to `pause_flow_run` or `receive_input`."""

    model_config = ConfigDict(extra="forbid")

    _description: ClassVar[str | None] = None
    _metadata: RunInputMetadata | None = PrivateAttr(default=None)

    @property
    def metadata(self) -> RunInputMetadata | None:
        """Where this was found; None for one that was made here."""
        return self._metadata

    @classmethod
    def keyset_from_type(cls) -> Keyset:
        """Return the keys that belong to this class."""
        return keyset_from_base_key(cls.__name__.lower())

    @classmethod
    def store_question(cls, keyset: Keyset, flow_run_id: UUID) -> None:
        """Leave the schema, and the description if there is one, where whoever resumes the run looks."""
        inputs = control_plane().inputs
        inputs.create(flow_run_id, keyset["schema"], json.dumps(cls.model_json_schema()))
        if cls._description is not None:
            inputs.create(flow_run_id, keyset["description"], json.dumps(cls._description))

    @classmethod
    def read_answer(cls, keyset: Keyset, flow_run_id: UUID) -> Any:
        """Return what the run was given.

        Raises:
            ObjectNotFound: nothing was given.
        """
        found = control_plane().inputs.find(flow_run_id, keyset["response"])
        if found is None:
            raise ObjectNotFound("flow run input", keyset["response"])
        return cls.from_record(found)

    @classmethod
    def save(cls, keyset: Keyset, flow_run_id: UUID | str | None = None) -> Any:
        """Leave the question for a flow run; None is the one that executes here."""
        return dual(cls.store_question)(keyset, _run_here() if flow_run_id is None else as_id(flow_run_id))

    @classmethod
    def load(cls, keyset: Keyset, flow_run_id: UUID | str | None = None) -> Any:
        """Return the answer that a flow run was given; None is the one that executes here."""
        return dual(cls.read_answer)(keyset, _run_here() if flow_run_id is None else as_id(flow_run_id))

    @classmethod
    def from_record(cls, found: InputRecord) -> Self:
        """Return what a record holds."""
        made = cls.model_validate_json(found.value)
        made._metadata = RunInputMetadata(key=found.key, sender=found.sender, receiver=found.flow_run_id)
        return made

    load_from_flow_run_input = from_record

    @classmethod
    def with_initial_data(cls, description: str | None = None, **defaults: Any) -> type[Self]:
        """Return a class like this one whose form is filled with `defaults`; the description is Markdown."""
        fields: dict[str, Any] = {}
        for name, value in defaults.items():
            if name not in cls.model_fields:
                raise TypeError(f"{cls.__name__} has no field {name!r}; it has {sorted(cls.model_fields)}")
            fields[name] = (cls.model_fields[name].annotation, value)
        made = create_model(cls.__name__, __base__=cls, **fields)
        if description is not None:
            made._description = description
        return made

    def respond(self, run_input: RunInput | Any, sender: str | None = None, key_prefix: str | None = None) -> Any:
        """Send something to the flow run that sent this.

        Raises:
            RuntimeError: this was not sent by a flow run.
        """
        metadata = self._metadata
        if metadata is None or metadata.sender is None or not metadata.sender.startswith(_SENDER):
            raise RuntimeError(f"{self!r} was not sent by a flow run: there is nobody to respond to")
        to = UUID(metadata.sender.removeprefix(_SENDER))
        return dual(put_into_mailbox)(run_input, to, sender, key_prefix)

    def send_to(self, flow_run_id: UUID | str, sender: str | None = None, key_prefix: str | None = None) -> Any:
        """Send this to a flow run, which gets it from `receive`."""
        return dual(put_into_mailbox)(self, flow_run_id, sender, key_prefix)

    @classmethod
    def mailbox_prefix(cls) -> str:
        """Return how the keys of sent values of this class begin."""
        return f"{cls.__name__.lower()}-auto"

    @classmethod
    def receive(
        cls,
        timeout: float | None = 3600,
        poll_interval: float = 10,
        raise_timeout_error: bool = False,
        exclude_keys: set[str] | None = None,
        key_prefix: str | None = None,
        flow_run_id: UUID | str | None = None,
    ) -> Any:
        """Return an iterator over what is sent; see `receive_input`."""
        return cls._handler(
            cls,
            key_prefix or cls.mailbox_prefix(),
            timeout=timeout,
            poll_interval=poll_interval,
            raise_timeout_error=raise_timeout_error,
            exclude_keys=exclude_keys,
            flow_run_id=flow_run_id,
        )

    _handler: ClassVar[type[GetInputHandler[Any]]] = GetInputHandler

    @classmethod
    def subclass_from_base_model_type(cls, model_cls: type[BaseModel]) -> type[RunInput]:
        """Return a class with the fields of a pydantic model, under its name."""
        return cast("type[RunInput]", type(model_cls.__name__, (RunInput, model_cls), {"__module__": __name__}))


class AutomaticRunInput(RunInput, Generic[T]):
    """Input of a plain type: a form with one field."""

    value: T

    _handler: ClassVar[type[GetInputHandler[Any]]] = GetAutomaticInputHandler

    @classmethod
    def subclass_from_type(cls, plain: Any) -> type[AutomaticRunInput[Any]]:
        """Return the class for a type such as `int` or `list[str]`."""
        name = f"{getattr(plain, '__name__', str(plain))}_input"
        return create_model(name, __base__=AutomaticRunInput, value=(plain, ...))

    @classmethod
    @override
    def read_answer(cls, keyset: Keyset, flow_run_id: UUID) -> Any:
        return super().read_answer(keyset, flow_run_id).value


def run_input_subclass_from_type(wanted: Any) -> type[RunInput]:
    """Return the class of input for a `RunInput`, a pydantic model or a plain type."""
    if isinstance(wanted, type):
        if issubclass(wanted, RunInput):
            return wanted
        if issubclass(wanted, BaseModel):
            return RunInput.subclass_from_base_model_type(wanted)
    return AutomaticRunInput.subclass_from_type(wanted)


def put_into_mailbox(value: Any, flow_run_id: UUID | str, sender: str | None, key_prefix: str | None) -> None:
    """Send a value to a flow run, from the one that executes here if there is one."""
    if not isinstance(value, RunInput):
        kind = run_input_subclass_from_type(type(value))
        value = kind.model_validate(value.model_dump() if isinstance(value, BaseModel) else {"value": value})
    if sender is None and current().flow_run is not None:
        sender = f"{_SENDER}{_run_here()}"
    key = f"{key_prefix or value.mailbox_prefix()}-{new_id()}"
    control_plane().inputs.create(as_id(flow_run_id), key, value.model_dump_json(), sender=sender)


def _run_here() -> UUID:
    here = current()
    if here.flow_run is None:
        raise RuntimeError("there is no flow run here: say which one with flow_run_id=")
    return here.flow_run.flow_run.id
