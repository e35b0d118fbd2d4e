from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import stat
import sys
from pathlib import Path

import pytest

from flowyard.annotations import allow_failure, unmapped
from flowyard.context import current, tags
from flowyard.engine.visualization import (
    Edge,
    FuturePlaceholder,
    Graph,
    Node,
    NodeKind,
    trace_call,
    trace_call_async,
    visualize_call,
)
from flowyard.exceptions import FlowVisualizationError, TaskVizReturnValueError
from flowyard.logging.loggers import LogEavesdropper, get_run_logger


def call(name, *values, is_async=False, wait_for=None, gives=None, is_flow=False):
    return current().tracker.call(
        name, dict(enumerate(values)), is_async=is_async, wait_for=wait_for, return_value=gives, is_flow=is_flow
    )


def submit(name, *values, is_async=False, wait_for=None, gives=None):
    return current().tracker.submit(
        name, dict(enumerate(values)), is_async=is_async, wait_for=wait_for, return_value=gives
    )


def map_over(name, *values, gives=None):
    return current().tracker.map(name, dict(enumerate(values)), is_async=False, return_value=gives)


def traced(fn, *args, **kwargs):
    return trace_call("my-flow", fn, args, kwargs)


def arrows(graph):
    labels = {node.id: node.label for node in graph.nodes}
    return {
        f"{labels[edge.source]} {'~' if edge.is_order_only else '-'}> {labels[edge.target]}" for edge in graph.edges
    }


def test_calls_are_nodes_and_values_are_edges():
    def body(n):
        a = call("load", n)
        b = call("load", n + 1)
        call("join", [a, {"k": b}])

    graph = traced(body, 1)
    assert [node.label for node in graph.nodes] == ["load-0", "load-1", "join-0"]
    assert arrows(graph) == {"load-0 -> join-0", "load-1 -> join-0"}


def test_a_value_used_twice_is_one_edge_and_waiting_for_it_too_is_no_other():
    def body():
        a = call("a")
        call("b", a, [a], wait_for=[a])

    assert traced(body).edges == [Edge("n0", "n1")]


def test_waiting_is_an_edge_of_its_own_kind():
    def body():
        a = submit("a")
        call("b", wait_for=[allow_failure(a)])

    assert arrows(traced(body)) == {"a-0 ~> b-0"}


def test_what_is_made_from_a_value_still_comes_from_its_task():
    def body():
        frame = call("load")
        call("use", frame["x"].head(3) + 1, wait_for=None)
        call("negate", -frame, 2 * frame, frame == 3)

    assert arrows(traced(body)) == {"load-0 -> use-0", "load-0 -> negate-0"}


def test_futures_and_states_lead_back_to_their_task():
    def body():
        future = submit("a")
        future.wait()
        call("b", future)
        call("c", future.result())

    assert arrows(traced(body)) == {"a-0 -> b-0", "a-0 -> c-0"}


LOOKS = {
    "if": lambda value: 1 if value else 2,
    "compare": lambda value: 1 if value > 5 else 2,
    "loop": lambda value: list(value),
    "unpack": lambda value: (lambda a, b: a)(*value),
    "len": len,
    "range": range,
    "int": int,
    "in": lambda value: 3 in value,
    "with": lambda value: value.__enter__(),
}


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS.keys())
def test_code_that_needs_a_value_is_told_how_to_give_one(look):
    with pytest.raises(TaskVizReturnValueError, match=r"value of 'a-0'.*viz_return_value"):
        traced(lambda: look(call("a")))


def test_a_value_that_is_given_is_used_and_still_leads_back_to_its_task():
    numbers = [1, 2]

    def body():
        found = call("numbers", gives=numbers)
        assert found is numbers
        for _ in found:
            call("use", found)
        call("inside", [found])

    graph = traced(body)
    assert arrows(graph) == {"numbers-0 -> use-0", "numbers-0 -> use-1", "numbers-0 -> inside-0"}


def test_small_values_that_are_given_lead_nowhere_since_they_have_no_identity():
    def body():
        call("b", call("a", gives=3))
        call("c", 3)

    assert traced(body).edges == []


def test_a_given_value_comes_from_futures_too():
    seen = []
    traced(lambda: seen.append(submit("a", gives=[7]).result()))
    assert seen == [[7]]


def test_a_map_is_one_node_with_as_many_futures_as_items():
    def body():
        found = map_over("square", [1, 2, 3], unmapped([1, 2]))
        assert len(found) == 3
        assert all(isinstance(future, FuturePlaceholder) for future in found)
        again = map_over("again", found)
        assert len(again) == 3
        call("sum", again)

    graph = traced(body)
    assert [node.label for node in graph.nodes] == ["square-0 × 3", "again-0 × 3", "sum-0"]
    assert [node.kind for node in graph.nodes] == [NodeKind.MAPPED, NodeKind.MAPPED, NodeKind.TASK]
    assert arrows(graph) == {"square-0 × 3 -> again-0 × 3", "again-0 × 3 -> sum-0"}


def test_a_map_over_a_value_that_is_not_known_has_an_unknown_number():
    graph = traced(lambda: map_over("square", call("load")))
    assert [node.label for node in graph.nodes] == ["load-0", "square-0 × ?"]
    assert arrows(graph) == {"load-0 -> square-0 × ?"}


def test_subflows_are_nodes_of_their_own_kind():
    graph = traced(lambda: call("child", is_flow=True))
    assert graph.nodes == [Node("n0", "child-0", NodeKind.FLOW)]


def test_calls_under_tags_are_tracked_too():
    def body():
        with tags("a"):
            call("inside")

    assert [node.label for node in traced(body).nodes] == ["inside-0"]


def test_the_run_logger_is_silent_while_drawing():
    def body():
        get_run_logger().warning("nobody hears this")
        call("a")

    with LogEavesdropper("flowyard") as heard:
        assert len(traced(body).nodes) == 1
    assert heard.text() == ""


def test_afterwards_nothing_is_tracked():
    traced(lambda: call("a"))
    assert current().tracker is None


def test_a_generator_flow_runs_to_its_end():
    def body():
        yield call("a")
        yield call("b")

    assert len(traced(body).nodes) == 2


def test_an_async_flow_awaits_its_async_tasks():
    async def body():
        a = await call("a", is_async=True)
        b, c = await asyncio.gather(call("b", a, is_async=True), call("c", a, is_async=True))
        future = submit("d", b, is_async=True)
        assert await submit("e", is_async=True, gives=[5]).result() == [5]
        call("sync", await future.result(), c)

    graph = asyncio.run(trace_call_async("my-flow", body, (), {}))
    assert arrows(graph) == {"a-0 -> b-0", "a-0 -> c-0", "b-0 -> d-0", "d-0 -> sync-0", "c-0 -> sync-0"}


def test_an_async_task_of_a_sync_flow_gives_its_value_at_once():
    assert arrows(traced(lambda: call("b", call("a", is_async=True)))) == {"a-0 -> b-0"}


def test_an_error_of_the_flow_says_that_its_tasks_do_not_run():
    def body():
        {}["missing"]

    with pytest.raises(
        FlowVisualizationError, match=r"'my-flow' raised KeyError: 'missing' while it was drawn"
    ) as caught:
        traced(body)
    assert isinstance(caught.value.__cause__, KeyError)


def test_the_graph_is_written_as_dot():
    graph = Graph(
        'say "hi"',
        [Node("n0", 'a"b\\'), Node("n1", "m", NodeKind.MAPPED), Node("n2", "f", NodeKind.FLOW)],
        [Edge("n0", "n1"), Edge("n1", "n2", is_order_only=True)],
    )
    assert graph.to_dot().splitlines() == [
        'digraph "say \\"hi\\"" {',
        "  rankdir=LR;",
        "  node [shape=box, style=rounded];",
        '  n0 [label="a\\"b\\\\"];',
        '  n1 [label="m", shape=box3d];',
        '  n2 [label="f", shape=folder];',
        "  n0 -> n1;",
        "  n1 -> n2 [style=dashed];",
        "}",
    ]


def test_the_graph_is_written_as_mermaid():
    graph = Graph("f", [Node("n0", 'a"'), Node("n1", "m", NodeKind.MAPPED)], [Edge("n0", "n1")])
    assert graph.to_mermaid().splitlines() == ["flowchart LR", '  n0("a#quot;")', '  n1[["m"]]', "  n0 --> n1"]


# --- pictures ---------------------------------------------------------------------------------------------------


@pytest.fixture
def fake_dot(tmp_path, monkeypatch):
    """A `dot` that notes what it is told and writes the picture it is asked for."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "dot"
    program.write_text(
        f"#!{sys.executable}\nimport sys, pathlib\n"
        "source = pathlib.Path(sys.argv[-1])\n"
        "pathlib.Path(str(source) + '.png').write_bytes(b'PNG ' + source.read_bytes())\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)


def test_a_flow_is_drawn_as_a_picture(fake_dot, tmp_path):
    graph = visualize_call("my-flow", lambda: call("a"), (), {}, is_async=False, view=False)
    assert isinstance(graph, Graph)
    picture = (tmp_path / "my-flow.png").read_text()
    assert picture == "PNG " + graph.to_dot()
    assert not (tmp_path / "my-flow").exists(), "the source is removed"


def test_an_async_flow_is_drawn_with_and_without_a_running_loop(fake_dot, tmp_path):
    async def body():
        await call("a", is_async=True)

    assert isinstance(visualize_call("one", body, (), {}, is_async=True, view=False), Graph)

    async def notebook():
        drawing = visualize_call("two", body, (), {}, is_async=True, view=False)
        assert not isinstance(drawing, Graph)
        return await drawing

    assert isinstance(asyncio.run(notebook()), Graph)
    assert {path.name for path in tmp_path.glob("*.png")} == {"one.png", "two.png"}


def test_without_dot_the_error_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FlowVisualizationError, match=r"`dot` of Graphviz was not found.*apt-get install graphviz"):
        visualize_call("my-flow", lambda: None, (), {}, is_async=False)


def test_without_the_package_the_error_says_what_to_install_and_nothing_runs(monkeypatch):
    monkeypatch.setitem(sys.modules, "graphviz", None)
    with pytest.raises(FlowVisualizationError, match=r"pip install 'flowyard\[viz\]'"):
        visualize_call("my-flow", lambda: pytest.fail("it ran"), (), {}, is_async=False)


def test_a_graph_is_a_source_for_notebooks():
    assert importlib.util.find_spec("graphviz") is not None
    graph = Graph("f", [Node("n0", "a")])
    assert graph.to_digraph().source == graph.to_dot()


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
def test_the_real_dot_understands_the_source(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = Graph("f", [Node("n0", 'a"'), Node("n1", "b", NodeKind.FLOW)], [Edge("n0", "n1")]).render(view=False)
    assert Path(path).read_bytes().startswith(b"\x89PNG")
