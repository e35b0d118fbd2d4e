from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from flowyard.ports import Backend, open_backend
from flowyard.schemas.artifacts import ArtifactRecord
from flowyard.schemas.filters import ArtifactFilter
from flowyard.schemas.ids import new_id
from flowyard.schemas.variables import VariableRecord
from flowyard.settings import get_settings_from_env


@pytest.fixture
def backend(home: Path) -> Iterator[Backend]:
    """The embedded backend that the commands read, held by this process as by a running flow."""
    opened = open_backend(get_settings_from_env())
    yield opened
    opened.close()


class TestVariables:
    def test_what_was_set_is_got(self, run, backend: Backend) -> None:
        assert run("variable", "set", "city", "Zürich", "--tag", "a").code == 0
        assert run("variable", "get", "city").stdout == "Zürich\n"
        assert backend.control.variables.read("city").tags == ["a"]

    def test_json_keeps_its_type(self, run, backend: Backend) -> None:
        run("variable", "set", "limits", '{"n": [1, null]}', "--json")
        assert backend.control.variables.read("limits").value == {"n": [1, None]}
        assert run("variable", "get", "limits").stdout == '{"n": [1, null]}\n'

    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            (("there", "x"), "exists already. Use --overwrite"),
            (("Upper", "x"), "lowercase letters, digits and underscores"),
            (("x", "{", "--json"), "no JSON"),
            (("x", "y" * 5001), "5001 characters"),
        ],
    )
    def test_what_cannot_be_set_is_said(self, run, backend: Backend, arguments: tuple[str, ...], says: str) -> None:
        backend.control.variables.create(VariableRecord("there", 1))
        done = run("variable", "set", *arguments)
        assert done.code == 1
        assert says in done.stdout
        assert [found.value for found in backend.control.variables.read_many()] == [1]

    def test_overwriting_keeps_tags_unless_some_are_given(self, run, backend: Backend) -> None:
        backend.control.variables.create(VariableRecord("x", 1, ["a"]))
        run("variable", "set", "x", "2", "--overwrite")
        found = backend.control.variables.read("x")
        assert (found.value, found.tags) == ("2", ["a"])
        run("variable", "set", "x", "3", "--overwrite", "--tag", "b")
        assert backend.control.variables.read("x").tags == ["b"]

    def test_they_are_listed_by_name(self, run, backend: Backend) -> None:
        backend.control.variables.create(VariableRecord("b", "long " * 100))
        backend.control.variables.create(VariableRecord("a", [1]))
        lines = run("variable", "ls").stdout.splitlines()
        assert lines[0].split() == ["Name", "Value", "Created", "Updated"]
        assert lines[2].split()[:2] == ["a", "[1]"]
        assert [found["name"] for found in run("variables", "ls", "--output", "json").json()] == ["a", "b"]
        assert [found["name"] for found in run("variable", "ls", "--limit", "1", "-o", "json").json()] == ["a"]

    def test_an_empty_list_says_how_to_begin(self, run) -> None:
        assert "flowyard variable set NAME VALUE" in run("variable", "ls").stdout
        assert run("variable", "ls", "-o", "json").json() == []

    def test_inspecting_shows_all_of_it(self, run, backend: Backend) -> None:
        backend.control.variables.create(VariableRecord("x", "v" * 200, ["a", "b"]))
        assert f"Value:    {'v' * 200}" in run("variable", "inspect", "x").stdout
        found = run("variable", "inspect", "x", "-o", "json").json()
        assert (found["value"], found["tags"]) == ("v" * 200, ["a", "b"])

    @pytest.mark.parametrize("command", ["get", "inspect", "delete"])
    def test_a_name_that_is_not_there_fails(self, run, command: str) -> None:
        done = run("variable", command, "nothing")
        assert done.code == 1
        assert "Variable 'nothing' not found" in done.stdout

    def test_a_deleted_variable_is_gone(self, run, backend: Backend) -> None:
        backend.control.variables.create(VariableRecord("x", 1))
        assert run("variable", "delete", "x").code == 0
        assert backend.control.variables.find("x") is None


class TestArtifacts:
    @pytest.fixture
    def versions(self, backend: Backend) -> list[ArtifactRecord]:
        """Two versions of one artifact, and one without a key."""
        return [
            backend.control.artifacts.create(record)
            for record in (
                ArtifactRecord(key="report", type="markdown", data="# One"),
                ArtifactRecord(key="report", type="markdown", data="# Two", description="Why", flow_run_id=new_id()),
                ArtifactRecord(type="progress", data=50.0),
            )
        ]

    def test_the_latest_of_each_key_is_listed(self, run, versions: list[ArtifactRecord]) -> None:
        one, two, bar = versions
        assert [found["id"] for found in run("artifact", "ls", "-o", "json").json()] == [str(bar.id), str(two.id)]
        every = run("artifacts", "ls", "--all", "-o", "json").json()
        assert [found["id"] for found in every] == [str(bar.id), str(two.id), str(one.id)]
        assert run("artifact", "ls").stdout.splitlines()[3].split()[:3] == [str(two.id), "report", "markdown"]

    def test_an_empty_list_says_how_to_begin(self, run) -> None:
        assert "create_markdown_artifact" in run("artifact", "ls").stdout

    def test_inspecting_a_key_shows_its_versions(self, run, versions: list[ArtifactRecord]) -> None:
        found = run("artifact", "inspect", "report", "-o", "json").json()
        assert [each["data"] for each in found] == ["# Two", "# One"]
        text = run("artifact", "inspect", "report", "--limit", "1").stdout
        assert "Why" in text
        assert "    # Two" in text
        assert "# One" not in text

    def test_deleting_a_key_deletes_every_version(self, run, backend: Backend, versions: list[ArtifactRecord]) -> None:
        assert run("artifact", "delete", "report", "--yes").code == 0
        assert backend.control.artifacts.read_many(ArtifactFilter()) == [versions[2]]

    def test_deleting_by_id_deletes_one_version(self, run, backend: Backend, versions: list[ArtifactRecord]) -> None:
        assert run("artifact", "delete", "--id", str(versions[1].id), "--yes").code == 0
        assert backend.control.artifacts.find_latest("report") == versions[0]

    def test_deleting_asks_first(self, run, backend: Backend, versions: list[ArtifactRecord]) -> None:
        done = run("--prompt", "artifact", "delete", "report", stdin="n\n")
        assert done.code == 1
        assert "Delete artifact 'report' (2 versions)?" in done.stdout
        assert backend.control.artifacts.count(ArtifactFilter()) == len(versions)

    @pytest.mark.parametrize("arguments", [("delete",), ("delete", "report", "--id", str(new_id()))])
    def test_key_and_id_are_one_or_the_other(self, run, arguments: tuple[str, ...]) -> None:
        done = run("artifact", *arguments, "--yes")
        assert done.code == 1
        assert "either the key of an artifact, or --id" in done.stdout

    @pytest.mark.parametrize("arguments", [("inspect", "nothing"), ("delete", "nothing", "--yes")])
    def test_a_key_that_is_not_there_fails(self, run, arguments: tuple[str, ...]) -> None:
        done = run("artifact", *arguments)
        assert done.code == 1
        assert "Artifact 'nothing' not found" in done.stdout
