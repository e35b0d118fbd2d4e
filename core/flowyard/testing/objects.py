"""What every backend must do with variables and artifacts. Subclass in a test module and override the fixture."""

# ruff: noqa: D102  the names of the tests are sentences

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import pytest

from flowyard.exceptions import ObjectAlreadyExists, ObjectNotFound
from flowyard.ports import Backend
from flowyard.schemas.artifacts import ArtifactRecord
from flowyard.schemas.filters import ArtifactFilter
from flowyard.schemas.ids import new_id
from flowyard.schemas.variables import VariableRecord
from flowyard.testing.records import begin


class VariableContract:
    """Variables, through the port `VariableStore`."""

    @pytest.fixture
    def backend(self) -> Iterator[Backend]:
        """Return an empty backend."""
        raise NotImplementedError("override the fixture `backend`")

    @pytest.mark.parametrize(
        "value",
        ["text", "", "é\u2028", 5, 2**70, 1.5, True, None, [], {}, {"a": [1, {"b": None}]}, "5", "null"],
        ids=repr,
    )
    def test_a_variable_is_read_as_it_was_created(self, backend: Backend, value: Any) -> None:
        record = VariableRecord("name_1", value, ["b", "a"])
        backend.control.variables.create(record)
        found = backend.control.variables.read("name_1")
        assert asdict(found) == asdict(record)
        assert type(found.value) is type(value)

    def test_a_second_variable_of_a_name_is_refused_and_the_first_stays(self, backend: Backend) -> None:
        backend.control.variables.create(VariableRecord("x", 1))
        with pytest.raises(ObjectAlreadyExists, match="variable 'x' exists already"):
            backend.control.variables.create(VariableRecord("x", 2))
        assert backend.control.variables.read("x").value == 1

    def test_putting_replaces_value_and_tags_and_keeps_the_id(self, backend: Backend) -> None:
        first = backend.control.variables.put(VariableRecord("x", 1, ["a"]))
        second = backend.control.variables.put(VariableRecord("x", None, []))
        found = backend.control.variables.read("x")
        assert (found.value, found.tags) == (None, [])
        assert first.id == second.id == found.id
        assert found.created == first.created <= found.updated

    def test_putting_can_keep_the_tags(self, backend: Backend) -> None:
        backend.control.variables.put(VariableRecord("x", 1, ["a"]))
        assert backend.control.variables.put(VariableRecord("x", 2), keep_tags=True).tags == ["a"]
        assert backend.control.variables.read("x").value == 2

    def test_of_many_that_put_at_once_one_is_kept(self, backend: Backend) -> None:
        threads = [
            threading.Thread(target=backend.control.variables.put, args=(VariableRecord("x", number),))
            for number in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [found.name for found in backend.control.variables.read_many()] == ["x"]

    def test_updating_changes_what_is_named_only(self, backend: Backend) -> None:
        backend.control.variables.create(VariableRecord("x", 1, ["a"]))
        assert backend.control.variables.update("x", value=2).tags == ["a"]
        assert backend.control.variables.update("x", name="y", tags=["b"]).value == 2
        assert backend.control.variables.find("x") is None
        found = backend.control.variables.read("y")
        assert (found.value, found.tags) == (2, ["b"])

    def test_an_update_to_a_taken_name_or_of_something_else_is_refused(self, backend: Backend) -> None:
        backend.control.variables.create(VariableRecord("x", 1))
        backend.control.variables.create(VariableRecord("y", 2))
        with pytest.raises(ObjectAlreadyExists):
            backend.control.variables.update("x", name="y")
        with pytest.raises(ValueError, match=r"'id'.*name, value, tags"):
            backend.control.variables.update("x", id=new_id())
        assert backend.control.variables.read("x").value == 1

    def test_a_name_that_is_not_there_is_not_found(self, backend: Backend) -> None:
        store = backend.control.variables
        assert store.find("nothing") is None
        for call in (
            lambda: store.read("nothing"),
            lambda: store.update("nothing", value=1),
            lambda: store.delete("nothing"),
        ):
            with pytest.raises(ObjectNotFound, match="no variable 'nothing'"):
                call()

    def test_a_deleted_variable_is_gone(self, backend: Backend) -> None:
        backend.control.variables.create(VariableRecord("x", 1))
        backend.control.variables.delete("x")
        assert backend.control.variables.find("x") is None
        backend.control.variables.create(VariableRecord("x", 2))

    def test_variables_are_listed_by_name_and_in_pages(self, backend: Backend) -> None:
        for name in ("c", "a", "b"):
            backend.control.variables.create(VariableRecord(name, name))
        assert [found.name for found in backend.control.variables.read_many()] == ["a", "b", "c"]
        assert [found.name for found in backend.control.variables.read_many(limit=1, offset=1)] == ["b"]

    @pytest.mark.parametrize(
        ("name", "value", "says"),
        [
            ("Upper", 1, "'Upper'.*lowercase"),
            ("with-dash", 1, "'with-dash'"),
            ("", 1, "''"),
            ("line\n", 1, "line"),
            ("x" * 256, 1, "256 characters"),
            ("x", "y" * 5001, "5001 characters"),
            ("x", [float("nan")], r"value of variable 'x'\[0\] is nan"),
        ],
    )
    def test_what_cannot_be_a_variable_is_refused(self, backend: Backend, name: str, value: Any, says: str) -> None:
        for store in (backend.control.variables.create, backend.control.variables.put):
            with pytest.raises(ValueError, match=says):
                store(VariableRecord(name, value))
        assert backend.control.variables.read_many() == []

    @pytest.mark.parametrize(
        ("value", "says"),
        [(object(), "is <object"), ({1: 2}, "the key 1"), ({"a": {"b": {3}}}, r"\['a'\]\['b'\] is \{3\}, a set")],
    )
    def test_what_json_cannot_say_is_refused_by_its_place(self, backend: Backend, value: Any, says: str) -> None:
        with pytest.raises(TypeError, match=says):
            backend.control.variables.create(VariableRecord("x", value))


class ArtifactContract:
    """Artifacts, through the port `ArtifactStore`."""

    @pytest.fixture
    def backend(self) -> Iterator[Backend]:
        """Return an empty backend."""
        raise NotImplementedError("override the fixture `backend`")

    def test_an_artifact_is_read_as_it_was_created(self, backend: Backend) -> None:
        record = ArtifactRecord(
            key="my-report",
            type="table",
            data={"a": [1, None, "é"]},
            description="What happened",
            metadata={"source": "test"},
            flow_run_id=new_id(),
            task_run_id=new_id(),
        )
        backend.control.artifacts.create(record)
        assert backend.control.artifacts.read(record.id) == record
        bare = backend.control.artifacts.create(ArtifactRecord())
        assert backend.control.artifacts.read(bare.id) == bare

    def test_the_same_record_twice_is_stored_once(self, backend: Backend) -> None:
        record = ArtifactRecord(key="k", data=1)
        for _ in range(2):
            backend.control.artifacts.create(record)
        assert backend.control.artifacts.count(ArtifactFilter()) == 1

    def test_the_latest_of_a_key_is_the_one_made_last_whatever_order_they_come_in(self, backend: Backend) -> None:
        first, second, third = (ArtifactRecord(key="k", data=number) for number in range(3))
        for record in (second, third, first):
            backend.control.artifacts.create(record)
        latest = backend.control.artifacts.find_latest("k")
        assert latest is not None
        assert latest.id == third.id
        assert backend.control.artifacts.find_latest("other") is None

    def test_deleting_the_latest_makes_the_one_before_it_the_latest(self, backend: Backend) -> None:
        first, second = (backend.control.artifacts.create(ArtifactRecord(key="k")) for _ in range(2))
        backend.control.artifacts.delete(second.id)
        assert backend.control.artifacts.find_latest("k") == first
        backend.control.artifacts.delete(first.id)
        assert backend.control.artifacts.find_latest("k") is None

    def test_deleting_a_key_deletes_its_versions_and_no_other(self, backend: Backend) -> None:
        for key in ("k", "k", "other", None):
            backend.control.artifacts.create(ArtifactRecord(key=key))
        assert backend.control.artifacts.delete_key("k") == 2
        assert backend.control.artifacts.find_latest("k") is None
        assert backend.control.artifacts.count(ArtifactFilter()) == 2

    def test_an_artifact_that_is_not_there_is_not_found(self, backend: Backend) -> None:
        nothing = new_id()
        store = backend.control.artifacts
        for call in (
            lambda: store.read(nothing),
            lambda: store.update(nothing, data=1),
            lambda: store.delete(nothing),
        ):
            with pytest.raises(ObjectNotFound, match=f"no artifact {nothing}"):
                call()
        with pytest.raises(ObjectNotFound, match="no artifact 'nothing'"):
            store.delete_key("nothing")

    def test_updating_changes_what_is_named_only(self, backend: Backend) -> None:
        record = backend.control.artifacts.create(ArtifactRecord(key="k", data=0.5, description="half"))
        backend.control.artifacts.update(record.id, data=1.0)
        found = backend.control.artifacts.read(record.id)
        assert (found.data, found.description, found.key) == (1.0, "half", "k")
        with pytest.raises(ValueError, match=r"'key'.*data, description, metadata"):
            backend.control.artifacts.update(record.id, key="x")

    @pytest.mark.parametrize("key", ["Upper", "under_score", "", "dash-\n"])
    def test_what_cannot_be_a_key_is_refused(self, backend: Backend, key: str) -> None:
        with pytest.raises(ValueError, match="lowercase letters, digits and dashes"):
            backend.control.artifacts.create(ArtifactRecord(key=key))

    def test_long_metadata_is_cut(self, backend: Backend) -> None:
        record = backend.control.artifacts.create(ArtifactRecord(metadata={"long": "x" * 501, "short": "x" * 500}))
        found = backend.control.artifacts.read(record.id).metadata
        assert found == {"long": "x" * 500 + "...", "short": "x" * 500}

    def test_filters_hold_together_and_the_newest_comes_first(self, backend: Backend) -> None:
        flow_run, task_run = new_id(), new_id()
        old = backend.control.artifacts.create(ArtifactRecord(key="k", type="table", flow_run_id=flow_run))
        new = backend.control.artifacts.create(ArtifactRecord(key="k", type="markdown", task_run_id=task_run))
        bare = backend.control.artifacts.create(ArtifactRecord(type="table"))
        for where, expected in (
            (ArtifactFilter(), [bare, new, old]),
            (ArtifactFilter(ids=(old.id, bare.id)), [bare, old]),
            (ArtifactFilter(keys=("k",)), [new, old]),
            (ArtifactFilter(types=("table",)), [bare, old]),
            (ArtifactFilter(flow_run_ids=(flow_run,)), [old]),
            (ArtifactFilter(task_run_ids=(task_run,)), [new]),
            (ArtifactFilter(is_latest=True), [bare, new]),
            (ArtifactFilter(is_latest=True, keys=("k",), types=("table",)), []),
        ):
            assert backend.control.artifacts.read_many(where) == expected, where
            assert backend.control.artifacts.count(where) == len(expected), where
        assert backend.control.artifacts.read_many(ArtifactFilter(), limit=1, offset=1) == [new]

    def test_the_artifacts_of_a_deleted_flow_run_are_deleted_with_it(self, backend: Backend) -> None:
        run, _ = begin(backend)
        kept = backend.control.artifacts.create(ArtifactRecord(key="k"))
        backend.control.artifacts.create(ArtifactRecord(key="k", flow_run_id=run.id))
        backend.control.delete_flow_run(run.id)
        assert backend.control.artifacts.read_many(ArtifactFilter()) == [kept]
        assert backend.control.artifacts.find_latest("k") == kept
