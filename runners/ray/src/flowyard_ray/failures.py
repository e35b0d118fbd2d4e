"""What an error of Ray says about the call that it came for."""

from __future__ import annotations

import enum
from typing import NamedTuple, cast

from ray.exceptions import (
    LocalRayletDiedError,
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    RayActorError,
    RayError,
    RayTaskError,
    TaskCancelledError,
    WorkerCrashedError,
)

from flowyard_ray.remote import MISSING_MODULE_HINT, SAME_VERSIONS_HINT

_LOST_WORKER = (WorkerCrashedError, NodeDiedError, OutOfMemoryError, LocalRayletDiedError, RayActorError)


_NOT_LOADED = "failed to import on the worker"
"""What Ray says of a function whose pickle raised."""


class Cause(enum.Enum):
    """Why Ray has no outcome for a call."""

    WORKER = enum.auto()
    """The worker that executed it died."""
    INPUT = enum.auto()
    """A value that it needs is gone: it never began."""
    CANCELLED = enum.auto()
    """It was cancelled in Ray."""
    OTHER = enum.auto()
    """Ray could not execute it."""


class Failure(NamedTuple):
    """An error of Ray, understood."""

    cause: Cause
    text: str
    """One or two sentences; Ray's own are long."""
    lost: str = ""
    """In hexadecimal, the reference that Ray has no value for any more; empty when it does not say."""


def understand(error: BaseException, *, has_inputs: bool) -> Failure:
    """Return what an error says that came in the place of an outcome."""
    inner = cast("BaseException", error.cause) if isinstance(error, RayTaskError) else error  # pyright: ignore[reportUnknownMemberType]
    text = _text(inner)
    if has_inputs and (
        (isinstance(error, RayTaskError) and isinstance(inner, RayError)) or isinstance(inner, ObjectLostError)
    ):
        # Ray runs a task with a broken input far enough to raise the input's error in it.
        return Failure(Cause.INPUT, text, inner.object_ref_hex if isinstance(inner, ObjectLostError) else "")
    if isinstance(inner, TaskCancelledError):
        return Failure(Cause.CANCELLED, text)
    if isinstance(error, RayTaskError):
        if _NOT_LOADED in str(inner):
            last = str(inner).strip().splitlines()[-1].strip()
            hint = MISSING_MODULE_HINT if "ModuleNotFoundError" in last else SAME_VERSIONS_HINT
            text = f"the worker cannot load its function: {last[:600]}; {hint}"
        elif isinstance(inner, ModuleNotFoundError):
            text = f"{text}; {MISSING_MODULE_HINT}"
        return Failure(Cause.OTHER, text)
    if isinstance(inner, OutOfMemoryError):
        return Failure(Cause.WORKER, f"Ray killed it because memory ran out. {text}")
    if isinstance(inner, _LOST_WORKER):
        return Failure(Cause.WORKER, text)
    if isinstance(inner, ConnectionError):
        text = f"the connection to the Ray cluster is lost ({text}); start the flow again when it is back"
        return Failure(Cause.OTHER, text)
    if isinstance(inner, ObjectLostError):
        # The call may have completed; how it ended was lost with the node that it ran on.
        return Failure(Cause.WORKER, f"what it reported was lost with its node. {text}")
    return Failure(Cause.OTHER, text)


def _text(error: BaseException | None) -> str:
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    shown = " ".join(lines[:3])
    return f"{type(error).__name__}: {shown[:800]}"
