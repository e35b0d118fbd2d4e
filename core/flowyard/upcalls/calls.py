"""What goes over the side channel: a question (which method, with which arguments) and its answer."""

from __future__ import annotations

import builtins
import traceback
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from flowyard import exceptions
from flowyard.exceptions import FlowyardError, RemoteException
from flowyard.ports import ControlPlane
from flowyard.upcalls.values import pack_value, unpack_value

NOUNS = frozenset({"artifacts", "blocks", "events", "inputs", "limits", "variables"})
"""The attributes of a control plane whose methods can be called from a remote worker: all public ones."""
_OF_RUNS = frozenset(
    {
        *("answer_request", "delete_flow_run", "propose_flow_run_state", "resume_flow_run", "task_run_counts"),
        "update_flow_run",
    }
)
_READING = ("read_", "count_")
HERE_ONLY = frozenset({"unwatch", "watch"})
"""Methods of nouns that only mean something in their own process."""
_IN_PROCESS = frozenset({"when_freed"})
"""Arguments that only mean something in the process of the flow; methods do without."""


class Question(NamedTuple):
    """A call of a method of the control plane, or of one of its nouns."""

    noun: str
    """Empty for the control plane itself."""
    method: str
    args: Sequence[Any]
    kwargs: Mapping[str, Any]

    @property
    def name(self) -> str:
        """What was called, for people."""
        return f"{self.noun}.{self.method}" if self.noun else self.method

    def pack(self) -> bytes:
        """Return it as bytes.

        Raises:
            TypeError: an argument cannot travel.
        """
        return pack_value([self.noun, self.method, *self.arguments()])

    def arguments(self) -> tuple[list[Any], dict[str, Any]]:
        """Return the arguments that can travel, by position and by name."""
        return list(self.args), {name: value for name, value in self.kwargs.items() if name not in _IN_PROCESS}

    def is_allowed(self) -> bool:
        """Say whether a remote worker may ask this."""
        if self.noun:
            return self.noun in NOUNS and not self.method.startswith("_") and self.method not in HERE_ONLY
        return self.method in _OF_RUNS or self.method.startswith(_READING)


def answer(control: ControlPlane, asked: Question) -> bytes:
    """Do what is asked and return the packed answer, which may be an error; never raises."""
    try:
        if not asked.is_allowed():
            raise PermissionError(f"{asked.name!r} cannot be called from a remote task")
        target: Any = getattr(control, asked.noun) if asked.noun else control
        return pack_value([None, getattr(target, asked.method)(*asked.args, **asked.kwargs)])
    except Exception as error:
        return pack_error(error)


def pack_error(error: Exception) -> bytes:
    """Return an error as an answer."""
    try:
        if not _is_known(type(error)):
            raise TypeError
        return pack_value([type(error).__qualname__, list(error.args)])
    except TypeError:  # of a class, or with fields, that cannot travel
        text = "".join(traceback.format_exception(error))
        return pack_value([RemoteException.__qualname__, [type(error).__qualname__, str(error), text]])


def open_answer(data: bytes) -> Any:
    """Return the value of a packed answer, or raise its error."""
    kind, content = unpack_value(data)
    if kind is None:
        return content
    found = getattr(exceptions, kind, None) or getattr(builtins, kind)
    raise found(*content)


def _is_known(kind: type[Exception]) -> bool:
    """Say whether a class of errors is found by its name alone; errors of ours are made of their `args`."""
    if issubclass(kind, FlowyardError):
        return getattr(exceptions, kind.__qualname__, None) is kind
    return getattr(builtins, kind.__qualname__, None) is kind
