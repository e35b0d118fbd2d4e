"""Random graphs of tasks end the same on every runner."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowyard.task_runners import ConcurrentTaskRunner, SequentialTaskRunner
from flowyard.task_runners.process import ProcessPoolTaskRunner
from flowyard.testing.utilities import flowyard_test_harness
from flowyard.testing.workloads import Node, random_graph, run_graph


@pytest.fixture(scope="module", autouse=True)
def backend() -> Iterator[None]:
    with flowyard_test_harness():
        yield


@st.composite
def graphs(draw: st.DrawFn) -> list[Node]:
    """Graphs that Hypothesis can shrink: fewer nodes, fewer edges, simpler kinds."""
    nodes: list[Node] = []
    for number in range(draw(st.integers(1, 10))):
        earlier = st.lists(st.sampled_from(range(number)), unique=True, max_size=3) if number else st.just([])
        inputs = tuple(draw(earlier))
        tolerated = tuple(upstream for upstream in draw(earlier) if upstream not in inputs)
        nodes.append(
            Node(
                number=number,
                kind=draw(st.sampled_from(["add", "nothing", "flaky", "fail"])),
                is_async=draw(st.booleans()),
                inputs=inputs,
                tolerated=tolerated,
                waits_for=tuple(draw(earlier)),
                is_nested=draw(st.booleans()),
            )
        )
    return nodes


@settings(max_examples=25, deadline=None)
@given(graphs(), st.sampled_from([None, 1, 2]))
def test_a_graph_ends_alike_on_threads_and_one_after_another(nodes: list[Node], max_workers: int | None):
    expected = run_graph(nodes, SequentialTaskRunner())
    assert run_graph(nodes, ConcurrentTaskRunner(max_workers=max_workers)) == expected


@settings(max_examples=4, deadline=None)
@given(graphs())
def test_a_graph_ends_alike_in_processes_and_one_after_another(nodes: list[Node]):
    assert run_graph(nodes, ProcessPoolTaskRunner(max_workers=2)) == run_graph(nodes, SequentialTaskRunner())


def test_the_same_seed_gives_the_same_graph():
    assert random_graph(5) == random_graph(5) != random_graph(6)


def test_graphs_have_tasks_of_every_kind():
    kinds = {node.kind for seed in range(20) for node in random_graph(seed)}
    assert kinds == {"add", "fail", "flaky", "nothing"}
