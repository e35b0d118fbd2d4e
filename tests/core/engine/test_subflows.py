# Wrong options are given on purpose, contexts are known by the test.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
from __future__ import annotations

import asyncio

import pytest

from flowyard import allow_failure, flow, tags, task
from flowyard.context import get_run_context
from flowyard.exceptions import UnfinishedRun
from flowyard.filesystems import LocalFileSystem
from flowyard.task_runners import ConcurrentTaskRunner, SequentialTaskRunner


@task
def one():
    return 1


@task
def bad():
    raise ValueError("no good")


@flow
def child(x=1):
    return x


@flow
def bad_child():
    raise ValueError("no child")


def test_a_subflow_is_a_flow_run_and_a_task_run_that_mirrors_it(records):
    @flow
    def parent():
        return child(5)

    state = parent(return_state=True)
    assert state.result() == 5
    mirror = records.task_runs(state)["child-0"]
    inner = records.newest_flow_run("child")
    assert inner.parent_task_run_id == mirror.id
    assert inner.parameters == {"x": 5}
    assert mirror.task_name == "child"
    states = records.states_of(mirror)
    assert [entered.name for entered in states] == ["Pending", "Running", "Completed"]
    assert mirror.state.state_details.child_flow_run_id == inner.id
    assert records.flow_states(inner) == ["Pending", "Running", "Completed"]


def test_a_failed_subflow_raises_in_its_parent_unless_its_state_is_wanted(records):
    @flow
    def parent():
        with pytest.raises(ValueError, match="no child"):
            bad_child()
        return {"type": bad_child(return_state=True).type.value}

    state = parent(return_state=True)
    assert state.result() == {"type": "FAILED"}
    assert records.task_states(state, "bad-child-0") == ["Pending", "Running", "Failed"]


def test_futures_among_the_parameters_are_resolved_and_linked(records):
    @flow
    def parent():
        return child([one.submit(), {"k": one(return_state=True)}])

    state = parent(return_state=True)
    assert state.result() == [1, {"k": 1}]
    runs = records.task_runs(state)
    upstreams = {item["id"] for item in runs["child-0"].task_inputs["x"]}
    assert upstreams == {str(runs["one-0"].id), str(runs["one-1"].id)}


def test_a_subflow_waits_and_does_not_start_after_a_failure(records):
    @flow
    def parent():
        ready = child(wait_for=[one.submit()])
        with pytest.raises(UnfinishedRun):
            child(wait_for=[bad.submit()])
        state = child(bad.submit(), return_state=True)
        allowed = child(wait_for=[allow_failure(bad.submit())])
        return {"ready": ready, "name": state.name, "allowed": allowed}

    state = parent(return_state=True)
    assert state.result() == {"ready": 1, "name": "NotReady", "allowed": 1}
    assert records.task_states(state, "child-1") == ["Pending", "NotReady"]


class TestInheritance:
    def test_tags_are_inherited(self, records):
        @flow(name="tagged-child")
        def tagged_child():
            return 1

        @flow
        def parent():
            with tags("inner"):
                tagged_child()
            return 1

        with tags("outer"):
            state = parent(return_state=True)
        assert set(records.newest_flow_run("tagged-child").tags) == {"outer", "inner"}
        assert set(records.task_runs(state)["tagged-child-0"].tags) == {"outer", "inner"}
        assert records.flow_run(state).tags == ["outer"]

    @pytest.mark.parametrize(("own", "expected"), [(None, True), (False, False), (True, True)])
    def test_log_prints_is_inherited_unless_set(self, records, own, expected):
        @flow(log_prints=own, name=f"printing-{own}")
        def printing():
            print("a printed line")
            return 1

        @flow(log_prints=True)
        def parent():
            printing()
            return 1

        parent()
        assert ("a printed line" in records.logs(records.newest_flow_run(printing.name))) is expected

    def test_result_storage_is_inherited(self, records, tmp_path):
        @task(persist_result=True)
        def keep():
            return [1]

        @flow
        def storing():
            keep()
            return 1

        @flow(result_storage=LocalFileSystem(basepath=str(tmp_path)))
        def parent():
            storing()
            return 1

        parent()
        assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 1

    def test_the_task_runner_and_retries_are_not_inherited(self, records):
        seen = []

        @flow
        def plain():
            context = get_run_context()
            seen.append((context.task_runner, context.flow_run.policy.retries))
            return 1

        @flow(task_runner=SequentialTaskRunner(), retries=3)
        def parent():
            plain()
            return 1

        parent()
        assert seen == [(ConcurrentTaskRunner(), 0)]


class TestRetriesOfTheParent:
    def test_a_completed_subflow_is_used_again_and_a_failed_one_runs_anew(self, records):
        calls = []

        @flow(name="steady")
        def steady():
            calls.append("steady")
            return [1]

        @flow(name="shaky")
        def shaky():
            calls.append("shaky")
            if calls.count("shaky") == 1:
                raise ValueError

        @flow(retries=1)
        def parent():
            value = steady()
            shaky()
            return value

        state = parent(return_state=True)
        assert state.result() == [1]
        assert calls == ["steady", "shaky", "shaky"]
        assert len(records.flow_runs("steady")) == 1
        assert len(records.flow_runs("shaky")) == 2
        assert set(records.task_runs(state)) == {"steady-0", "shaky-0"}
        newest = records.newest_flow_run("shaky")
        assert records.task_runs(state)["shaky-0"].state.state_details.child_flow_run_id == newest.id

    def test_a_subflow_that_returns_nothing_is_used_again_too(self, records):
        calls = []

        @flow
        def silent():
            calls.append(1)
            one()

        @flow(retries=1)
        def parent():
            silent()
            if get_run_context().flow_run.run_count == 1:
                raise ValueError
            return 1

        parent()
        assert len(calls) == 1

    def test_a_subflow_with_other_parameters_runs_again(self, records):
        seen = []

        @flow
        def echo(x):
            seen.append(x)
            return x

        @flow(retries=1)
        def parent():
            attempt = get_run_context().flow_run.run_count
            value = echo(attempt)
            if attempt == 1:
                raise ValueError
            return value

        assert parent() == 2
        assert seen == [1, 2]


def test_a_subflow_called_in_a_task_belongs_to_the_task(records):
    @task
    def outer():
        return child(3)

    @flow
    def parent():
        return {"called": outer(), "submitted": outer.submit().result()}

    state = parent(return_state=True)
    assert state.result() == {"called": 3, "submitted": 3}
    runs = records.task_runs(state)
    parents = {run.parent_task_run_id for run in records.all_task_runs(state) if run.task_name == "child"}
    assert parents == {runs["outer-0"].id, runs["outer-1"].id}


def test_subflows_nest(records):
    @flow
    def middle():
        return child(2)

    @flow
    def parent():
        return middle()

    state = parent(return_state=True)
    assert state.result() == 2
    assert (
        records.newest_flow_run("child").parent_task_run_id
        == records.task_runs(records.newest_flow_run("middle"))["child-0"].id
    )


def test_async_subflows_can_be_gathered(records):
    started = []
    both = None

    @flow
    async def async_child(x):
        started.append(x)
        if len(started) == 2:
            both.set()
        await asyncio.wait_for(both.wait(), 10)
        return x

    @flow
    async def parent():
        nonlocal both
        both = asyncio.Event()
        return await asyncio.gather(async_child(1), async_child(2))

    assert asyncio.run(parent()) == [1, 2]
