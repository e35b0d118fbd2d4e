"""The values of a flow run that stay on the cluster."""

from __future__ import annotations

import contextlib
import gc
import time
import uuid
import weakref
from collections.abc import Sequence
from typing import Any, cast

from flowyard.exceptions import MissingResult, UnpicklableValue
from flowyard_dask.calls import SAMPLE, items_of
from flowyard_dask.kept import Kept
from flowyard_dask.results import DaskResult

_MOST_BROUGHT_HOME = 256 << 20
"""Values that somebody still refers to when the flow ends are brought here, up to this many bytes."""
_LONGEST_WAY_HOME_SECONDS = 60.0
"""How long that may take: a worker may be silent."""
_MOST_TAKEN_ALONG = 4 << 20
"""How many bytes of values that were not asked for come along with one that was."""


class Values:
    """Gives out handles of values, and fetches them."""

    def __init__(self, client: Any, *, brings_values: bool) -> None:
        self._client = client
        self._brings_values = brings_values
        """The cluster runs on an event loop of the user's, which must not be blocked to ask it for a value."""
        self._results: weakref.WeakSet[DaskResult] = weakref.WeakSet()
        self._in_chunks: weakref.WeakValueDictionary[tuple[str, int], DaskResult] = weakref.WeakValueDictionary()
        """By Dask key and place in the chunk."""
        self._until: float | None = None
        """When nothing is fetched any more; None for as long as it takes."""
        self._last: tuple[str, int] | None = None
        """The one in a chunk that was asked for last."""
        self._reads_on = False
        """It came after the one before: somebody reads a map from its begin to its end."""

    def add(self, future: Any, index: int | None, *, name: str, nbytes: int) -> DaskResult:
        """Return the handle of a value that stays where it was made."""
        result = DaskResult(self, future, index, name=name, nbytes=nbytes, record={"type": "unpersisted"})
        if self._brings_values:
            with contextlib.suppress(MissingResult, UnpicklableValue):  # who asks for it is told
                result.get()
        else:
            self._results.add(result)
            if index is not None:
                self._in_chunks[future.key, index] = result
        return result

    def fetch(self, future: Any, index: int | None) -> Kept:
        """Bring what a call left here.

        Raises:
            MissingResult: it is gone.
        """
        try:
            if index is None:
                return cast("Kept", future.result(timeout=self._seconds_left()))
            mates = self._mates(future.key, index)
            found = self._items(future, [index, *mates])
            for mate, kept in zip(mates.values(), found[1:], strict=True):
                mate.take(kept)
            return found[0]
        except Exception as error:
            raise MissingResult(
                f"the value of Dask task {future.key!r} cannot be fetched: {type(error).__name__}: {error}"
            ) from error

    def _items(self, future: Any, indices: Sequence[int]) -> list[Kept]:
        key = f"items-{future.key}-{uuid.uuid4().hex}"
        return cast(
            "list[Kept]",
            self._client.submit(items_of, future, indices, key=key, pure=False).result(self._seconds_left()),
        )

    def _seconds_left(self) -> float | None:
        return None if self._until is None else max(self._until - time.monotonic(), 0.001)

    def _mates(self, key: str, index: int) -> dict[int, DaskResult]:
        """Return what comes along with one of a chunk: a hundred values one by one take a second.

        Nothing before it is clear that they are read in order. A value that is not known to be small stays where it is.
        """
        is_next = self._last == (key, index - 1)
        self._reads_on = is_next or (index == 0 and self._reads_on)
        mates: dict[int, DaskResult] = {}
        left = _MOST_TAKEN_ALONG
        while self._reads_on:
            mate = self._in_chunks.get((key, index + len(mates) + 1))
            if mate is None or mate.nbytes >= SAMPLE or mate.nbytes > left or not mate.is_on_cluster:
                break
            mates[index + len(mates) + 1] = mate
            left -= mate.nbytes
        self._last = key, index + len(mates)
        return mates

    def bring_home(self) -> None:
        """Fetch the values that somebody still refers to, because the cluster is about to go."""
        if any(result.is_on_cluster for result in self._results):
            gc.collect()  # what is held by a cycle only, such as a map that nobody has any more, is not referred to
        wanted = sorted((result for result in self._results if result.is_on_cluster), key=lambda r: r.nbytes)
        left = _MOST_BROUGHT_HOME
        chunks: dict[str, list[DaskResult]] = {}
        for result in wanted:
            left -= result.nbytes
            if left > 0 and self._client.status == "running":
                chunks.setdefault(result.key or "", []).append(result)
        self._until = time.monotonic() + _LONGEST_WAY_HOME_SECONDS
        for results in chunks.values():
            self._bring(results)
        self.forget_cluster()

    def forget_cluster(self) -> None:
        """Let go of the values that are not here."""
        for result in [result for result in self._results if result.is_on_cluster]:
            result.forget_cluster()

    def _bring(self, results: Sequence[DaskResult]) -> None:
        """Fetch values of one Dask task; of a chunk, together."""
        places = [place for result in results if (place := result.place_in_chunk) is not None]
        if len(places) == len(results) > 1:
            with contextlib.suppress(Exception):  # one by one it is seen which cannot come
                found = self._items(places[0][0], [index for _, index in places])
                for result, kept in zip(results, found, strict=True):
                    result.take(kept)
        for result in results:
            with contextlib.suppress(MissingResult, UnpicklableValue):
                result.get()
