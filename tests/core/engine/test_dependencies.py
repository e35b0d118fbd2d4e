"""What tasks get for the futures and states among their arguments, and what is recorded of it."""

# Wrong options are given on purpose, contexts are known by the test.
# pyright: reportGeneralTypeIssues=false, reportUntypedNamedTuple=false
from __future__ import annotations

import dataclasses
import threading
from collections import OrderedDict, namedtuple

import pydantic
import pytest

from flowyard import Flow, allow_failure, flow, quote, task, unmapped
from flowyard.exceptions import (
    MappingLengthMismatch,
    MappingMissingIterable,
    MissingContextError,
    ParameterBindError,
    UnfinishedRun,
)
from flowyard.futures import FlowyardFuture
from flowyard.settings import FLOWYARD_TASK_INTROSPECTION_WARN_THRESHOLD, temporary_settings
from flowyard.states import Crashed
from flowyard.task_runners import ConcurrentTaskRunner, SequentialTaskRunner


@dataclasses.dataclass
class Box:
    inside: object


class Model(pydantic.BaseModel):
    model_config = {"arbitrary_types_allowed": True}
    inside: object


Pair = namedtuple("Pair", "left right")


@task
def one():
    return 1


@task
def bad():
    raise ValueError("no good")


@task
def crashed():
    return Crashed(message="crashed")


@task
def give(value, other=None):
    return value


@task
def new_object():
    return Box(object())


def run(body, runner=None):
    """Run a function as a flow and return the state."""
    return Flow(lambda: body(), name="x", task_runner=runner or ConcurrentTaskRunner())(return_state=True)


def inputs(records, state, name):
    runs = records.task_runs(state)
    names = {str(task_run.id): task_run.name for task_run in runs.values()}
    return {key: [names[item["id"]] for item in items] for key, items in runs[name].task_inputs.items() if items}


WRAPPERS = {
    "itself": lambda x: x,
    "list": lambda x: [x, 2],
    "tuple": lambda x: (2, x),
    "named tuple": lambda x: Pair(x, 2),
    "dict": lambda x: {"k": x},
    "ordered dict": lambda x: OrderedDict(k=x),
    "dataclass": Box,
    "model": lambda x: Model(inside=x),
    "deep": lambda x: [{"k": (Box([x]), 3)}],
}


@pytest.mark.parametrize("runner", [ConcurrentTaskRunner(), SequentialTaskRunner()], ids=repr)
@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=list(WRAPPERS))
@pytest.mark.parametrize("how", ["future", "state"])
def test_a_run_inside_an_argument_is_replaced_by_its_value_and_recorded(records, runner, wrap, how):
    def body():
        upstream = one.submit() if how == "future" else one(return_state=True)
        return [give.submit(wrap(upstream)).result(), give(wrap(upstream))]

    state = run(body, runner)
    assert state.result() == [wrap(1), wrap(1)]
    assert inputs(records, state, "give-0") == {"value": ["one-0"]}
    assert inputs(records, state, "give-1") == {"value": ["one-0"]}


def test_a_future_in_a_set_and_as_a_key_of_a_dict_is_replaced(records):
    assert run(lambda: {"v": give({one.submit(), 5})}).result() == {"v": {1, 5}}
    assert run(lambda: {"v": give({one.submit(): "x"})}).result() == {"v": {1: "x"}}


def test_a_future_inside_quote_is_left_alone(records):
    @task
    def is_same(futures, future):
        return futures[0] is future

    def body():
        future = one.submit()
        return {"same": is_same(quote([future]), quote(future))}

    state = run(body)
    assert state.result() == {"same": True}
    assert inputs(records, state, "is_same-0") == {}


def test_several_upstreams_are_recorded_under_their_parameters(records):
    state = run(lambda: {"v": give(one.submit(), other=[one.submit(), one.submit()])})
    assert inputs(records, state, "give-0") == {"value": ["one-0"], "other": ["one-1", "one-2"]}


class TestReturnedObjects:
    """Values that user code took out of a run are linked to it by identity."""

    def test_an_object_links_to_the_task_that_made_it(self, records):
        def body():
            made = new_object()
            give(made)

        assert inputs(records, run(body), "give-0") == {"value": ["new_object-0"]}

    def test_an_object_from_a_future_links_to_its_task(self, records):
        def body():
            made = new_object.submit().result()
            give.submit(made)

        assert inputs(records, run(body), "give-0") == {"value": ["new_object-0"]}

    def test_objects_in_a_list_link_one_level_deep(self, records):
        def body():
            give([new_object(), new_object(), 3])

        assert inputs(records, run(body), "give-0") == {"value": ["new_object-0", "new_object-1"]}

    def test_the_value_of_a_subflow_links_to_it(self, records):
        @flow
        def child():
            return Box(1)

        assert inputs(records, run(lambda: {"v": give(child())}), "give-0") == {"value": ["child-0"]}

    @pytest.mark.parametrize("value", [None, True, ..., 5, -5, 256], ids=repr)
    def test_values_that_python_shares_belong_to_no_run(self, records, value):
        def body():
            give(give(value))

        assert inputs(records, run(body), "give-1") == {}


class TestWaitFor:
    def test_the_call_starts_after_the_upstream_and_records_it(self, records):
        order = []

        @task
        def first():
            order.append("first")

        @task
        def second():
            order.append("second")

        def body():
            second.submit(wait_for=[first.submit()])

        assert inputs(records, run(body), "second-0") == {"wait_for": ["first-0"]}
        assert order == ["first", "second"]

    @pytest.mark.parametrize("wrap", [lambda f: f, lambda f: (f,), lambda f: {f}, lambda f: iter([f])])
    def test_one_future_or_any_iterable_will_do(self, records, wrap):
        state = run(lambda: {"v": give(2, wait_for=wrap(one.submit()))})
        assert state.result() == {"v": 2}
        assert inputs(records, state, "give-0") == {"wait_for": ["one-0"]}

    def test_a_direct_call_waits_too(self, records):
        assert run(lambda: {"v": give(2, wait_for=[one.submit()])}).result() == {"v": 2}

    def test_a_failed_upstream_keeps_the_call_from_running_unless_failure_is_allowed(self, records):
        def body():
            upstream = bad.submit()
            stopped = give.submit(1, wait_for=[upstream]).wait().name
            allowed = give.submit(1, wait_for=[allow_failure(upstream)]).result()
            return {"stopped": stopped, "allowed": allowed}

        assert run(body).result() == {"stopped": "NotReady", "allowed": 1}

    def test_every_child_of_a_map_waits(self, records):
        def body():
            give.map([1, 2], wait_for=[one.submit()])

        state = run(body)
        assert inputs(records, state, "give-0") == inputs(records, state, "give-1") == {"wait_for": ["one-0"]}

    def test_a_root_flow_has_nothing_to_wait_for(self, records):
        with pytest.raises(ValueError, match="wait_for"):
            Flow(lambda: None, name="x")(wait_for=[])


class TestNotReady:
    @pytest.mark.parametrize("upstream", [bad, crashed], ids=["failed", "crashed"])
    def test_a_run_whose_upstream_did_not_complete_never_runs(self, records, upstream):
        def body():
            future = give.submit(upstream.submit())
            with pytest.raises(UnfinishedRun):
                future.result()
            state = give(upstream.submit(), return_state=True)
            return {"message": state.message}

        state = run(body)
        assert records.task_states(state, "give-0") == ["Pending", "NotReady"]
        message = f"Upstream task run '{upstream.name}-1' did not reach a 'COMPLETED' state."
        assert state.result() == {"message": message}

    def test_it_passes_down_a_chain(self, records):
        def body():
            future = bad.submit()
            for _ in range(3):
                future = give.submit(future)
            return {"name": future.wait().name}

        state = run(body)
        assert state.result() == {"name": "NotReady"}
        assert records.task_states(state, "give-2") == ["Pending", "NotReady"]


class TestAllowFailure:
    @pytest.mark.parametrize(
        "wrap",
        [allow_failure, lambda f: [allow_failure(f)], lambda f: allow_failure([f]), lambda f: allow_failure({"k": f})],
        ids=["itself", "in a list", "around a list", "around a dict"],
    )
    def test_a_failed_upstream_hands_over_its_exception(self, records, wrap):
        def body():
            got = give(wrap(bad.submit()))
            while isinstance(got, (list, dict)):
                got = got[0] if isinstance(got, list) else got["k"]
            return {"type": type(got).__name__, "text": str(got)}

        assert run(body).result() == {"type": "ValueError", "text": "no good"}

    def test_a_completed_upstream_hands_over_its_value(self, records):
        assert run(lambda: {"v": give(allow_failure(one.submit()))}).result() == {"v": 1}

    def test_a_crashed_upstream_is_not_let_through(self, records):
        assert run(lambda: {"n": give.submit(allow_failure(crashed.submit())).wait().name}).result() == {
            "n": "NotReady"
        }

    def test_a_failed_state_is_let_through(self, records):
        assert run(lambda: {"v": str(give(allow_failure(bad(return_state=True))))}).result() == {"v": "no good"}

    @pytest.mark.parametrize(
        "nest", [lambda f: unmapped(allow_failure(f)), lambda f: allow_failure(unmapped(f))], ids=["in", "out"]
    )
    def test_it_survives_unmapped_in_both_orders(self, records, nest):
        def body():
            futures = give.map([1, 2], other=nest(bad.submit()))
            return {"v": [future.result() for future in futures]}

        assert run(body).result() == {"v": [1, 2]}

    def test_it_is_applied_to_every_child_of_a_map(self, records):
        def body():
            futures = give.map(allow_failure([bad.submit(), one.submit()]))
            return {"v": [str(future.result()) for future in futures]}

        assert run(body).result() == {"v": ["no good", "1"]}


class TestMap:
    @pytest.mark.parametrize(
        ("values", "got"),
        [
            ([1, 2], [1, 2]),
            ((1, 2), [1, 2]),
            (range(3), [0, 1, 2]),
            ({"a": 1, "b": 2}, ["a", "b"]),
            ([], []),
        ],
        ids=["list", "tuple", "range", "keys of a dict", "empty"],
    )
    def test_one_run_for_each_item_in_order(self, records, values, got):
        state = run(lambda: {"v": [future.result() for future in give.map(values)]})
        assert state.result() == {"v": got}
        assert set(records.task_runs(state)) == {f"give-{index}" for index in range(len(got))}

    def test_an_iterator_is_pulled_while_its_items_run(self, records):
        assert run(lambda: {"v": give.map(i for i in (4, 5)).result()}).result() == {"v": [4, 5]}

    @pytest.mark.parametrize("static", ["text", b"bytes", 3, None], ids=repr)
    def test_what_is_not_iterable_is_passed_to_every_call(self, records, static):
        @task
        def both(a, b):
            return a, b

        assert run(lambda: {"v": both.map([1, 2], static).result()}).result() == {"v": [(1, static), (2, static)]}

    def test_unmapped_and_defaults_are_not_mapped_over(self, records):
        @task
        def three(a, b, c=(7, 8)):
            return a, b, c

        got = run(lambda: {"v": three.map([1, 2], unmapped([3, 4])).result()}).result()
        assert got == {"v": [(1, [3, 4], (7, 8)), (2, [3, 4], (7, 8))]}

    def test_keyword_arguments_are_mapped_over(self, records):
        @task
        def keywords(**kwargs):
            return kwargs

        got = run(lambda: {"v": keywords.map(a=[1, 2], b=3).result()}).result()
        assert got == {"v": [{"a": 1, "b": 3}, {"a": 2, "b": 3}]}

    def test_keyword_arguments_that_are_not_given_are_none(self, records):
        @task
        def keywords(value, **kwargs):
            return value, kwargs

        assert run(lambda: {"v": keywords.map([1, 2]).result()}).result() == {"v": [(1, {}), (2, {})]}

    def test_unequal_lengths_are_refused_with_each_length(self, records):
        with pytest.raises(MappingLengthMismatch, match=r"value: 2, other: 3"):
            run(lambda: give.map([1, 2], [1, 2, 3])).result()

    def test_nothing_to_map_over_is_refused(self, records):
        with pytest.raises(MappingMissingIterable, match="give"):
            run(lambda: give.map(1)).result()

    @pytest.mark.parametrize("how", ["future", "state"])
    def test_the_value_of_a_run_is_mapped_over_and_linked(self, records, how):
        @task
        def some():
            return [5, 6]

        def body():
            upstream = some.submit() if how == "future" else some(return_state=True)
            return {"v": give.map(upstream).result()}

        state = run(body)
        assert state.result() == {"v": [5, 6]}
        assert inputs(records, state, "give-1") == {"value": ["some-0"]}

    def test_maps_chain_item_by_item(self, records):
        @task
        def double(x):
            return 2 * x

        state = run(lambda: {"v": give.map(double.map([1, 2])).result()})
        assert state.result() == {"v": [2, 4]}
        assert inputs(records, state, "give-1") == {"value": ["double-1"]}

    def test_futures_nested_in_items_are_resolved_in_each_child(self, records):
        state = run(lambda: {"v": give.map([[one.submit()], [2]]).result()})
        assert state.result() == {"v": [[1], [2]]}
        assert inputs(records, state, "give-0") == {"value": ["one-0"]}
        assert inputs(records, state, "give-1") == {}

    def test_one_failed_item_stops_only_its_own_followers(self, records):
        @task
        def odd(x):
            if x % 2 == 0:
                raise ValueError(x)
            return x

        state = run(lambda: give.map(odd.map([1, 2, 3]), return_state=True))
        assert [inner.name for inner in state.data] == ["Completed", "NotReady", "Completed"]

    def test_return_state_gives_states(self, records):
        states = run(lambda: quote(give.map([1, 2], return_state=True))).result()
        assert [state.result() for state in states] == [1, 2]

    def test_a_sequential_runner_runs_the_items_in_order(self, records):
        seen = []

        @task
        def note(x):
            seen.append(x)

        run(lambda: note.map(range(5)), SequentialTaskRunner())
        assert seen == list(range(5))

    def test_arguments_that_do_not_fit_are_refused(self, records):
        with pytest.raises(ParameterBindError):
            run(lambda: give.map([1], [2], [3])).result()


@pytest.mark.parametrize("call", [lambda: one.submit(), lambda: give.map([1])], ids=["submit", "map"])
def test_nothing_can_be_submitted_outside_of_a_flow(records, call):
    with pytest.raises(MissingContextError, match="call the task directly"):
        call()


class TestFutures:
    def test_wait_and_result_return_at_their_time_out(self, records):
        gate = threading.Event()

        @task
        def wait():
            gate.wait(90)
            return 5

        @flow
        def body():
            future = wait.submit()
            assert future.wait(timeout=0.01) is None
            with pytest.raises(TimeoutError, match="wait-0"):
                future.result(timeout=0.01)
            assert not future.get_state().is_final()
            gate.set()
            assert future.wait().is_completed()
            assert future.get_state().is_completed()
            return future.result()

        assert body() == 5

    def test_a_failed_future_raises_or_returns_its_exception(self, records):
        @flow
        def body():
            future = bad.submit()
            with pytest.raises(ValueError, match="no good"):
                future.result()
            assert isinstance(future.result(raise_on_failure=False), ValueError)
            return 1

        assert body() == 1

    def test_a_future_knows_its_run(self, records):
        @flow
        def body():
            future = one.submit()
            assert isinstance(future, FlowyardFuture)
            assert future.task_run.id == future.key
            return future.name

        assert body() == "one-0"

    def test_the_truth_of_a_future_is_a_mistake(self, records):
        @flow
        def body():
            with pytest.warns(UserWarning, match="result"):
                assert one.submit()
            return 1

        assert body() == 1

    def test_submit_can_return_the_state(self, records):
        @flow
        def body():
            return one.submit(return_state=True).result()

        assert body() == 1


def test_slow_introspection_suggests_quote(records):
    @flow
    def body():
        give(list(map(str, range(10))))
        return 1

    with temporary_settings({FLOWYARD_TASK_INTROSPECTION_WARN_THRESHOLD: 0.0}):
        state = body(return_state=True)
    assert any("quote(" in line and "'give'" in line for line in records.logs(state))


def test_what_cannot_be_hashed_in_the_place_of_a_future_crashes_the_run_with_the_reason(records):
    @task
    def unhashable():
        return []

    @flow
    def body():
        state = give.submit({unhashable.submit()}).wait()
        return {"crashed": state.is_crashed(), "message": state.message}

    got = body()
    assert got["crashed"]
    assert "cannot be hashed" in got["message"]
