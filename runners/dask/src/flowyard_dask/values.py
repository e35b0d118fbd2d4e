"""The values of a flow run that stay on the cluster."""

from __future__ import annotations

import contextlib
import uuid
import weakref
from typing import Any, cast

from flowyard.exceptions import MissingResult, UnpicklableValue
from flowyard_dask.calls import item_of
from flowyard_dask.kept import Kept
from flowyard_dask.results import DaskResult

_MOST_BROUGHT_HOME = 256 << 20
"""Values that somebody still refers to when the flow ends are brought here, up to this many bytes."""


class Values:
    """Gives out handles of values, and fetches them."""

    def __init__(self, client: Any, *, brings_values: bool) -> None:
        self._client = client
        self._brings_values = brings_values
        """The cluster runs on an event loop of the user's, which must not be blocked to ask it for a value."""
        self._results: weakref.WeakSet[DaskResult] = weakref.WeakSet()

    def add(self, future: Any, index: int | None, *, name: str, nbytes: int) -> DaskResult:
        """Return the handle of a value that stays where it was made."""
        result = DaskResult(self, future, index, name=name, nbytes=nbytes, record={"type": "unpersisted"})
        if self._brings_values:
            with contextlib.suppress(MissingResult, UnpicklableValue):  # who asks for it is told
                result.get()
        else:
            self._results.add(result)
        return result

    def fetch(self, future: Any, index: int | None) -> Kept:
        """Bring what a call left here.

        Raises:
            MissingResult: it is gone.
        """
        client = self._client
        try:
            if index is None:
                return cast("Kept", client.gather(future))
            key = f"item-{future.key}-{index}-{uuid.uuid4().hex}"
            return cast("Kept", client.submit(item_of, future, index, key=key, pure=False).result())
        except Exception as error:
            raise MissingResult(
                f"the value of Dask task {future.key!r} cannot be fetched: {type(error).__name__}: {error}"
            ) from error

    def bring_home(self) -> None:
        """Fetch the values that somebody still refers to, because the cluster is about to go."""
        wanted = sorted((result for result in self._results if result.is_on_cluster), key=lambda r: r.nbytes)
        left = _MOST_BROUGHT_HOME
        for result in wanted:
            left -= result.nbytes
            if left > 0 and self._client.status == "running":
                with contextlib.suppress(MissingResult, UnpicklableValue):
                    result.get()
            result.forget_cluster()
