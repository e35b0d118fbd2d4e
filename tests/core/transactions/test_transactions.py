"""Groups of tasks that count together: commit, rollback, hooks, keys, nesting, and what a killed process leaves."""

# What a test's flow returns is known by the test.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportFunctionMemberAccess=false, reportAttributeAccessIssue=false, reportArgumentType=false
# pyright: reportUnknownParameterType=false, reportCallIssue=false
from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from flowyard import flow, task
from flowyard.cache_policies import INPUTS
from flowyard.exceptions import MissingContextError
from flowyard.recovery import resume_flow_run, retry_flow_run
from flowyard.settings import get_current_settings
from flowyard.task_runners import ConcurrentTaskRunner, ProcessPoolTaskRunner, SequentialTaskRunner
from flowyard.transactions import Transaction, get_transaction, transaction

calls: list[Any] = []
fails: list[bool] = []


@pytest.fixture(autouse=True)
def _clean(records: Any) -> None:
    del records
    calls.clear()
    fails.clear()


@task(persist_result=True)
def write(name: str) -> str:
    calls.append(name)
    return name.upper()


@write.on_commit
def _written(txn: Transaction) -> None:
    calls.append(("commit", txn.get("who", None)))


@write.on_rollback
def _unwritten(txn: Transaction) -> None:
    calls.append(("rollback", txn.get("who", None)))


@task(persist_result=True)
async def write_async(name: str) -> str:
    calls.append(name)
    return name.upper()


@write_async.on_rollback
async def _unwritten_async(txn: Transaction) -> None:
    calls.append("async rollback")


@task
def break_down() -> None:
    raise RuntimeError("broken")


@contextlib.contextmanager
def going_on() -> Generator[None]:
    """Expect `break_down` in a block, and go on."""
    with pytest.raises(RuntimeError, match="broken"):
        yield


def test_commit_hooks_run_in_order_after_the_block(records: Any) -> None:
    @flow
    def group() -> None:
        with transaction() as txn:
            txn.set("who", "me")
            write("a")
            write("b")
            calls.append("end of block")
            assert not txn.is_committed()
        assert txn.is_committed()

    group()
    assert calls == ["a", "b", "end of block", ("commit", "me"), ("commit", "me")]


def test_a_rollback_runs_hooks_in_reverse_order_and_marks_the_runs(records: Any) -> None:
    order: list[str] = []

    @task
    def first() -> None: ...

    @task
    def second() -> None: ...

    first.on_rollback(lambda txn: order.append("first"))

    @second.on_rollback
    def fails_too(txn: Transaction) -> None:
        order.append("second")
        raise ValueError("no way back")

    @flow
    def group() -> str:
        with going_on(), transaction():
            first()
            second()
            break_down()
        return "went on"

    state = group(return_state=True)
    assert state.result() == "went on"
    assert order == ["second", "first"]
    assert records.task_states(state, "first-0") == ["Pending", "Running", "Completed", "RolledBack"]
    assert records.task_states(state, "break_down-0")[-1] == "Failed"
    assert any("on_rollback hook of task run 'second-0' failed" in line for line in records.logs(state))


@pytest.mark.parametrize("again", [resume_flow_run, retry_flow_run], ids=["resume", "retry"])
@pytest.mark.parametrize("commits", [True, False], ids=["committed", "rolled back"])
def test_a_resume_executes_again_what_was_rolled_back_only(records: Any, again: Any, commits: bool) -> None:
    @flow
    def group() -> list[str]:
        with transaction():
            made = [write("a"), write("b")]
            if fails and not commits:
                break_down()
        if fails:
            break_down()
        return made

    fails.append(True)
    state = group(return_state=True)
    assert state.is_failed()
    fails.clear()
    calls.clear()
    assert again(state.state_details.flow_run_id, flow=group).result() == ["A", "B"]
    assert [call for call in calls if isinstance(call, str)] == ([] if commits else ["a", "b"])


@pytest.mark.parametrize("commits", [True, False], ids=["committed", "rolled back"])
def test_a_retry_of_the_flow_executes_again_what_was_rolled_back_only(records: Any, commits: bool) -> None:
    @flow(retries=1)
    def group() -> str:
        with transaction():
            made = write("a")
            if fails and not commits:
                fails.clear()
                break_down()
        if fails:
            fails.clear()
            break_down()
        return made

    fails.append(True)
    assert group() == "A"
    assert calls.count("a") == (1 if commits else 2)


@pytest.mark.parametrize(
    "runner", [SequentialTaskRunner(), ConcurrentTaskRunner(), ProcessPoolTaskRunner(max_workers=1)], ids=repr
)
def test_values_in_the_cache_become_visible_with_the_commit(records: Any, runner: Any) -> None:
    key = f"visible-{type(runner).__name__}"

    @task(cache_policy=INPUTS)
    def cached(name: str) -> str:
        return name

    @flow(task_runner=runner)
    def elsewhere() -> str:
        return cached.submit(key, return_state=True).name

    @flow(task_runner=runner)
    def group(breaks: bool) -> tuple[str, str, str]:
        with transaction():
            made = cached.submit(key, return_state=True).name
            inside = cached.submit(key, return_state=True).name
            if breaks:
                break_down()
        return made, inside, cached.submit(key, return_state=True).name

    assert group(True, return_state=True).is_failed()
    assert group(False) == ("Completed", "Cached", "Cached")
    assert elsewhere() == "Cached"


@pytest.mark.parametrize("runner", [ConcurrentTaskRunner(), ProcessPoolTaskRunner(max_workers=1)], ids=repr)
@pytest.mark.parametrize("commits", [True, False], ids=["committed", "rolled back"])
def test_a_resume_reads_what_a_runner_made(records: Any, runner: Any, commits: bool, tmp_path: Path) -> None:
    @task(persist_result=True)
    def inner(name: str) -> str:
        with (tmp_path / "calls").open("a") as file:
            file.write(name)
        return name

    @task(persist_result=True)
    def outer(name: str) -> str:
        return inner(name)

    @flow(task_runner=runner)
    def group() -> list[str]:
        with transaction():
            made = [future.result() for future in outer.map(["a", "b"])]
            if fails and not commits:
                break_down()
        if fails:
            break_down()
        return made

    fails.append(True)
    state = group(return_state=True)
    fails.clear()
    assert resume_flow_run(state.state_details.flow_run_id, flow=group).result() == ["a", "b"]
    assert sorted((tmp_path / "calls").read_text()) == (["a", "b"] if commits else ["a", "a", "b", "b"])


def test_nobody_else_sees_a_staged_value(records: Any) -> None:
    @task(cache_policy=INPUTS)
    def cached(name: str) -> str:
        return name

    @flow
    def look() -> str:
        return cached("staged", return_state=True).name

    @flow
    def group() -> list[str]:
        with transaction():
            cached("staged")
            seen = [look()]
        return [*seen, look()]

    # The subflow is a flow run of its own: it executes the task, and what it kept counts at once.
    assert group() == ["Completed", "Cached"]


@pytest.mark.parametrize("runner", [ConcurrentTaskRunner(), ProcessPoolTaskRunner(max_workers=1)], ids=repr)
def test_the_block_waits_for_what_was_submitted_and_fails_with_it(records: Any, runner: Any) -> None:
    @flow(task_runner=runner)
    def group() -> None:
        with going_on(), transaction():
            write.map(["a", "b", "c"])
            break_down.submit()

    state = group(return_state=True)
    names = [records.task_states(state, f"write-{number}")[-1] for number in range(3)]
    assert names == ["RolledBack"] * 3
    assert calls.count(("rollback", None)) == 3


def test_a_map_that_is_fed_by_a_thread_belongs_to_the_block(records: Any) -> None:
    @flow(task_runner=ConcurrentTaskRunner())
    def group() -> None:
        with transaction():
            write.map(iter("abc"))
        assert calls.count(("commit", None)) == 3

    group()


def test_async_flows_wait_without_blocking_their_loop(records: Any) -> None:
    @flow
    async def group() -> str:
        with going_on():
            async with transaction():
                await write_async("a")
                write_async.submit("b")
                break_down()
        return "done"

    assert asyncio.run(group()) == "done"
    assert calls == ["a", "b", "async rollback", "async rollback"]


def test_a_nested_transaction_commits_with_its_parent(records: Any) -> None:
    @flow
    def group() -> str:
        with going_on(), transaction() as outer:
            outer.set("who", "outer")
            with transaction(key="inner") as inner:
                write("a")
                assert inner.get("who") == "outer"
            assert ("commit", "outer") not in calls
            break_down()
        with transaction(key="inner") as inner:
            assert not inner.is_committed()
            with transaction(key="innermost"):
                write("b")
        with transaction(key="innermost") as inner:
            assert inner.is_committed()
        return "done"

    assert group() == "done"
    assert calls == ["a", ("rollback", "outer"), "b", ("commit", None)]


def test_what_a_nested_transaction_rolled_back_stays_so_when_its_parent_commits(records: Any) -> None:
    @flow
    def group() -> str:
        with transaction():
            write("a")
            with going_on(), transaction():
                write("b")
                break_down()
        if fails:
            break_down()
        return "done"

    fails.append(True)
    state = group(return_state=True)
    fails.clear()
    calls.clear()
    assert resume_flow_run(state.state_details.flow_run_id, flow=group).result() == "done"
    assert calls == ["b", ("rollback", None)]


def test_a_committed_key_is_known_to_later_runs_with_its_values(records: Any) -> None:
    @flow
    def group(overwrite: bool = False) -> tuple[bool, Any]:
        with transaction(key="orders/2024", overwrite=overwrite) as txn:
            was_committed = txn.is_committed()
            if not was_committed:
                txn.set("rows", [1, 2, 3] if not overwrite else [4])
        return was_committed, txn.get("rows")

    assert group() == (False, [1, 2, 3])
    assert group() == (True, [1, 2, 3])
    assert group(overwrite=True) == (False, [4])
    assert group() == (True, [4])


def test_a_key_in_a_transaction_without_one_counts_after_it(records: Any) -> None:
    @flow
    def group() -> bool:
        with transaction(), transaction(key="in the middle"):
            pass
        with transaction(key="in the middle") as txn:
            return txn.is_committed()

    assert group()


def test_a_key_whose_values_are_gone_has_not_committed(records: Any) -> None:
    storage = get_current_settings().FLOWYARD_LOCAL_STORAGE_PATH

    @flow
    def group() -> bool:
        with transaction(key="lost") as txn:
            txn.set("rows", [1])
        return txn.is_committed()

    group()
    shutil.rmtree(Path(storage) / "transactions" / "values")

    @flow
    def again() -> tuple[bool, bool]:
        with transaction(key="lost") as txn:
            was_committed = txn.is_committed()
        with transaction(key="lost") as txn:
            return was_committed, txn.is_committed()

    assert again() == (False, True)


def test_tasks_that_tasks_call_belong_to_the_transaction(records: Any) -> None:
    @task(persist_result=True)
    def outer() -> str:
        assert get_transaction() is not None
        return write("inner")

    @flow
    def group() -> str:
        with transaction():
            made = outer()
            if fails:
                break_down()
        return made

    fails.append(True)
    state = group(return_state=True)
    fails.clear()
    calls.clear()
    assert resume_flow_run(state.state_details.flow_run_id, flow=group).result() == "INNER"
    assert calls[0] == "inner"


def test_a_value_that_was_not_set_is_named(records: Any) -> None:
    @flow
    def group() -> None:
        with transaction() as txn:
            with pytest.raises(LookupError, match="no value 'rows'"):
                txn.get("rows")
            assert txn.get("rows", 3) == 3

    group()


def test_a_transaction_needs_a_flow(records: Any) -> None:
    with pytest.raises(MissingContextError), transaction():
        pass
    assert get_transaction() is None


def test_copies_of_a_task_keep_its_hooks(records: Any) -> None:
    renamed = write.with_options(name="renamed")
    assert renamed.on_commit_hooks == write.on_commit_hooks
    assert renamed.on_rollback_hooks == write.on_rollback_hooks


KILLED = """
import os, signal, sys
from flowyard import flow, task
from flowyard.transactions import transaction

def note(what):
    with open("calls", "a") as file:
        file.write(what + "\\n")

@task(persist_result=True)
def step(name):
    note(name)
    return name

@flow
def group():
    step("before")
    with transaction():
        step("a")
        step.submit("b").result()
        if not os.path.exists("kill-later"):
            kill()
    kill()
    return "done"

def kill():
    if not os.path.exists("go on"):
        from flowyard.process.backends import PROCESS
        PROCESS.backend().journal.flush()
        os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    group()
"""


@pytest.mark.parametrize("is_later", [False, True], ids=["in the block", "after it"])
def test_a_killed_process_leaves_all_of_a_group_or_nothing(tmp_path: Path, is_later: bool) -> None:
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    environment = {**os.environ, "FLOWYARD_HOME": str(tmp_path / "home")}

    def run(*command: str) -> int:
        return subprocess.run([sys.executable, *command], cwd=tmp_path, env=environment, check=False).returncode

    if is_later:
        (tmp_path / "kill-later").touch()
    assert run("killed.py") == -9
    (tmp_path / "go on").touch()
    resume = (
        "from flowyard.process.control import control_plane as c;"
        "from flowyard.schemas.filters import FlowRunFilter as F;"
        "from flowyard.recovery import resume_flow_run;"
        "assert resume_flow_run(c().read_flow_runs(F())[0].id).result() == 'done'"
    )
    assert run("-c", resume) == 0
    executed = (tmp_path / "calls").read_text().split()
    assert executed == ["before", "a", "b", *([] if is_later else ["a", "b"])]
