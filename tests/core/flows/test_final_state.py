"""The final state of a flow by what its function returns: row F12 of the behaviour table."""

# Wrong options are given on purpose, contexts are known by the test.
# pyright: reportArgumentType=false, reportCallIssue=false
from __future__ import annotations

import asyncio
import contextlib
import threading

import pytest

from flowyard import Flow, flow, quote, task
from flowyard.exceptions import CancelledRun, FailedRun, MissingResult
from flowyard.states import Cancelled, Completed, Crashed, Failed, Paused, State


@task
def good(x=1):
    return x


@task
def bad():
    raise ValueError("no good")


@task
def give(state):
    return state.unquote() if isinstance(state, quote) else state


@flow
def good_child():
    return 3


@flow
def bad_child():
    raise ValueError("no child")


def swallow(call, *args):
    with contextlib.suppress(ValueError):
        call(*args)


def nothing():
    pass


def completed_task():
    good()


def completed_child():
    good_child()


def swallowed_failure():
    good()
    swallow(bad)


def submitted_failure():
    bad.submit()


def swallowed_child():
    good()
    swallow(bad_child)


def not_ready():
    good.submit(bad.submit())


def cancelled_beside_failed():
    bad.submit()
    give.submit(quote(Cancelled()))


def raised():
    good()
    raise KeyError("x")


def case(name, body, kind, message):
    return pytest.param(body, kind, message, id=name)


ALL = "All states completed."


@pytest.mark.parametrize(
    ("body", "kind", "message"),
    [
        case("None and no runs", nothing, "COMPLETED", None),
        case("None and a completed task", completed_task, "COMPLETED", ALL),
        case("None and a completed subflow", completed_child, "COMPLETED", ALL),
        case("None and a swallowed failure", swallowed_failure, "FAILED", "1/2 states failed."),
        case("None and a submitted failure", submitted_failure, "FAILED", "1/1 states failed."),
        case("None and a swallowed subflow", swallowed_child, "FAILED", "1/2 states failed."),
        case("None and a run that is not ready", not_ready, "FAILED", "1/2 states failed."),
        case("None, one cancelled, one failed", cancelled_beside_failed, "CANCELLED", "1/2 states cancelled."),
        case("an exception", raised, "FAILED", "Flow run encountered an exception. KeyError: 'x'"),
        case("a future", lambda: good.submit(), "COMPLETED", ALL),
        case("futures", lambda: [good.submit(), good.submit()], "COMPLETED", ALL),
        case("a tuple of futures", lambda: (good.submit(), bad.submit()), "FAILED", "1/2 states failed."),
        case("a set of futures", lambda: {good.submit(), bad.submit(), bad.submit()}, "FAILED", "2/3 states failed."),
        case("states", lambda: [good(return_state=True), bad(return_state=True)], "FAILED", "1/2 states failed."),
        case("the state of a completed task", lambda: good(return_state=True), "COMPLETED", ALL),
        case("the state of a failed task", lambda: bad(return_state=True), "FAILED", "1/1 states failed."),
        case("the state of a failed subflow", lambda: bad_child(return_state=True), "FAILED", "1/1 states failed."),
        case("a future not ready", lambda: good.submit(bad.submit()), "FAILED", "1/1 states are not final."),
        case("cancelled wins", lambda: [Completed(), Cancelled(), Failed()], "CANCELLED", "1/3 states cancelled."),
        case("crashed counts as failed", lambda: [Completed(), Crashed(), Failed()], "FAILED", "2/3 states failed."),
        case("a value beside a failure", lambda: (swallow(bad), 5)[1], "COMPLETED", None),
        case("a dict is not looked into", lambda: {"future": Failed()}, "COMPLETED", None),
        case("an empty list", list, "COMPLETED", None),
        case("a list with another value", lambda: [good.submit(), 5], "COMPLETED", None),
        case("completed by hand", lambda: Completed(message="by hand"), "COMPLETED", "by hand"),
        case("failed by hand", lambda: Failed(message="by hand"), "FAILED", "by hand"),
        case("cancelled by hand", lambda: Cancelled(message="by hand"), "CANCELLED", "by hand"),
        case("crashed by hand", lambda: Crashed(message="by hand"), "CRASHED", "by hand"),
        case("named by hand", lambda: State("COMPLETED", name="Done", message="by hand"), "COMPLETED", "by hand"),
        case("a quoted state", lambda: quote(Failed()), "COMPLETED", None),
        case("a generator", lambda: (i for i in range(3)), "COMPLETED", None),
    ],
)
def test_the_final_state_follows_from_what_the_function_returns(records, body, kind, message):
    state = Flow(lambda: body(), name="x")(return_state=True)
    assert (state.type.value, state.message) == (kind, message)
    recorded = records.flow_run(state).state
    assert (recorded.type.value, recorded.message, recorded.name) == (kind, message, state.name)


def test_states_of_which_one_is_paused_pause_the_flow(records):
    state = Flow(lambda: [Completed(), Paused(), Failed()], name="x")(return_state=True)
    assert (state.type.value, state.message) == ("PAUSED", "1/3 states paused.")


def test_an_async_flow_follows_the_same_rule(records):
    @task
    async def fail():
        raise ValueError

    @flow
    async def run():
        await asyncio.gather(fail(return_state=True), fail(return_state=True))

    assert asyncio.run(run(return_state=True)).message == "2/2 states failed."


@pytest.mark.parametrize(
    ("body", "value"),
    [
        pytest.param(nothing, None, id="None"),
        pytest.param(lambda: 5, 5, id="value"),
        pytest.param(lambda: (i for i in range(3)), [0, 1, 2], id="generator"),
        pytest.param(lambda: Completed(data=7), 7, id="state with data"),
        pytest.param(lambda: Completed(message="no data"), None, id="state without data"),
    ],
)
def test_the_value_of_a_completed_flow(records, body, value):
    assert Flow(lambda: body(), name="x")() == value


@pytest.mark.parametrize(
    ("body", "error", "text"),
    [
        pytest.param(raised, KeyError, "x", id="raised"),
        pytest.param(submitted_failure, ValueError, "no good", id="submitted"),
        pytest.param(lambda: [good.submit(), bad.submit()], ValueError, "no good", id="futures"),
        pytest.param(lambda: Failed(message="by hand"), FailedRun, "by hand", id="by hand"),
        pytest.param(lambda: Failed(data=ValueError("mine")), ValueError, "mine", id="by hand with an exception"),
        pytest.param(lambda: Cancelled(message="by hand"), CancelledRun, "by hand", id="cancelled"),
    ],
)
def test_a_flow_that_did_not_complete_raises(records, body, error, text):
    with pytest.raises(error, match=text):
        Flow(lambda: body(), name="x")()


def test_the_states_of_returned_futures_are_the_value_in_the_same_kind_of_container(records):
    value = Flow(lambda: (good.submit(1), good.submit(2)), name="x")()
    assert isinstance(value, tuple)
    assert [inner.result() for inner in value] == [1, 2]
    single = Flow(lambda: good.submit(3), name="x")()
    assert isinstance(single, State)
    assert single.result() == 3


def test_a_quoted_state_is_data(records):
    value = Flow(lambda: quote(Failed(message="just data")), name="x")()
    assert isinstance(value, State)
    assert value.message == "just data"


def test_the_flow_waits_for_every_submitted_task_even_after_an_exception(records):
    gate = threading.Event()
    finished = []

    @task
    def wait():
        gate.wait(90)
        finished.append(1)

    @task
    def open_gate():
        gate.set()

    @flow
    def run():
        wait.submit()
        open_gate.submit()
        raise ValueError

    with pytest.raises(ValueError):
        run()
    assert finished == [1]


class TestStatesThatTasksReturn:
    @pytest.mark.parametrize(
        ("make", "names"),
        [
            (lambda: Completed(data=5), ["Pending", "Running", "Completed"]),
            (lambda: Failed(message="x"), ["Pending", "Running", "Failed"]),
            (lambda: Cancelled(), ["Pending", "Running", "Cancelled"]),
            (lambda: State("COMPLETED", name="Skipped"), ["Pending", "Running", "Skipped"]),
        ],
        ids=["completed", "failed", "cancelled", "named"],
    )
    def test_a_state_made_by_hand_is_the_state_of_the_task_run(self, records, make, names):
        @task
        def give_state():
            return make()

        @flow
        def run():
            give_state(return_state=True)
            return 1

        assert records.task_states(run(return_state=True), "give_state-0") == names

    def test_its_data_is_the_value(self, records):
        assert Flow(lambda: give(quote(Completed(data=5))), name="x")() == 5

    def test_one_state_object_can_be_returned_by_many_runs(self, records):
        shared = State("COMPLETED", name="Skipped", data=1)
        state = Flow(lambda: [[give(quote(shared))] for _ in range(3)], name="x")(return_state=True)
        assert state.result() == [[1], [1], [1]]
        assert len({run.state.id for run in records.task_runs(state).values()}) == 3

    def test_a_failure_by_hand_is_retried(self, records):
        @task(retries=1)
        def give_up():
            return Failed(message="not yet")

        state = Flow(lambda: give_up(return_state=True), name="x")(return_state=True)
        assert records.task_states(state, "give_up-0") == ["Pending", "Running", "AwaitingRetry", "Retrying", "Failed"]

    def test_a_state_that_is_not_final_fails_the_run_with_an_error_that_says_so(self, records):
        with pytest.raises(ValueError, match="not final"):
            Flow(lambda: give(quote(State("RUNNING"))), name="x")()

    def test_futures_that_a_task_returns_are_waited_for_and_add_up(self, records):
        @task
        def fan_out():
            return [good.submit(1), good.submit(2)]

        @task
        def fan_out_badly():
            return [good.submit(1), bad.submit()]

        @flow
        def run():
            completed = fan_out(return_state=True)
            failed = fan_out_badly(return_state=True)
            return {"c": completed.message, "v": [s.result() for s in completed.result()], "f": failed.message}

        assert run() == {"c": ALL, "v": [1, 2], "f": "1/2 states failed."}


def test_a_completed_state_without_kept_value_says_how_to_keep_it(records):
    @flow(cache_result_in_memory=False, persist_result=False)
    def forget():
        return [1]

    with pytest.raises(MissingResult, match="persist_result"):
        forget()
