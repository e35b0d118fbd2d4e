# Wrong options are given on purpose, contexts are known by the test.
# pyright: reportCallIssue=false
from __future__ import annotations

import hashlib
import inspect
import os
import sys

import pytest

from flowyard import flow
from flowyard.exceptions import MissingFlowError, ScriptError, UnspecifiedFlowError
from flowyard.flows import (
    load_flow_from_entrypoint,
    load_flow_from_script,
    load_flows_from_script,
    select_flow,
)

SCRIPT = """
from flowyard import flow
import sibling_of_the_script

@flow
def first(x: int = 1):
    return x + sibling_of_the_script.ONE

@flow(name="second")
def other():
    return 2

value_at_load = first(5)

if __name__ == "__main__":
    raise AssertionError("the main block must not run")
"""


@pytest.fixture
def script(tmp_path):
    (tmp_path / "sibling_of_the_script.py").write_text("ONE = 1\n")
    path = tmp_path / "my_flows.py"
    path.write_text(SCRIPT)
    yield path
    sys.modules.pop("sibling_of_the_script", None)


def test_a_flow_is_loaded_from_a_file_and_runs(records, script):
    loaded = load_flow_from_entrypoint(f"{script}:first")
    assert loaded.name == "first"
    assert loaded(4) == 5


def test_a_flow_that_is_called_while_its_script_loads_does_not_run(records, script, caplog):
    loaded = load_flow_from_entrypoint(f"{script}:first")
    assert loaded.fn.__globals__["value_at_load"] is None
    assert records.flow_runs("first") == [] or all(run.parameters != {"x": 5} for run in records.flow_runs("first"))
    assert '`if __name__ == "__main__":`' in caplog.text


def test_a_flow_is_loaded_from_a_module(tmp_path, monkeypatch):
    (tmp_path / "a_module_with_flows.py").write_text("from flowyard import flow\n@flow\ndef here(): return 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert load_flow_from_entrypoint("a_module_with_flows:here").name == "here"


def test_all_flows_of_a_script_come_in_their_order(script):
    assert [loaded.name for loaded in load_flows_from_script(str(script))] == ["first", "second"]


def test_one_flow_of_a_script_is_chosen_by_name(script):
    assert load_flow_from_script(str(script), "second").name == "second"
    with pytest.raises(UnspecifiedFlowError, match="first, second"):
        load_flow_from_script(str(script))
    with pytest.raises(MissingFlowError, match="first, second"):
        load_flow_from_script(str(script), "third")


@pytest.mark.parametrize(
    ("entrypoint", "error", "text"),
    [
        ("{script}", ValueError, "must be"),
        ("{script}:missing", MissingFlowError, "first"),
        ("{script}:value_at_load", MissingFlowError, "value_at_load"),
        ("{script}.missing.py:first", MissingFlowError, "no file"),
        ("no_such_module_at_all:first", MissingFlowError, "no_such_module_at_all"),
    ],
)
def test_an_entrypoint_that_leads_nowhere_says_what_there_is(script, entrypoint, error, text):
    with pytest.raises(error, match=text):
        load_flow_from_entrypoint(entrypoint.format(script=script))


def test_a_script_that_raises_names_itself_and_keeps_the_error(tmp_path):
    script = tmp_path / "broken.py"
    script.write_text("1 / 0\n")
    path_before = list(sys.path)
    with pytest.raises(ScriptError, match=r"broken\.py") as caught:
        load_flow_from_entrypoint(f"{script}:anything")
    assert isinstance(caught.value.user_exc, ZeroDivisionError)
    assert sys.path == path_before
    assert not [name for name in sys.modules if "broken" in name and "flowyard_loader" in name]


def test_select_flow_needs_a_flow():
    with pytest.raises(MissingFlowError):
        select_flow([])


def test_a_run_records_how_it_can_be_started_again(records):
    @flow
    def run():
        return 1

    start = records.flow_run(run(return_state=True)).start
    assert start.entrypoint.startswith(f"{__file__}:")
    assert start.source_hash == hashlib.sha256(inspect.getsource(run.fn).encode()).hexdigest()
    assert start.working_directory == os.getcwd()


def test_a_function_without_a_file_records_its_working_directory_only(records):
    namespace = {"flow": flow}
    exec("@flow\ndef typed_in():\n    return 1\n", namespace)
    start = records.flow_run(namespace["typed_in"](return_state=True)).start
    assert (start.entrypoint, start.source_hash, start.working_directory) == (None, None, os.getcwd())
