"""Parameters of flow runs that JSON cannot carry, kept so that another process can start the run again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from flowyard.exceptions import MissingResult, SerializationError
from flowyard.logging.loggers import get_logger
from flowyard.results.blob import make_blob
from flowyard.results.factory import ResultFactory, run_folder
from flowyard.results.reading import Opened
from flowyard.results.storage import location_of, open_file, write_parts
from flowyard.serializers.pickle import PickleSerializer

_PLAIN = (str, int, float, bool, type(None))


def is_json(value: Any, as_json: Any) -> bool:
    """Say whether a value is the same when it comes back from JSON, where it looks like `as_json`."""
    left: list[tuple[Any, Any]] = [(value, as_json)]  # a stack of our own: depth is the user's
    while left:
        value, as_json = left.pop()
        kind = value.__class__
        if kind is not as_json.__class__:
            return False
        if kind is list:
            if len(value) != len(as_json):
                return False
            left.extend(zip(value, as_json, strict=True))
        elif kind is dict:
            if not all(name.__class__ is str for name in value):
                return False
            left.extend((item, as_json.get(name)) for name, item in value.items())
        elif kind not in _PLAIN or value != as_json:
            return False
    return True


def keep_parameters(results: ResultFactory, flow_run_id: UUID, parameters: Mapping[str, Any]) -> str | None:
    """Write parameters beside the results of their run and return the key; None when they cannot be pickled."""
    try:
        blob = make_blob(
            dict(parameters), PickleSerializer(), signing_key=results.signing_key, flow_run_id=str(flow_run_id)
        )
    except SerializationError as error:
        get_logger("results").debug("The parameters of a flow run cannot be kept: %s", error)
        return None
    key = f"{run_folder(flow_run_id)}/parameters"
    write_parts(results.storage, key, blob.pieces)
    return key


def kept_parameters(results: ResultFactory, key: str) -> dict[str, Any]:
    """Return what `keep_parameters` wrote.

    Raises:
        MissingResult: the file is gone or damaged.
    """
    where = location_of(results.storage, key)
    try:
        with open_file(results.storage, key) as file:
            return Opened(file, where, results.signing_key).value()
    except FileNotFoundError as error:
        raise MissingResult(f"the parameters of the flow run, {where!r}, are gone: {error}") from error
