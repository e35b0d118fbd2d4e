"""The cache: what counts as the same call, what a hit is, and what happens when something is wrong."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from flowyard import flow, task
from flowyard.cache_policies import (
    DEFAULT,
    FLOW_PARAMETERS,
    INPUTS,
    NO_CACHE,
    RUN_ID,
    TASK_SOURCE,
    CacheKeyFnPolicy,
    CachePolicy,
)
from flowyard.filesystems import LocalFileSystem
from flowyard.logging.loggers import LogEavesdropper
from flowyard.settings import (
    FLOWYARD_API_TASK_CACHE_KEY_MAX_LENGTH,
    FLOWYARD_RESULTS_SIGNING_KEY,
    FLOWYARD_RUN_ON_COMPLETION_HOOKS_ON_CACHED,
    FLOWYARD_TASKS_REFRESH_CACHE,
    get_current_settings,
    temporary_settings,
)
from flowyard.tasks import task_input_hash


@pytest.fixture(autouse=True)
def storage(records):
    """An empty result storage."""
    del records
    folder = Path(get_current_settings().FLOWYARD_LOCAL_STORAGE_PATH)
    shutil.rmtree(folder, ignore_errors=True)
    return folder


class Counted:
    """A task that notes with what it was executed."""

    def __init__(self, **options: Any) -> None:
        self.calls: list[Any] = []

        def work(x, y=0):
            self.calls.append((x, y))
            return [x, y]

        self.task = task(**options)(work)


def states_of(*tasks: Any, runs: int = 2, flow_options: dict[str, Any] | None = None, **parameters: Any) -> list[str]:
    """Run a flow that calls each task with 1, several times; return the names of the states."""

    @flow(**(flow_options or {}))
    def calls(**_: Any):
        return [one(1, return_state=True).name for one in tasks]

    return [name for _ in range(runs) for name in calls(**parameters)]


# --- hits and misses --------------------------------------------------------------------------------------


def test_a_call_with_the_same_inputs_is_not_executed_again(records):
    counted = Counted(cache_policy=INPUTS)

    @flow
    def calls():
        return [counted.task(1), counted.task(1), counted.task.submit(1).result(), counted.task(2)]

    assert calls() == [[1, 0], [1, 0], [1, 0], [2, 0]]
    assert calls() == [[1, 0], [1, 0], [1, 0], [2, 0]]
    assert counted.calls == [(1, 0), (2, 0)]


def test_a_hit_goes_from_pending_to_cached_and_tells_its_key(records):
    counted = Counted(cache_policy=INPUTS, cache_expiration=timedelta(hours=1))

    @flow
    def calls():
        return [counted.task(1, return_state=True) for _ in range(2)]

    state = calls(return_state=True)
    assert records.task_states(state, "work-0") == ["Pending", "Running", "Completed"]
    assert records.task_states(state, "work-1") == ["Pending", "Cached"]
    first, second = records.task_runs(state)["work-0"], records.task_runs(state)["work-1"]
    assert first.cache_key == second.cache_key
    assert len(first.cache_key) == 32
    assert first.cache_expiration == second.cache_expiration
    assert second.state.is_completed()
    assert second.run_count == 0
    assert second.state.result() == [1, 0]


@pytest.mark.parametrize("value", [None, True, "text"], ids=str)
def test_values_of_any_kind_are_kept(value):
    calls = []

    @task(cache_policy=INPUTS)
    def work():
        calls.append(1)
        return value

    @flow
    def twice():
        return [work(), work()]

    assert twice() == [value, value]
    assert len(calls) == 1


def test_a_failure_is_not_kept():
    counted = []

    @task(cache_policy=INPUTS)
    def work():
        counted.append(1)
        raise ValueError(len(counted))

    @flow
    def twice():
        return [work(return_state=True).name for _ in range(2)]

    assert twice() == ["Failed", "Failed"]
    assert len(counted) == 2


def test_a_task_outside_of_a_flow_is_cached():
    counted = Counted(cache_policy=INPUTS)
    assert [counted.task(1), counted.task(1)] == [[1, 0], [1, 0]]
    assert counted.calls == [(1, 0)]


def test_async_tasks_are_cached():
    calls = []

    @task(cache_policy=INPUTS)
    async def work(x):
        calls.append(x)
        return [x]

    @flow
    async def several():
        first = [await work(1), await work(1)]
        future = work.submit(1)
        return [*first, await future.result(), (await future.wait()).name]

    assert asyncio.run(several()) == [[1], [1], [1], "Cached"]
    assert calls == [1]


def test_a_value_is_found_by_another_process(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from flowyard import task\n"
        "from flowyard.cache_policies import INPUTS\n"
        "@task(cache_policy=INPUTS)\n"
        "def work(x):\n"
        "    return {'x': x, 'set': {1, 2}}\n"
        "print(work({'a', 'b', 'c'}, return_state=True).name)\n"
    )
    environment = {**os.environ, "FLOWYARD_HOME": str(tmp_path / "home"), "FLOWYARD_LOGGING_LEVEL": "ERROR"}
    names = []
    for seed in ("1", "2"):
        command = [sys.executable, str(script)]
        done = subprocess.run(command, env={**environment, "PYTHONHASHSEED": seed}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        names.append(done.stdout.strip())
    assert names == ["Completed", "Cached"]


def test_ten_thousand_hits_start_no_threads_of_their_own(records):
    counted = Counted(cache_policy=INPUTS)

    @flow
    def warm():
        counted.task(1)

    @flow
    def hits():
        before = threading.active_count()
        futures = counted.task.map([1] * 500)
        return threading.active_count() - before, [future.get_state().name for future in futures]

    warm()
    threads, names = hits()
    assert threads <= 1
    assert set(names) == {"Cached"}


# --- keys -------------------------------------------------------------------------------------------------


def one_task(policy, constant):
    """Return one of two tasks that differ in a constant alone, and share their name."""
    if constant == 1:

        @task(cache_policy=policy)
        def work(x):
            return [x, "one"]
    else:

        @task(cache_policy=policy)
        def work(x):
            return [x, "two"]

    return work


def test_with_inputs_alone_a_changed_function_is_the_same():
    assert states_of(one_task(INPUTS, 1), one_task(INPUTS, 2), runs=1) == ["Completed", "Cached"]


def test_with_task_source_a_changed_function_is_another():
    policy = INPUTS + TASK_SOURCE
    assert states_of(one_task(policy, 1), one_task(policy, 2)) == ["Completed", "Completed", "Cached", "Cached"]


def closure(number, policy=INPUTS + TASK_SOURCE):
    @task(cache_policy=policy)
    def work(x):
        return [x + number]

    return work


def test_with_task_source_outer_variables_count():
    assert states_of(closure(1), closure(2), closure(1), runs=1) == ["Completed", "Completed", "Cached"]


def test_an_outer_variable_that_cannot_be_hashed_is_named(records):
    with LogEavesdropper("flowyard") as heard:
        assert states_of(closure(threading.Lock()), runs=1) == ["Failed"]
    assert "the outer variable 'number' (a lock) cannot be hashed" in heard.text()


def test_two_tasks_never_share_a_key_of_a_policy():
    @task(cache_policy=INPUTS)
    def one(x):
        return ["one", x]

    @task(cache_policy=INPUTS)
    def two(x):
        return ["two", x]

    @flow
    def both():
        return [one(1), two(1)]

    assert both() == both() == [["one", 1], ["two", 1]]


def test_an_argument_can_be_left_out():
    counted = Counted(cache_policy=INPUTS - "y")

    @flow
    def calls():
        return [counted.task(1, y=5), counted.task(1, y=6), counted.task(2)]

    assert calls() == [[1, 5], [1, 5], [2, 0]]


def test_run_id_keeps_values_to_their_flow_run():
    counted = Counted(cache_policy=INPUTS + RUN_ID)
    assert states_of(counted.task, counted.task) == ["Completed", "Cached"] * 2


def test_the_default_policy_is_of_inputs_source_and_run():
    work = one_task(DEFAULT, 1)
    assert states_of(work, work) == ["Completed", "Cached"] * 2


def test_flow_parameters_count():
    counted = Counted(cache_policy=FLOW_PARAMETERS)
    assert states_of(counted.task, city="Oslo") == ["Completed", "Cached"]
    assert states_of(counted.task, city="Rome") == ["Completed", "Cached"]


def test_no_cache_is_no_cache():
    counted = Counted(cache_policy=NO_CACHE)
    assert states_of(counted.task) == ["Completed", "Completed"]
    assert NO_CACHE + INPUTS == INPUTS == INPUTS + NO_CACHE


def test_a_key_function_gets_context_and_resolved_arguments():
    seen = []

    def key(context, arguments):
        seen.append((context.task.name, context.task_run.name, arguments))
        return "always the same"

    counted = Counted(cache_key_fn=key)

    @flow
    def calls():
        first = counted.task.submit(1)
        return counted.task.submit(first).result()

    assert calls() == [1, 0]
    assert seen == [("work", "work-0", {"x": 1, "y": 0}), ("work", "work-1", {"x": [1, 0], "y": 0})]


def test_keys_of_key_functions_are_shared_by_tasks():
    one, two = Counted(cache_key_fn=lambda *_: "k"), Counted(cache_policy=CacheKeyFnPolicy(lambda *_: "k"))
    assert states_of(one.task, two.task, runs=1) == ["Completed", "Cached"]


def test_without_a_key_a_call_is_not_cached():
    assert states_of(Counted(cache_key_fn=lambda *_: None).task) == ["Completed", "Completed"]


def test_task_input_hash_works_as_in_prefect_2():
    counted = Counted(cache_key_fn=task_input_hash)
    assert states_of(counted.task) == ["Completed", "Cached"]


def test_a_policy_of_ones_own_makes_the_key():
    class ByX(CachePolicy):
        def compute_key(self, task_ctx, inputs, flow_parameters, **kwargs):
            return f"{task_ctx.task.name}-{inputs['x']}-{flow_parameters['_']['city']}"

    counted = Counted(cache_policy=ByX())
    assert states_of(counted.task, city="Oslo") == ["Completed", "Cached"]
    assert states_of(counted.task, city="Rome", runs=1) == ["Completed"]


@pytest.mark.parametrize(
    "options", [{"cache_policy": INPUTS}, {"cache_key_fn": task_input_hash}], ids=["policy", "hash"]
)
def test_an_argument_that_cannot_be_hashed_is_a_miss_with_a_warning_that_names_it(options, records):
    calls = []

    @task(**options)
    def work(connection):
        calls.append(1)
        return "done"

    @flow
    def twice():
        return [work(threading.Lock()) for _ in range(2)]

    with LogEavesdropper("flowyard") as heard:
        twice()
    assert len(calls) == 2
    assert "Task run 'work-0' is not cached: argument 'connection' (a lock) cannot be hashed" in heard.text()


def test_a_key_function_that_raises_is_logged_and_the_call_executes():
    def key(context, arguments):
        raise LookupError("no such thing")

    with LogEavesdropper("flowyard") as heard:
        assert states_of(Counted(cache_key_fn=key).task) == ["Completed", "Completed"]
    assert "is not cached: its cache key could not be made: LookupError: no such thing" in heard.text()


def test_a_key_that_is_no_text_is_refused():
    with LogEavesdropper("flowyard") as heard:
        assert states_of(Counted(cache_key_fn=lambda *_: 5).task) == ["Completed", "Completed"]
    assert "returned 5: it must return a string or None" in heard.text()


def test_a_key_that_is_too_long_is_refused():
    counted = Counted(cache_key_fn=lambda *_: "x" * 11)
    with temporary_settings({FLOWYARD_API_TASK_CACHE_KEY_MAX_LENGTH: 10}), LogEavesdropper("flowyard") as heard:
        assert states_of(counted.task) == ["Completed", "Completed"]
    assert "its cache key has 11 characters" in heard.text()


# --- options ----------------------------------------------------------------------------------------------

REFUSED = {
    "policy and function": (
        {"cache_policy": INPUTS, "cache_key_fn": task_input_hash},
        ValueError,
        "cache_policy and cache_key_fn are both given",
    ),
    "no policy": ({"cache_policy": "inputs"}, TypeError, "cache_policy='inputs' is no cache policy"),
    "async function": ({"cache_key_fn": asyncio.sleep}, TypeError, "must be a plain function"),
    "unknown argument": ({"cache_policy": INPUTS - "z"}, ValueError, "leaves out 'z'.*it has x, y"),
    "no duration": ({"cache_expiration": 5}, TypeError, "cache_expiration=5 must be a timedelta"),
}


@pytest.mark.parametrize(("options", "kind", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_options_that_make_no_sense_are_refused_where_they_are_written(options, kind, message):
    with pytest.raises(kind, match=message):
        Counted(**options)


def test_what_does_not_look_at_arguments_cannot_leave_one_out():
    with pytest.raises(ValueError, match="does not look at arguments"):
        (TASK_SOURCE + RUN_ID) - "x"  # pyright: ignore[reportUnusedExpression]
    assert ((INPUTS + RUN_ID) - "x").excluded() == {"x"}


def test_with_options_replaces_a_policy_by_a_function_and_back():
    counted = Counted(cache_policy=INPUTS)
    by_function = counted.task.with_options(cache_key_fn=task_input_hash)
    assert (by_function.cache_policy, by_function.cache_key_fn) == (None, task_input_hash)
    back = by_function.with_options(cache_policy=INPUTS)
    assert (back.cache_policy, back.cache_key_fn) == (INPUTS, None)
    assert back.with_options(cache_policy=None).key_policy is None
    assert back.with_options(name="other").cache_policy is INPUTS


def test_without_persistence_there_is_no_cache_and_a_warning():
    counted = Counted(cache_policy=INPUTS, persist_result=False)
    with LogEavesdropper("flowyard") as heard:
        assert states_of(counted.task) == ["Completed", "Completed"]
    assert "Task 'work' has a cache and `persist_result=False`" in heard.text()


def test_an_expired_value_is_made_anew():
    counted = Counted(cache_policy=INPUTS, cache_expiration=timedelta(microseconds=1))
    assert states_of(counted.task) == ["Completed", "Completed"]
    lasting = Counted(cache_policy=INPUTS, cache_expiration=timedelta(days=1))
    assert states_of(lasting.task, runs=3)[1:] == ["Cached", "Cached"]


def test_refresh_cache_executes_and_overwrites():
    numbers = iter(range(10))

    @task(cache_policy=INPUTS)
    def work():
        return [next(numbers)]

    fresh = work.with_options(refresh_cache=True)

    @flow
    def calls():
        return [work(), work(), fresh(), work()]

    assert calls() == [[0], [0], [1], [1]]
    with temporary_settings({FLOWYARD_TASKS_REFRESH_CACHE: True}):
        assert calls() == [[2], [3], [4], [5]]
        assert work.with_options(refresh_cache=False)() == [5]


def test_hooks_run_for_hits_only_if_asked_for():
    seen = []
    counted = Counted(cache_policy=INPUTS, on_completion=[lambda task, run, state: seen.append(state.name)])
    states_of(counted.task)
    assert seen == ["Completed"]
    with temporary_settings({FLOWYARD_RUN_ON_COMPLETION_HOOKS_ON_CACHED: True}):
        states_of(counted.task, runs=1)
    assert seen == ["Completed", "Cached"]


def test_the_storage_of_the_task_has_its_cache(tmp_path):
    elsewhere = LocalFileSystem(basepath=str(tmp_path))
    counted = Counted(cache_policy=INPUTS, result_storage=elsewhere)
    assert states_of(counted.task) == ["Completed", "Cached"]
    assert (tmp_path / "cache").is_dir()
    assert states_of(counted.task.with_options(result_storage=None), runs=1) == ["Completed"]


class Remote:
    """A storage that is no folder."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def read_path(self, path: str) -> bytes:
        if path not in self.files:
            raise FileNotFoundError(path)
        return self.files[path]

    def write_path(self, path: str, content: bytes) -> None:
        self.files[path] = content


@pytest.mark.parametrize("lock", [False, True])
def test_storage_that_is_no_folder_has_a_cache_too(lock):
    counted = Counted(cache_policy=INPUTS, result_storage=Remote(), cache_lock=lock)

    @flow
    def calls():
        return [future.result() for future in counted.task.map([1, 2, 1, 2, 3])]

    assert calls() == calls() == [[1, 0], [2, 0], [1, 0], [2, 0], [3, 0]]
    assert sorted(set(counted.calls)) == [(1, 0), (2, 0), (3, 0)]
    assert not lock or len(counted.calls) == 3


# --- what can be wrong ------------------------------------------------------------------------------------


def results_in(storage):
    return [path for path in (storage / "runs").rglob("*") if path.is_file()]


def records_in(storage):
    return [path for path in (storage / "cache").rglob("*") if path.is_file()]


DAMAGES = {
    "result gone": (lambda storage: [path.unlink() for path in results_in(storage)], None),
    "result damaged": (lambda storage: [path.write_bytes(b"x") for path in results_in(storage)], "cannot be used"),
    "result cut off": (
        lambda storage: [path.write_bytes(path.read_bytes()[:-1]) for path in results_in(storage)],
        "it was cut off",
    ),
    "record damaged": (lambda storage: [path.write_bytes(b"{") for path in records_in(storage)], "cut off"),
    "record gone": (lambda storage: [path.unlink() for path in records_in(storage)], None),
}


@pytest.mark.parametrize(("damage", "warning"), DAMAGES.values(), ids=DAMAGES.keys())
def test_a_value_that_is_damaged_or_gone_is_made_again(storage, damage, warning):
    counted = Counted(cache_policy=INPUTS)
    assert states_of(counted.task) == ["Completed", "Cached"]
    damage(storage)
    with LogEavesdropper("flowyard") as heard:
        assert states_of(counted.task) == ["Completed", "Cached"]
    assert counted.calls == [(1, 0)] * 2
    assert warning is None or warning in heard.text()


def test_a_value_that_is_not_signed_is_made_again():
    counted = Counted(cache_policy=INPUTS)
    assert states_of(counted.task, runs=1) == ["Completed"]
    with temporary_settings({FLOWYARD_RESULTS_SIGNING_KEY: "secret"}):
        assert states_of(counted.task) == ["Completed", "Cached"]


def test_one_place_for_several_keys_never_gives_a_wrong_value():
    counted = Counted(cache_policy=INPUTS, result_storage_key="always-here")

    @flow
    def calls():
        return [counted.task(x) for x in (1, 2, 1)]

    assert calls() == [[1, 0], [2, 0], [1, 0]]


def test_a_cache_that_cannot_be_written_hurts_nobody(storage):
    storage.mkdir(parents=True)
    (storage / "cache").write_text("a file where a folder should be")
    counted = Counted(cache_policy=INPUTS)
    with LogEavesdropper("flowyard") as heard:
        assert states_of(counted.task) == ["Completed", "Completed"]
    assert "is not found by later runs" in heard.text()


# --- locks ------------------------------------------------------------------------------------------------


def test_equal_calls_at_once_execute_once_with_a_lock():
    counted = Counted(cache_policy=INPUTS, cache_lock=True)

    @flow
    def calls():
        futures = counted.task.map([1, 1, 2] * 20)
        return [future.result() for future in futures]

    assert calls() == [[1, 0], [1, 0], [2, 0]] * 20
    assert sorted(counted.calls) == [(1, 0), (2, 0)]


def test_when_the_one_that_executes_fails_another_one_tries(records):
    calls = []

    @task(cache_policy=INPUTS, cache_lock=True)
    def work():
        calls.append(1)
        if len(calls) < 3:
            raise ValueError("not yet")
        return ["done"]

    @flow
    def several():
        return sorted(future.wait().name for future in [work.submit() for _ in range(6)])

    assert several(return_state=True).result() == ["Cached"] * 3 + ["Completed"] + ["Failed"] * 2
    assert len(calls) == 3


def test_no_lock_is_left_behind(storage):
    counted = Counted(cache_policy=INPUTS, cache_lock=True)
    states_of(counted.task)
    assert [path.name for path in (storage / "cache").rglob(".*") if path.name != ".take-over"] == []


def test_equal_calls_of_several_flow_runs_execute_once_with_a_lock():
    gate = threading.Barrier(4)
    calls = []

    @task(cache_policy=INPUTS, cache_lock=True)
    def work():
        calls.append(1)
        return [7]

    @flow
    def one():
        gate.wait(90)
        return work()

    values: list[Any] = []
    threads = [threading.Thread(target=lambda: values.append(one())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
    assert values == [[7]] * 4
    assert len(calls) == 1


LOCKING = """
import os, sys, time
from pathlib import Path
from flowyard import flow, task
from flowyard.cache_policies import INPUTS
folder = Path(sys.argv[1])

@task(cache_policy=INPUTS, cache_lock=True)
def work():
    (folder / f"begun-{os.getpid()}").touch()
    while not (folder / "go").exists():
        time.sleep(0.01)
    return [7]

@flow
def one():
    return work(return_state=True).name

print(one())
"""


@pytest.fixture
def processes(tmp_path):
    """Starts processes that execute the same call of a script."""
    script = tmp_path / "script.py"
    script.write_text(LOCKING)
    started = []

    def start():
        environment = {**os.environ, "FLOWYARD_HOME": str(tmp_path / "home"), "FLOWYARD_LOGGING_LEVEL": "ERROR"}
        command = [sys.executable, str(script), str(tmp_path)]
        started.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def wait_for(condition, seconds=60):
    waiter = threading.Event()
    for _ in range(int(seconds * 50)):
        if condition():
            return
        waiter.wait(0.02)
    raise AssertionError("it never came")


def test_equal_calls_of_several_processes_execute_once_with_a_lock(tmp_path, processes):
    several = [processes() for _ in range(3)]
    wait_for(lambda: list(tmp_path.glob("begun-*")))
    (tmp_path / "go").touch()
    assert sorted(process.communicate(timeout=90)[0].strip() for process in several) == [
        "Cached",
        "Cached",
        "Completed",
    ]
    assert len(list(tmp_path.glob("begun-*"))) == 1


def test_the_lock_of_a_process_that_was_killed_is_taken_over(tmp_path, processes):
    first = processes()
    wait_for(lambda: list(tmp_path.glob("begun-*")))
    second = processes()
    first.kill()
    wait_for(lambda: len(list(tmp_path.glob("begun-*"))) == 2)
    (tmp_path / "go").touch()
    assert second.communicate(timeout=90)[0].strip() == "Completed"
