from __future__ import annotations

import asyncio
import json
from datetime import date
from typing import Any
from uuid import UUID

import pandas
import pytest

from flowyard import flow, task
from flowyard.artifacts import (
    Artifact,
    LinkArtifact,
    create_image_artifact,
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from flowyard.context import FlowRunContext, TaskRunContext
from flowyard.exceptions import ObjectNotFound
from flowyard.process.backends import PROCESS
from flowyard.schemas.artifacts import ArtifactRecord
from flowyard.schemas.filters import ArtifactFilter
from flowyard.schemas.ids import new_id

pytestmark = pytest.mark.usefixtures("records")


def _run_id(kind: type[FlowRunContext | TaskRunContext]) -> UUID:
    here = kind.get()
    assert here is not None
    return here.task_run.id if isinstance(here, TaskRunContext) else here.flow_run.id


def read(artifact_id: UUID) -> ArtifactRecord:
    return PROCESS.backend().control.artifacts.read(artifact_id)


def test_markdown_is_stored_as_it_is() -> None:
    found = read(create_markdown_artifact("# Hi", key="my-report", description="What happened"))
    assert (found.type, found.data, found.key, found.description) == ("markdown", "# Hi", "my-report", "What happened")
    assert (found.flow_run_id, found.task_run_id) == (None, None)


@pytest.mark.parametrize(("text", "expected"), [("Docs", "[Docs](https://x.y)"), (None, "[https://x.y](https://x.y)")])
def test_a_link_is_stored_as_markdown(text: str | None, expected: str) -> None:
    found = read(create_link_artifact("https://x.y", text))
    assert (found.type, found.data) == ("markdown", expected)


class Odd:
    def __str__(self) -> str:
        return "odd"


def test_what_is_missing_in_a_data_frame_is_null() -> None:
    rows: Any = [{"when": pandas.NaT, "what": pandas.NA, "n": pandas.Timestamp("2026-01-02")}]
    assert json.loads(read(create_table_artifact(rows)).data) == [
        {"when": None, "what": None, "n": "2026-01-02T00:00:00"}
    ]


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({"a": [1, float("nan")], "b": ["é", None]}, {"a": [1, None], "b": ["é", None]}),
        ([{"a": 1}, {"a": float("inf")}], [{"a": 1}, {"a": None}]),
        ([["a", "b"], (1, True)], [["a", "b"], [1, True]]),
        ([[date(2026, 1, 2), Odd(), {"deep": float("nan")}]], [["2026-01-02", "odd", {"deep": None}]]),
        ([], []),
    ],
    ids=["columns", "mappings", "rows", "what JSON cannot say", "empty"],
)
def test_a_table_is_stored_as_json(table: Any, expected: Any) -> None:
    found = read(create_table_artifact(table))
    assert found.type == "table"
    assert json.loads(found.data) == expected


@pytest.mark.parametrize(
    ("table", "says"),
    [("text", "not 'text'"), ({"a": 5}, "column 'a'.*5"), ([5], "row of the table.*5"), (None, "to_dict")],
)
def test_what_is_no_table_is_refused(table: Any, says: str) -> None:
    with pytest.raises(TypeError, match=says):
        create_table_artifact(table)


def test_progress_moves() -> None:
    made = create_progress_artifact(0, key="bar", description="Loading")
    assert update_progress_artifact(made, 62.5) == made
    found = read(made)
    assert (found.type, found.data, found.description) == ("progress", 62.5, "Loading")
    update_progress_artifact(made, 100, description="Done")
    assert (read(made).data, read(made).description) == (100.0, "Done")


@pytest.mark.parametrize("progress", [-1, 100.5, float("nan")])
def test_progress_out_of_range_is_refused(progress: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 100"):
        create_progress_artifact(progress)


def test_a_bar_that_is_not_there_is_not_found() -> None:
    with pytest.raises(ObjectNotFound):
        update_progress_artifact(new_id(), 5)


def test_an_image_is_its_url() -> None:
    found = read(create_image_artifact("https://x.y/z.png", description="A cat"))
    assert (found.type, found.data) == ("image", "https://x.y/z.png")


def test_a_bad_key_is_refused() -> None:
    with pytest.raises(ValueError, match="'My_Key'.*lowercase letters, digits and dashes"):
        create_markdown_artifact("x", key="My_Key")


def test_artifacts_are_linked_to_the_run_they_were_made_in() -> None:
    @task
    def inner() -> tuple[UUID, UUID]:
        return create_markdown_artifact("task"), _run_id(TaskRunContext)

    @flow
    def outer() -> tuple[UUID, UUID, list[tuple[UUID, UUID]]]:
        made = create_markdown_artifact("flow")
        return made, _run_id(FlowRunContext), [inner(), inner.submit().result()]

    made, flow_run_id, of_tasks = outer()
    assert (read(made).flow_run_id, read(made).task_run_id) == (flow_run_id, None)
    for artifact_id, task_run_id in of_tasks:
        assert (read(artifact_id).flow_run_id, read(artifact_id).task_run_id) == (flow_run_id, task_run_id)
    found = PROCESS.backend().control.artifacts.read_many(ArtifactFilter(flow_run_ids=(flow_run_id,)))
    assert [record.id for record in found][::-1] == [made, of_tasks[0][0], of_tasks[1][0]]


def test_async_code_awaits_them() -> None:
    @flow
    async def outer() -> UUID:
        bar = await create_progress_artifact(1)
        await update_progress_artifact(bar, 2)
        made = await create_markdown_artifact("x")
        assert (await Artifact(key="from-async", data=1).create()).data == 1
        found, is_new = await Artifact.get_or_create(key="from-async", data=2)
        assert (found.data, is_new) == (1, False)
        return made

    assert read(asyncio.run(outer())).data == "x"


def test_the_latest_version_of_a_key_is_got() -> None:
    assert Artifact.get("versions") is None
    for text in ("one", "two"):
        create_markdown_artifact(text, key="versions")
    latest = Artifact.get("versions")
    assert latest is not None
    assert latest.data == "two"


def test_get_or_create_makes_one_only_if_there_is_none() -> None:
    first, is_new = Artifact.get_or_create(key="once", description="d", data={"a": 1}, type="custom")
    assert (is_new, first.data, first.type, first.description) == (True, {"a": 1}, "custom", "d")
    second, is_new = Artifact.get_or_create(key="once", data={"a": 2})
    assert (is_new, second) == (False, first)


def test_an_artifact_of_the_users_own_is_formatted_by_its_class() -> None:
    class Shout(Artifact):
        async def format(self) -> str:
            return str(self.data).upper()

    assert read(Shout(data="quiet", metadata_={"long": "x" * 600}).create().id).data == "QUIET"
    made = LinkArtifact(link="https://x.y", key="linked", flow_run_id=(run := new_id())).create()
    assert (made.data, made.flow_run_id) == ("[https://x.y](https://x.y)", run)
