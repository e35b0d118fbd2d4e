"""Handing many tasks to a Dask scheduler in one message.

`Client.submit` costs a message, a pickle and a turn of the scheduler per task; `Client.map` takes one function over
lists. This is what both are made of: a graph with a key per task.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from dask._expr import LLGExpr
from dask._task_spec import Task, TaskRef
from dask.base import annotate
from distributed.spans import SpanMetadata


class Node(NamedTuple):
    """One task of a graph."""

    key: str
    function: Callable[..., Any]
    arguments: Sequence[Any]
    dependencies: Sequence[str]
    """Keys whose results follow the arguments; they may be known to the scheduler or be in the same graph."""


_priorities = itertools.count()


def send_graph(client: Any, nodes: Sequence[Node], annotations: Mapping[str, Any]) -> dict[str, Any]:
    """Submit tasks under `dask.annotate` options; earlier ones first. Returns their futures without waiting."""
    graph = {
        node.key: Task(node.key, node.function, *node.arguments, *(TaskRef(key) for key in node.dependencies))
        for node in nodes
    }
    # A token of our own: Dask would hash all arguments to find one.
    expression = LLGExpr(graph, _determ_token=uuid.uuid4().hex)
    with annotate(**annotations):
        return client._graph_to_futures(
            expression,
            [node.key for node in nodes],
            span_metadata=SpanMetadata(collections=[{"type": "Future"}]),
            internal_priority={node.key: next(_priorities) for node in nodes},
            fifo_timeout=0,
        )
