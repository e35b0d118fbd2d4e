"""What code in a run can know and say: context, tags, runtime, names, loggers, prints, context variables."""

# Wrong options are given on purpose, contexts are known by the test.
# pyright: reportAttributeAccessIssue=false, reportOperatorIssue=false, reportOptionalMemberAccess=false
from __future__ import annotations

import asyncio
import contextvars
from dataclasses import dataclass

import pytest

from flowyard import Flow, flow, get_run_logger, runtime, tags, task
from flowyard.context import FlowRunContext, TagsContext, TaskRunContext, get_run_context
from flowyard.exceptions import MissingContextError
from flowyard.settings import FLOWYARD_LOGGING_LOG_PRINTS, temporary_settings
from flowyard.task_runners import ConcurrentTaskRunner, SequentialTaskRunner

CORRELATION = contextvars.ContextVar("correlation", default="none")


@dataclass
class Source:
    name: str


@dataclass
class Context:
    source: Source


class TestRunContext:
    def test_there_is_none_outside(self):
        assert FlowRunContext.get() is None
        assert TaskRunContext.get() is None
        with pytest.raises(MissingContextError):
            get_run_context()

    @pytest.mark.parametrize("how", ["call", "submit"])
    def test_a_task_sees_itself_and_its_flow(self, records, how):
        seen = {}

        @task
        def look(x):
            context = get_run_context()
            assert context is TaskRunContext.get()
            seen["task"] = (context.task is look, context.task_run.name, dict(context.parameters))
            seen["flow"] = (FlowRunContext.get().flow is run, FlowRunContext.get().flow_run.name)

        @flow(flow_run_name="my-run")
        def run(y):
            context = get_run_context()
            assert context is FlowRunContext.get()
            assert TaskRunContext.get() is None
            assert context.parameters == {"y": 2}
            look(5) if how == "call" else look.submit(5).wait()

        run(2)
        assert seen == {"task": (True, "look-0", {"x": 5}), "flow": (True, "my-run")}

    def test_the_index_of_a_map_can_be_read_from_the_name(self, records):
        @task
        def index(x):
            return int(get_run_context().task_run.name.split("-")[-1])

        assert Flow(lambda: index.map(["a", "b", "c"]).result(), name="x")() == [0, 1, 2]


class TestTags:
    def test_blocks_nest_and_add_up_with_the_tasks_own(self, records):
        @task(tags=["own"])
        def tagged():
            return sorted(TagsContext.get().current_tags)

        @flow
        def run():
            with tags("a"):
                with tags("b", "a") as active:
                    assert active == {"a", "b"}
                    inner = tagged()
                tagged.submit().wait()
            tagged()
            return inner

        state = run(return_state=True)
        assert state.result() == ["a", "b"]
        found = {name: set(run.tags) for name, run in records.task_runs(state).items()}
        assert found == {"tagged-0": {"own", "a", "b"}, "tagged-1": {"own", "a"}, "tagged-2": {"own"}}

    def test_tags_around_a_flow_are_on_it_and_on_its_tasks(self, records):
        @task
        def work():
            pass

        @flow
        def run():
            work()

        with tags("outer"):
            state = run(return_state=True)
        assert records.flow_run(state).tags == ["outer"]
        assert set(records.task_runs(state)["work-0"].tags) == {"outer"}


class TestNames:
    @pytest.mark.parametrize(
        ("template", "name"),
        [
            ("{ctx.source.name}-{n:03d}", "web-007"),
            ("plain", "plain"),
            (lambda: "made-" + runtime.task_run.name, "made-work-0"),
        ],
        ids=["attributes", "plain", "function"],
    )
    def test_the_name_of_a_task_run_comes_from_its_template(self, records, template, name):
        @task(task_run_name=template)
        def work(ctx, n):
            return get_run_context().task_run.name

        state = Flow(lambda: work(Context(Source("web")), 7), name="x")(return_state=True)
        assert state.result() == name
        assert set(records.task_runs(state)) == {name}

    def test_a_template_sees_resolved_parameters(self, records):
        @task
        def one():
            return "first"

        @task(task_run_name="after-{x}")
        def work(x):
            pass

        state = Flow(lambda: work(one.submit()), name="x")(return_state=True)
        assert "after-first" in records.task_runs(state)

    @pytest.mark.parametrize(
        ("template", "name"),
        [("{ctx.source.name}", "web"), (lambda: "made-" + runtime.flow_run.flow_name, "made-named")],
        ids=["attributes", "function"],
    )
    def test_the_name_of_a_flow_run_comes_from_its_template(self, records, template, name):
        @flow(flow_run_name=template, name="named", validate_parameters=False)
        def run(ctx):
            return runtime.flow_run.name

        state = run(Context(Source("web")), return_state=True)
        assert state.result() == name
        assert records.flow_run(state).name == name

    @pytest.mark.parametrize("how", ["call", "submit"])
    @pytest.mark.parametrize("template", ["of-{x}", lambda: "of-4"], ids=["template", "function"])
    def test_async_flows_and_tasks_have_such_names_too(self, records, template, how):
        @task(task_run_name=template)
        async def work(x):
            return runtime.task_run.name

        @flow(flow_run_name=template)
        async def run(x):
            name = await (work(x) if how == "call" else work.submit(x).result())
            return [name, runtime.flow_run.name]

        @flow
        def run_sync(x):
            return work(x) if how == "call" else work.submit(x).result()

        state = asyncio.run(run(4, return_state=True))  # pyright: ignore[reportArgumentType]  typed as a state
        assert state.result() == ["of-4", "of-4"]
        assert records.flow_run(state).name == "of-4"
        assert set(records.task_runs(state)) == {"of-4"}
        assert run_sync(4) == "of-4"

    def test_without_a_template_it_is_two_words(self, records):
        assert len(Flow(lambda: runtime.flow_run.name, name="x")().split("-")) == 2

    @pytest.mark.parametrize("template", ["{missing}", lambda: 3], ids=["unknown parameter", "not a string"])
    def test_a_name_that_cannot_be_made_fails_the_run_and_says_why(self, records, template):
        @task(task_run_name=template)
        def work():
            pass

        with pytest.raises((ValueError, TypeError), match="task_run_name"):
            Flow(lambda: work(), name="x")()
        with pytest.raises((ValueError, TypeError), match="flow_run_name"):
            Flow(lambda: 1, name="x", flow_run_name=template)()


class TestRuntime:
    def test_a_run_can_be_asked_about(self, records):
        @task
        def ask():
            return {
                "task": (runtime.task_run.name, runtime.task_run.task_name, runtime.task_run.parameters),
                "flow": (runtime.flow_run.flow_name, runtime.flow_run.parameters, runtime.flow_run.run_count),
                "tags": list(runtime.task_run.tags),
            }

        @flow(name="asking")
        def run(y):
            with tags("t"):
                return ask.submit().result()

        assert run(3) == {"task": ("ask-0", "ask", {}), "flow": ("asking", {"y": 3}, 1), "tags": ["t"]}

    def test_outside_of_a_run_everything_is_empty(self, records):
        assert runtime.flow_run.id is None
        assert runtime.flow_run.tags == []
        assert runtime.task_run.parameters == {}


class TestLogs:
    def test_the_run_logger_needs_a_run(self):
        with pytest.raises(MissingContextError):
            get_run_logger()

    def test_lines_of_flow_and_task_are_stored_with_their_run(self, records):
        @task
        def work():
            get_run_logger().warning("from the %s", "task")

        @flow
        def run():
            get_run_logger().info("from the flow")
            work()
            work.submit()

        state = run(return_state=True)
        logs = records.logs(state)
        assert logs.count("from the task") == 2
        assert "from the flow" in logs

    def test_the_lines_of_the_engine_are_those_that_users_know(self, records):
        @task
        def work():
            pass

        @flow(name="lines", flow_run_name="a-run")
        def run():
            work()
            work.submit()

        logs = records.logs(run(return_state=True))
        assert "Created task run 'work-0' for task 'work'" in logs
        assert "Executing 'work-0' immediately..." in logs
        assert "Submitted task run 'work-1' for execution." in logs
        assert logs.count("Finished in state Completed()") == 2
        assert "Finished in state Completed('All states completed.')" in logs
        assert any(line.startswith("Created flow run '") and line.endswith("' for flow 'lines'") for line in logs)

    @pytest.mark.parametrize(
        ("of_flow", "of_task", "setting", "logged"),
        [
            (None, None, False, set()),
            (True, None, False, {"flow", "task"}),
            (True, False, False, {"flow"}),
            (None, True, False, {"task"}),
            (None, None, True, {"flow", "task"}),
            (False, None, True, set()),
        ],
    )
    def test_prints_become_log_lines_where_flow_task_or_setting_say_so(
        self, records, of_flow, of_task, setting, logged
    ):
        @task(log_prints=of_task)
        def work():
            print("task")

        @flow(log_prints=of_flow)
        def run():
            print("flow")
            work()

        with temporary_settings({FLOWYARD_LOGGING_LOG_PRINTS: setting}):
            state = run(return_state=True)
        assert {line for line in records.logs(state) if line in ("flow", "task")} == logged


class TestContextVariables:
    """Variables of tracing and logging libraries reach the tasks."""

    @pytest.mark.parametrize("runner", [ConcurrentTaskRunner(), SequentialTaskRunner()], ids=repr)
    @pytest.mark.parametrize("colour", ["sync", "async"])
    @pytest.mark.parametrize("after", ["nothing", "sync", "async"])
    def test_a_submitted_task_sees_those_of_whoever_submitted_it(self, records, runner, colour, after):
        @task
        def see(x):
            return CORRELATION.get()

        @task
        async def see_async(x):
            return CORRELATION.get()

        @flow(task_runner=runner)
        def run():
            CORRELATION.set("mine")
            upstream = {"nothing": lambda: 1, "sync": lambda: see.submit(1), "async": lambda: see_async.submit(1)}
            return (see if colour == "sync" else see_async).submit(upstream[after]()).result()

        assert run() == "mine"

    def test_what_a_submitted_task_sets_stays_in_it(self, records):
        @task
        def change():
            CORRELATION.set("changed")

        @flow
        def run():
            CORRELATION.set("mine")
            change.submit().wait()
            return CORRELATION.get()

        assert run() == "mine"

    def test_a_task_with_a_timeout_sees_them_too(self, records):
        @task(timeout_seconds=20)
        def see():
            return CORRELATION.get()

        @flow
        def run():
            CORRELATION.set("mine")
            return [see(), see.submit().result()]

        assert run() == ["mine", "mine"]

    def test_async_flows_and_tasks_see_them(self, records):
        @task
        async def see():
            return CORRELATION.get()

        @flow
        async def run():
            CORRELATION.set("mine")
            return [await see(), await see.submit().result()]

        assert asyncio.run(run()) == ["mine", "mine"]


class TestByHand:
    """Ways in which users of Prefect 2 call what they did not have to."""

    def test_run_gives_the_state(self, records):
        @task
        def work():
            return 1

        @flow
        def run():
            return work._run().result()

        assert run._run().result() == 1

    def test_the_raw_functions_make_no_run(self, records):
        @task
        def work():
            return 1

        @flow(name="raw")
        def run():
            return work.fn()

        assert run.fn() == 1
        assert records.flow_runs("raw") == []
