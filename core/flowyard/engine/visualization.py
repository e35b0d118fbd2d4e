"""Drawing a flow without running its tasks: `flow.visualize()`.

The flow function really runs; while it does, `context.current().tracker` is a `Tracker`, to which calls of tasks and
flows go instead of to the engine. Each becomes a node and returns a `Placeholder`, through which the tracker sees what
flows where.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import ModuleType
from typing import Any, NoReturn, cast

from flowyard.annotations import peel, unmapped
from flowyard.containers import ATOMS, scan
from flowyard.context import RunContext, entered
from flowyard.exceptions import FlowVisualizationError, FlowyardError, TaskVizReturnValueError
from flowyard.logging.loggers import disable_run_logger


class NodeKind(StrEnum):
    """What a node stands for."""

    TASK = "task"
    MAPPED = "mapped"
    """All calls of one `map`."""
    FLOW = "flow"
    """A subflow; what it calls is not followed."""


@dataclass(frozen=True, slots=True)
class Node:
    """One call."""

    id: str
    label: str
    kind: NodeKind = NodeKind.TASK


@dataclass(frozen=True, slots=True)
class Edge:
    """One call needs another: its value, or only that it is over (`wait_for`)."""

    source: str
    target: str
    is_order_only: bool = False


@dataclass(slots=True)
class Graph:
    """The calls of a flow, in order, and what they need of each other."""

    name: str
    nodes: list[Node] = field(default_factory=list[Node])
    edges: list[Edge] = field(default_factory=list[Edge])

    def to_dot(self) -> str:
        """Return the graph in the DOT language; needs nothing installed."""
        lines = [f"digraph {_quoted(self.name)} {{", "  rankdir=LR;", "  node [shape=box, style=rounded];"]
        shapes = {NodeKind.TASK: "", NodeKind.MAPPED: ", shape=box3d", NodeKind.FLOW: ", shape=folder"}
        lines += [f"  {node.id} [label={_quoted(node.label)}{shapes[node.kind]}];" for node in self.nodes]
        lines += [
            f"  {edge.source} -> {edge.target}{' [style=dashed]' if edge.is_order_only else ''};" for edge in self.edges
        ]
        return "\n".join([*lines, "}"]) + "\n"

    def to_mermaid(self) -> str:
        """Return the graph as a Mermaid flowchart, which most viewers of Markdown show; needs nothing installed."""
        shapes = {NodeKind.TASK: ("(", ")"), NodeKind.MAPPED: ("[[", "]]"), NodeKind.FLOW: ("{{", "}}")}
        lines = ["flowchart LR"]
        for node in self.nodes:
            left, right = shapes[node.kind]
            text = node.label.replace('"', "#quot;")
            lines.append(f'  {node.id}{left}"{text}"{right}')
        lines += [f"  {edge.source} {'-.->' if edge.is_order_only else '-->'} {edge.target}" for edge in self.edges]
        return "\n".join(lines) + "\n"

    def to_digraph(self) -> Any:
        """Return the graph as a `graphviz.Source`, which notebooks show and which renders to files.

        Raises:
            FlowVisualizationError: the `graphviz` package is not installed.
        """
        return _graphviz().Source(self.to_dot())

    def render(self, *, view: bool = True) -> str:
        """Draw the graph as ``<name>.png`` in the current folder, open it with `view`, and return its path.

        Raises:
            FlowVisualizationError: the `graphviz` package or its program `dot` is not installed.
        """
        graphviz = _graphviz()
        try:
            path: str = graphviz.Source(self.to_dot()).render(
                filename=self.name, format="png", cleanup=True, quiet=True
            )
        except graphviz.ExecutableNotFound as error:
            raise FlowVisualizationError(
                "the program `dot` of Graphviz was not found, and drawing needs it: install Graphviz with your "
                "system's package manager (`apt-get install graphviz`, `brew install graphviz`) and see that `dot` is "
                "on the PATH"
            ) from error
        if view:
            # A machine without a screen has nothing to open it with: the file is there all the same.
            with contextlib.suppress(OSError, RuntimeError):
                graphviz.backend.view(path, quiet=True)
        return path


def _graphviz() -> ModuleType:
    try:
        return importlib.import_module("graphviz")  # an optional dependency
    except ImportError as error:
        raise FlowVisualizationError(
            "drawing a flow needs the package `graphviz`: `pip install 'flowyard[viz]'` (and the Graphviz programs of "
            "your system, which have `dot`)"
        ) from error


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


class Placeholder:
    """Stands for a value that a tracked call would give.

    What is made from it (an attribute, an item, a sum, the result of a method) is a placeholder of the same call. Where
    code must have the value (``if``, ``for``, ``len``), it raises `TaskVizReturnValueError`.
    """

    __slots__ = ("_label", "_node_id")

    def __init__(self, node_id: str, label: str) -> None:
        self._node_id = node_id
        self._label = label

    def __getattr__(self, name: str) -> Placeholder:
        if name.startswith("__"):  # protocols that code asks for: numpy's, pickle's
            raise AttributeError(name)
        return self._derived()

    def __getitem__(self, key: Any) -> Placeholder:
        return self._derived()

    def __call__(self, *args: Any, **kwargs: Any) -> Placeholder:  # noqa: D102  a protocol, not an operation of its own
        return self._derived()

    def __await__(self) -> Generator[Any, None, Placeholder]:
        return self._derived()
        yield  # pyright: ignore[reportUnreachable]  makes this a generator, as the protocol wants

    def __eq__(self, other: object) -> Any:
        return self._derived()

    def __ne__(self, other: object) -> Any:
        return self._derived()

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return f"<{self._label}>"

    def _derived(self) -> Placeholder:
        return Placeholder(self._node_id, self._label)

    def _needed(self, *_: Any) -> NoReturn:
        raise TaskVizReturnValueError(
            f"the flow's own code looks at the value of {self._label!r}, which does not run in `visualize()`; say what "
            "it gives with `@task(viz_return_value=...)`"
        )

    __bool__ = __iter__ = __len__ = __contains__ = __int__ = __float__ = __index__ = __complex__ = _needed
    __enter__ = __exit__ = __aiter__ = __next__ = _needed


def _operation(self: Placeholder, *_: Any) -> Placeholder:
    return self._derived()  # pyright: ignore[reportPrivateUsage]


_OPERATORS = "add sub mul truediv floordiv mod pow matmul lshift rshift and or xor"
for _name in [
    *(f"__{prefix}{name}__" for name in _OPERATORS.split() for prefix in ("", "r")),
    *("__neg__", "__pos__", "__abs__", "__invert__", "__lt__", "__le__", "__gt__", "__ge__", "__round__"),
]:
    setattr(Placeholder, _name, _operation)


class FuturePlaceholder(Placeholder):
    """Stands for the future of a tracked `submit`."""

    __slots__ = ("_answer",)

    def __init__(self, node_id: str, label: str, answer: Callable[[], Any]) -> None:
        super().__init__(node_id, label)
        self._answer = answer

    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> Any:
        """Return the task's `viz_return_value`, or a placeholder (or an awaitable of it, as the real future would)."""
        return self._answer()


class Tracker:
    """Takes the calls of one flow function and draws them."""

    def __init__(self, name: str, *, is_async: bool) -> None:
        self.graph = Graph(name)
        self.is_async = is_async
        """The flow is async: its calls of async tasks and flows are awaited."""
        self._counts: dict[str, int] = {}
        # values of `viz_return_value`, known again by identity, and kept so that no id is used twice
        self._known: dict[int, tuple[str, Any]] = {}

    def call(
        self,
        name: str,
        parameters: Mapping[str, Any],
        *,
        is_async: bool,
        wait_for: Iterable[Any] | None = None,
        return_value: Any = None,
        is_flow: bool = False,
    ) -> Any:
        """Take a direct call of a task or a subflow; return `return_value`, or a placeholder where it is None."""
        node = self._add(name, NodeKind.FLOW if is_flow else NodeKind.TASK, parameters, wait_for)
        return self._answer(node, is_async, return_value)

    def submit(
        self,
        name: str,
        parameters: Mapping[str, Any],
        *,
        is_async: bool,
        wait_for: Iterable[Any] | None = None,
        return_value: Any = None,
    ) -> Any:
        """Take a `submit`; return a future that is a placeholder."""
        node = self._add(name, NodeKind.TASK, parameters, wait_for)
        return FuturePlaceholder(node.id, node.label, lambda: self._answer(node, is_async, return_value))

    def map(
        self,
        name: str,
        parameters: Mapping[str, Any],
        *,
        is_async: bool,
        wait_for: Iterable[Any] | None = None,
        return_value: Any = None,
    ) -> list[Any]:
        """Take a `map`: one node for all calls; return as many futures as there would be (1 if that is not known)."""
        length = next(_lengths(parameters.values()), None)
        times = "?" if length is None else str(length)
        node = self._add(name, NodeKind.MAPPED, parameters, wait_for, suffix=f" × {times}")

        def answer() -> Any:
            return self._answer(node, is_async, return_value)

        return [FuturePlaceholder(node.id, node.label, answer) for _ in range(1 if length is None else length)]

    def _add(
        self, name: str, kind: NodeKind, parameters: Mapping[str, Any], wait_for: Iterable[Any] | None, suffix: str = ""
    ) -> Node:
        count = self._counts.get(name, 0)
        self._counts[name] = count + 1
        node = Node(f"n{len(self.graph.nodes)}", f"{name}-{count}{suffix}", kind)
        self.graph.nodes.append(node)
        needed = dict.fromkeys(source for value in parameters.values() for source in self._sources(value))
        order = dict.fromkeys(self._sources(list(wait_for))) if wait_for is not None else {}
        self.graph.edges += [Edge(source, node.id) for source in needed]
        self.graph.edges += [Edge(source, node.id, is_order_only=True) for source in order if source not in needed]
        return node

    def _sources(self, value: Any) -> Iterator[str]:
        """Yield the nodes that a value comes from."""
        found = scan(value, Placeholder)
        if found is not None:
            for placeholder, _ in found.items:
                yield placeholder._node_id
        for item in _and_its_items(value):
            known = self._known.get(id(item))
            if known is not None:
                yield known[0]

    def _answer(self, node: Node, is_async: bool, return_value: Any) -> Any:
        answer: Any = return_value
        if return_value is None:
            answer = Placeholder(node.id, node.label)
        elif return_value.__class__ not in ATOMS:
            self._known[id(return_value)] = (node.id, return_value)
        if is_async and self.is_async:
            return _soon(answer)
        return answer


async def _soon(value: Any) -> Any:
    return value


def _and_its_items(value: Any) -> Iterable[Any]:
    value, _ = peel(value)
    if value.__class__ in (list, tuple, set, frozenset):
        return [value, *value]
    return [value]


def _lengths(values: Iterable[Any]) -> Iterator[int]:
    for value in values:
        inner, marks = peel(value)
        if unmapped not in marks and isinstance(inner, (Sequence, Mapping, set, frozenset)):
            items = cast("Sequence[Any]", inner)
            if not isinstance(items, (str, bytes)):
                yield len(items)


# --- drawing --------------------------------------------------------------------------------------------------------


def trace_call(name: str, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Graph:
    """Run a flow function with its tasks tracked, and return the graph.

    Code of the function that is in no task really runs; what it logs for the run is dropped.

    Raises:
        TaskVizReturnValueError: the function looks at a task's value, and the task has no `viz_return_value`.
        FlowVisualizationError: the function raised something else.
    """
    tracker = Tracker(name, is_async=False)
    with _drawing(tracker):
        made = fn(*args, **kwargs)
        if inspect.isgenerator(made):
            for _ in cast("Generator[Any]", made):
                pass
    return tracker.graph


async def trace_call_async(
    name: str, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Graph:
    """Run an async flow function with its tasks tracked; `trace_call` has the contract."""
    tracker = Tracker(name, is_async=True)
    with _drawing(tracker):
        made = fn(*args, **kwargs)
        if inspect.isasyncgen(made):
            async for _ in made:
                pass
        else:
            await made
    return tracker.graph


@contextlib.contextmanager
def _drawing(tracker: Tracker) -> Generator[None]:
    try:
        # There is no run whose log could be written: `get_run_logger()` gives a logger that is silent.
        with entered(RunContext(tracker=tracker)), disable_run_logger():
            yield
    except FlowyardError:
        raise
    except Exception as error:
        raise FlowVisualizationError(
            f"flow {tracker.graph.name!r} raised {type(error).__name__}: {error} while it was drawn. Its code "
            "runs in `visualize()`, but its tasks do not: if the code uses what a task returns, say what that is with "
            "`@task(viz_return_value=...)`"
        ) from error


def visualize_call(
    name: str,
    fn: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    *,
    is_async: bool,
    view: bool = True,
) -> Graph | Awaitable[Graph]:
    """Trace a flow function, draw the graph as a picture, and return it; `trace_call` and `Graph.render` say more.

    An async flow's graph is awaited where an event loop runs, and returned where none does.

    Raises:
        FlowVisualizationError: the `graphviz` package or its program `dot` is not installed (before anything runs), or
            the function raised.
    """
    _graphviz()
    if not is_async:
        graph = trace_call(name, fn, args, kwargs)
        graph.render(view=view)
        return graph
    drawing = _draw_async(trace_call_async(name, fn, args, kwargs), view)
    import asyncio  # noqa: PLC0415  50 ms, for async flows only

    return drawing if asyncio._get_running_loop() is not None else asyncio.run(drawing)  # pyright: ignore[reportPrivateUsage]


async def _draw_async(tracing: Awaitable[Graph], view: bool) -> Graph:
    graph = await tracing
    graph.render(view=view)
    return graph
