"""Artifacts: what a run wants people to see. Made anywhere; inside a run they are linked to it.

The `create_*` functions block in sync code and are awaited in async code; `_sync=True` makes them block anywhere.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Self, cast
from uuid import UUID

from flowyard.context import current
from flowyard.duality import dual, sync_compatible
from flowyard.process.control import control_plane
from flowyard.rules.artifacts import check_artifact_key
from flowyard.schemas.artifacts import ArtifactRecord

__all__ = [
    "Artifact",
    "ImageArtifact",
    "LinkArtifact",
    "MarkdownArtifact",
    "ProgressArtifact",
    "TableArtifact",
    "create_image_artifact",
    "create_link_artifact",
    "create_markdown_artifact",
    "create_progress_artifact",
    "create_table_artifact",
    "update_progress_artifact",
]

Table = Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Any]] | Sequence[Sequence[Any]]
"""Columns by name, or rows as mappings, or rows as sequences."""


@dataclass(kw_only=True)
class Artifact:
    """What is to be stored. Artifacts with the same `key` are versions of one; without, it is only seen at its run."""

    key: str | None = None
    """Lowercase letters, digits and dashes."""
    type: str | None = None
    description: str | None = None
    data: Any = None
    """Anything that JSON can say."""
    metadata_: Mapping[str, str] | None = None
    """Values are cut to 500 characters."""
    flow_run_id: UUID | None = None
    """None is the run that executes here, if any."""
    task_run_id: UUID | None = None

    @sync_compatible
    async def create(self, client: object = None) -> ArtifactRecord:
        """Store the artifact and return what was stored.

        Args:
            client: taken for code written for Prefect 2; the state backend is that of the run.

        Raises:
            ValueError: the key has other characters than lowercase letters, digits and dashes.
        """
        del client
        return await asyncio.to_thread(_store, self, await self.format())

    @classmethod
    @dual
    def get(cls, key: str | None = None, client: object = None) -> ArtifactRecord | None:
        """Return the latest version of a key, or None if there is none."""
        del client
        return None if key is None else control_plane().artifacts.find_latest(key)

    @classmethod
    @sync_compatible
    async def get_or_create(
        cls,
        key: str | None = None,
        description: str | None = None,
        data: Any = None,
        client: object = None,
        **kwargs: Any,
    ) -> tuple[ArtifactRecord, bool]:
        """Return the latest version of a key, made now if there is none, and whether it was made."""
        found = await cast("Any", cls.get)(key, client, _sync=False)
        if found is not None:
            return found, False
        made: Self = cls(key=key, description=description, data=data, **kwargs)
        return await cast("Any", made.create)(_sync=False), True

    async def format(self) -> Any:
        """Return what is stored as the data."""
        return self._content()

    def _content(self) -> Any:
        return self.data


@dataclass(kw_only=True)
class LinkArtifact(Artifact):
    """A link, stored as Markdown."""

    type: str | None = "markdown"
    link: str
    link_text: str | None = None

    def _content(self) -> str:
        return f"[{self.link_text or self.link}]({self.link})"


@dataclass(kw_only=True)
class MarkdownArtifact(Artifact):
    """A text in Markdown."""

    type: str | None = "markdown"
    markdown: str

    def _content(self) -> str:
        return self.markdown


@dataclass(kw_only=True)
class TableArtifact(Artifact):
    """A table, stored as JSON text; what is no number becomes null, and what JSON cannot say becomes its text."""

    type: str | None = "table"
    table: Table

    def _content(self) -> str:
        return json.dumps(_table(self.table), ensure_ascii=False)


@dataclass(kw_only=True)
class ProgressArtifact(Artifact):
    """A bar that shows how far something is: 0 to 100."""

    type: str | None = "progress"
    progress: float

    def _content(self) -> float:
        return _checked_progress(self.progress)


@dataclass(kw_only=True)
class ImageArtifact(Artifact):
    """An image that is publicly to be had at a URL."""

    type: str | None = "image"
    image_url: str

    def _content(self) -> str:
        return self.image_url


@dual
def create_link_artifact(
    link: str,
    link_text: str | None = None,
    key: str | None = None,
    description: str | None = None,
    client: object = None,
) -> UUID:
    """Store a link, shown as `link_text`, and return the artifact's id."""
    del client
    return _create(LinkArtifact(key=key, description=description, link=link, link_text=link_text))


@dual
def create_markdown_artifact(markdown: str, key: str | None = None, description: str | None = None) -> UUID:
    """Store a text in Markdown and return the artifact's id."""
    return _create(MarkdownArtifact(key=key, description=description, markdown=markdown))


@dual
def create_table_artifact(table: Table, key: str | None = None, description: str | None = None) -> UUID:
    """Store a table and return the artifact's id.

    Args:
        table: columns by name, or rows as mappings, or rows as sequences.
        key: lowercase letters, digits and dashes.
        description: shown beside it, in Markdown.

    Raises:
        TypeError: it is no table.
    """
    return _create(TableArtifact(key=key, description=description, table=table))


@dual
def create_progress_artifact(progress: float, key: str | None = None, description: str | None = None) -> UUID:
    """Store a progress bar and return the artifact's id, for `update_progress_artifact`.

    Raises:
        ValueError: `progress` is not between 0 and 100.
    """
    return _create(ProgressArtifact(key=key, description=description, progress=progress))


@dual
def update_progress_artifact(
    artifact_id: UUID, progress: float, description: str | None = None, client: object = None
) -> UUID:
    """Move a progress bar and return its id; a `description` replaces the one it has.

    Raises:
        ObjectNotFound: there is no such artifact.
        ValueError: `progress` is not between 0 and 100.
    """
    del client
    changes: dict[str, Any] = {"data": _checked_progress(progress)}
    if description is not None:
        changes["description"] = description
    control_plane().artifacts.update(artifact_id, **changes)
    return artifact_id


@dual
def create_image_artifact(image_url: str, key: str | None = None, description: str | None = None) -> UUID:
    """Store where an image is and return the artifact's id."""
    return _create(ImageArtifact(key=key, description=description, image_url=image_url))


def _create(artifact: Artifact) -> UUID:
    return _store(artifact, artifact._content()).id  # pyright: ignore[reportPrivateUsage]


def _store(artifact: Artifact, data: Any) -> ArtifactRecord:
    check_artifact_key(artifact.key)  # here, so that a remote worker need not ask
    here = current()
    flow_run_id, task_run_id = artifact.flow_run_id, artifact.task_run_id
    if flow_run_id is None and task_run_id is None:
        task_context = here.shown_task_run
        if task_context is not None:
            task_run_id, flow_run_id = task_context.task_run.id, task_context.task_run.flow_run_id
        elif here.flow_run is not None:
            flow_run_id = here.flow_run.flow_run.id
    record = ArtifactRecord(
        key=artifact.key,
        type=artifact.type,
        data=data,
        description=artifact.description,
        metadata=None if artifact.metadata_ is None else dict(artifact.metadata_),
        flow_run_id=flow_run_id,
        task_run_id=task_run_id,
    )
    return control_plane().artifacts.create(record)


def _checked_progress(progress: object) -> float:
    if not isinstance(progress, (int, float)) or isinstance(progress, bool):
        raise TypeError(f"progress is a number from 0 to 100, not {progress!r}")
    if not 0 <= progress <= 100:
        raise ValueError(f"progress is between 0 and 100, not {progress!r}")
    return float(progress)


def _table(table: object) -> Any:
    if isinstance(table, Mapping):
        columns = cast("Mapping[Any, Any]", table)
        for name, column in columns.items():
            if not _is_row(column):
                raise TypeError(f"column {name!r} of the table is a list of values, not {column!r}")
        return {str(name): _cells(column) for name, column in columns.items()}
    if not _is_row(table):
        raise TypeError(
            f"a table is a dict of columns or a list of rows, not {table!r}; of a data frame pass `to_dict('records')`"
        )
    return [_row(row) for row in cast("Sequence[Any]", table)]


def _row(row: object) -> Any:
    if isinstance(row, Mapping):
        return {str(name): _cell(value) for name, value in cast("Mapping[Any, Any]", row).items()}
    if not _is_row(row):
        raise TypeError(f"a row of the table is a dict or a list, not {row!r}")
    return _cells(cast("Sequence[Any]", row))


def _is_row(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def _cells(values: Sequence[Any]) -> list[Any]:
    return [_cell(value) for value in values]


def _cell(value: Any) -> Any:
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if type(value).__name__ in ("NaTType", "NAType"):  # what pandas has in place of a moment or a value
        return None
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(key): _cell(item) for key, item in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, (list, tuple)):
        return _cells(cast("list[Any]", value))
    if callable(getattr(value, "item", None)) and getattr(value, "ndim", None) == 0:  # a number of numpy
        return _cell(value.item())
    return str(value)
