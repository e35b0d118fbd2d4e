"""The options of `DaskTaskRunner`."""

from __future__ import annotations

import logging
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, cast

import pytest
from dask.base import annotate
from distributed import Client, LocalCluster

from flowyard.flows import flow
from flowyard.settings import FLOWYARD_LOGGING_LEVEL, temporary_settings
from flowyard.task_runners.base import TaskConcurrencyType
from flowyard.task_runners.registry import task_runner_named
from flowyard.tasks import task
from flowyard.testing.utilities import flowyard_test_harness
from flowyard_dask import DaskTaskRunner, get_async_dask_client, get_dask_client, sending
from flowyard_dask.graphs import send_graph
from flowyard_dask.values import Values


@pytest.fixture(scope="module", autouse=True)
def backend() -> Any:
    with flowyard_test_harness():
        yield


@pytest.mark.parametrize("name", ["cluster_class", "cluster_kwargs", "adapt_kwargs", "cluster"])
def test_an_address_stands_alone(name: str) -> None:
    given: dict[str, Any] = {"cluster_class": LocalCluster, "cluster": cast("Any", object())}
    options: dict[str, Any] = {name: given.get(name, {"minimum": 1})}
    with pytest.raises(ValueError, match="address='tcp://somewhere:1'"):
        DaskTaskRunner(address="tcp://somewhere:1", **options)


@pytest.mark.parametrize("name", ["cluster_class", "cluster_kwargs"])
def test_a_cluster_that_exists_cannot_be_made(name: str) -> None:
    options: dict[str, Any] = {name: {"n_workers": 1}}
    with pytest.raises(ValueError, match="exists already"):
        DaskTaskRunner(cluster=cast("Any", object()), **options)


@pytest.mark.parametrize("name", ["client_kwargs", "cluster_kwargs"])
def test_asynchronous_is_not_for_users(name: str) -> None:
    options: dict[str, Any] = {name: {"asynchronous": True}}
    with pytest.raises(ValueError, match=f"{name} must not have 'asynchronous'"):
        DaskTaskRunner(**options)


def test_a_cluster_class_is_imported() -> None:
    assert DaskTaskRunner(cluster_class="distributed.LocalCluster").cluster_class is LocalCluster
    with pytest.raises(ValueError, match="cluster_class='nowhere.Cluster' cannot be imported"):
        DaskTaskRunner(cluster_class="nowhere.Cluster")


def test_options_are_copied() -> None:
    options = {"n_workers": 1}
    runner = DaskTaskRunner(cluster_kwargs=options)
    options["n_workers"] = 2
    assert runner.cluster_kwargs == {"n_workers": 1}
    assert runner.client_kwargs == {"set_as_default": False}
    assert runner.adapt_kwargs == {}


@pytest.mark.parametrize(
    ("options", "others"),
    [
        ({"address": "tcp://a:1"}, {"address": "tcp://b:1"}),
        ({"cluster_kwargs": {"n_workers": 1}}, {"cluster_kwargs": {"n_workers": 2}}),
        ({"adapt_kwargs": {"maximum": 1}}, {}),
        ({"client_kwargs": {"name": "x"}}, {}),
    ],
    ids=["address", "cluster", "adapt", "client"],
)
def test_runners_are_equal_by_their_options(options: dict[str, Any], others: dict[str, Any]) -> None:
    assert DaskTaskRunner(**options) == DaskTaskRunner(**options).duplicate()
    assert DaskTaskRunner(**options) != DaskTaskRunner(**others)


def test_the_name_is_that_of_the_entry_point() -> None:
    assert DaskTaskRunner().name == "dask"
    assert isinstance(task_runner_named("dask"), DaskTaskRunner)


def test_threads_are_concurrent_and_processes_parallel() -> None:
    assert DaskTaskRunner().concurrency_type is TaskConcurrencyType.CONCURRENT
    runner = DaskTaskRunner(cluster_kwargs={"processes": True})
    assert runner.concurrency_type is TaskConcurrencyType.PARALLEL


def test_a_scheduler_that_is_not_there_is_named() -> None:
    runner = DaskTaskRunner(address="tcp://127.0.0.1:1", client_kwargs={"timeout": "0.5s"})
    with pytest.raises(OSError, match=r"no Dask scheduler answers at 'tcp://127.0.0.1:1'"), runner.start():
        pass


def any_client(**options: Any) -> AbstractContextManager[Any]:
    return get_dask_client(**options)  # `Client` is hardly typed


@task
def worker_facts() -> dict[str, Any]:
    from distributed import get_worker

    worker: Any = get_worker()
    key = worker.get_current_task()
    state = worker.state.tasks[key]
    return {"key": key, "priority": state.priority[0], "resources": state.resource_restrictions, "name": worker.name}


@pytest.fixture(scope="module")
def special() -> Any:
    workers: dict[str, Any] = {"resources": {"GPU": 2}, "dashboard_address": "127.0.0.1:0"}
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=False, **workers) as cluster:
        yield cluster


def test_annotations_hold_around_submit_and_map(special: Any) -> None:
    @flow(task_runner=DaskTaskRunner(cluster=special))
    def annotated() -> list[dict[str, Any]]:
        with annotate(priority=7, resources={"GPU": 1}):
            one = worker_facts.submit()
            mapped = task(lambda x: worker_facts.fn()).map([1])
        with annotate(workers=[1]):
            placed = worker_facts.submit()
        return [one.result(), mapped[0].result(), placed.result(), worker_facts.submit().result()]

    one, mapped, placed, plain = annotated()
    assert (one["priority"], one["resources"]) == (-7, {"GPU": 1})
    assert (mapped["priority"], mapped["resources"]) == (-7, {"GPU": 1})
    assert placed["name"] == 1
    assert (plain["priority"], plain["resources"] or {}) == (0, {})


def test_annotations_are_those_of_the_submit_call_when_inputs_come_late(special: Any) -> None:
    @task(retries=1, retry_delay_seconds=5)
    def first() -> None: ...

    @flow(task_runner=DaskTaskRunner(cluster=special))
    def annotated() -> int:
        with annotate(priority=3):
            # A task that may leave its place to retry is not handed on before it is done.
            late = worker_facts.submit(wait_for=[first.submit()])
        return late.result()["priority"]

    assert annotated() == -3


def test_retries_of_an_annotation_are_retries_of_the_task(special: Any, tmp_path: Path) -> None:
    @task
    def flaky() -> str:
        if not (tmp_path / "been").exists():
            (tmp_path / "been").touch()
            raise ValueError("once")
        return "at last"

    @flow(task_runner=DaskTaskRunner(cluster=special))
    def annotated() -> tuple[str, int]:
        with annotate(retries=1):
            future = flaky.submit()
        return future.result(), future.task_run.run_count

    assert annotated() == ("at last", 2)


def test_retries_of_an_annotation_are_those_of_every_call_of_a_batch(special: Any, tmp_path: Path) -> None:
    @task
    def flaky(name: str) -> str:
        if not (tmp_path / name).exists():
            (tmp_path / name).touch()
            raise ValueError("once")
        return name

    @flow(task_runner=DaskTaskRunner(cluster=special))
    def annotated() -> list[str]:
        with annotate(retries=1):
            return flaky.map(["a", "b", "c"], batch_size=3).result()

    assert annotated() == ["a", "b", "c"]


def test_the_key_names_the_task_run(special: Any) -> None:
    @flow(task_runner=DaskTaskRunner(cluster=special))
    def keys() -> tuple[str, str]:
        future = worker_facts.submit()
        return future.result()["key"], f"{future.name}-{future.task_run.id.hex}-1-0"

    found, wanted = keys()
    assert found == wanted


def test_a_temporary_cluster_is_closed_when_the_flow_fails(caplog: pytest.LogCaptureFixture) -> None:
    made: list[Any] = []

    def factory(**kwargs: Any) -> LocalCluster:
        made.append(LocalCluster(processes=False, dashboard_address="127.0.0.1:0", **kwargs))
        return made[-1]

    @flow(task_runner=DaskTaskRunner(cluster_class=factory, cluster_kwargs={"n_workers": 1}))
    def failing() -> None:
        assert worker_facts.submit().result()["name"] == 0
        raise ValueError("on purpose")

    with caplog.at_level(logging.INFO), pytest.raises(ValueError, match="on purpose"):
        failing()
    assert made[0].status.name == "closed"
    assert any("Creating a new Dask cluster with" in record.message for record in caplog.records)


@pytest.mark.parametrize("default", [(), (True,)], ids=["required", "true by default"])
def test_a_factory_is_told_that_it_shall_not_be_asynchronous(default: tuple[bool, ...]) -> None:
    def factory(asynchronous: bool) -> LocalCluster:
        return LocalCluster(n_workers=1, processes=False, dashboard_address="127.0.0.1:0", asynchronous=asynchronous)

    factory.__defaults__ = default

    @flow(task_runner=DaskTaskRunner(cluster_class=factory))
    def made() -> dict[str, Any]:
        return worker_facts.submit().result()

    assert made()["name"] == 0


def test_an_adaptive_cluster_grows() -> None:
    options = {"n_workers": 0, "threads_per_worker": 1, "processes": False, "dashboard_address": "127.0.0.1:0"}
    runner = DaskTaskRunner(cluster_kwargs=options, adapt_kwargs={"minimum": 0, "maximum": 2, "interval": "20ms"})

    @flow(task_runner=runner)
    def adaptive() -> list[int]:
        return [future.result() for future in task(lambda x: x + 1).map(range(4))]

    assert adaptive() == [1, 2, 3, 4]


def test_a_dask_future_is_an_argument_like_its_value(special: Any) -> None:
    @task
    def total(parts: dict[str, list[Any]]) -> int:
        return sum(sum(part) for part in parts["all"])

    @flow(task_runner=DaskTaskRunner(cluster=special))
    def references() -> int:
        with any_client() as client:
            held = client.scatter([1, 2, 3])
            made = client.submit(lambda: [10, 20])
            return total.submit({"all": [*held[:0], made, [100]]}).result()

    assert references() == 130


def test_collections_are_computed_in_a_task(special: Any) -> None:
    @task
    def compute() -> int:
        with any_client() as client:
            return sum(client.gather(client.map(lambda x: x * x, range(5))))

    @task
    async def compute_async() -> int:
        async with get_async_dask_client() as client:
            return await client.submit(lambda: 42)

    @flow(task_runner=DaskTaskRunner(cluster=special))
    def calls() -> list[int]:
        # As many as there are places: they would wait for each other if they kept theirs.
        return [future.result() for future in [compute.submit(), compute.submit(), compute_async.submit()]]

    assert calls() == [30, 30, 42]


def test_a_client_of_a_flow_is_on_its_cluster(special: Any) -> None:
    @flow(task_runner=DaskTaskRunner(cluster=special))
    def addresses() -> tuple[str, int]:
        with any_client(timeout=5) as client:
            assert type(client) is Client
            client = cast("Any", client)
            return client.scheduler.address, client.submit(lambda: 3).result()

    assert addresses() == (special.scheduler_address, 3)


def test_values_that_are_returned_outlive_the_cluster() -> None:
    @flow(
        task_runner=DaskTaskRunner(
            cluster_kwargs={"processes": False, "n_workers": 1, "dashboard_address": "127.0.0.1:0"}
        )
    )
    def returns_future() -> Any:
        return task(lambda: list(range(5_000))).submit()

    state = returns_future(return_state=True)
    assert state.result().result() == list(range(5_000))


def test_a_chunk_keeps_a_run_per_call_and_hands_its_values_on(special: Any) -> None:
    @task
    def numbers(x: int) -> list[int]:
        if x == 7:
            raise ValueError("seven")
        return [x] * 1_000

    total = task(sum)

    @flow(task_runner=DaskTaskRunner(cluster=special))
    def chunks() -> tuple[list[str], list[Any]]:
        made = numbers.map(range(10), batch_size=5)
        totals = [total.submit(future) for future in made]
        states = [future.wait() for future in made]
        return [state.name for state in states], [future.wait().name for future in totals] + [made[3].result()[0]]

    names, consumers = chunks(return_state=True).result()
    assert names == ["Completed"] * 7 + ["Failed"] + ["Completed"] * 2
    assert consumers == ["Completed"] * 7 + ["NotReady"] + ["Completed"] * 2 + [3]


def test_a_value_is_freed_when_nobody_refers_to_its_future(special: Any) -> None:
    @flow(task_runner=DaskTaskRunner(cluster=special))
    def freed() -> tuple[int, bool]:
        big = task(lambda: list(range(5_000)))
        used = task(len).submit(big.submit())
        length = used.result()
        del used
        keys = special.scheduler.tasks
        deadline = time.monotonic() + 90
        while any(key.startswith(("lambda", "<lambda>", "len")) for key in list(keys)) and time.monotonic() < deadline:
            time.sleep(0.01)
        return length, any(key.startswith(("lambda", "<lambda>", "len")) for key in list(keys))

    assert freed() == (5_000, False)


def test_nothing_of_a_flow_run_stays_on_the_scheduler(special: Any) -> None:
    @flow(task_runner=DaskTaskRunner(cluster=special))
    def done() -> int:
        return task(lambda: 1).submit().result()

    assert done() == 1
    scheduler = special.scheduler
    assert not [key for key in scheduler.task_metadata if str(key).startswith("flowyard:")]
    assert not [topic for topic in scheduler._broker._topics if topic.startswith("flowyard:")]


def test_a_batched_map_over_a_batched_map_depends_chunk_on_chunk_and_values_stay(
    special: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    graphs: list[Any] = []

    def see(client: Any, nodes: Any, annotations: Any) -> Any:
        graphs.extend((node.key, list(node.dependencies)) for node in nodes)
        return send_graph(client, nodes, annotations)

    fetched: list[Any] = []
    fetch = Values.fetch
    monkeypatch.setattr(sending, "send_graph", see)
    monkeypatch.setattr(Values, "fetch", lambda self, *place: fetched.append(place) or fetch(self, *place))

    @task
    def grow(x: int) -> list[int]:
        return [x] * 1_000

    @task
    def more(values: list[int]) -> list[int]:
        return [value + 1 for value in values]

    @flow(task_runner=DaskTaskRunner(cluster=special))
    def chunks() -> int:
        grown = grow.map(range(40), batch_size=10)
        futures = more.map(grown, batch_size=10)
        states = [future.wait() for future in futures]
        again = [future.wait() for future in more.map(grown, batch_size=20)]
        assert {state.name for state in [*states, *again]} == {"Completed"}
        assert not fetched, "a value came to the flow's process on its way"
        return sum(futures[39].result())

    assert chunks() == 40_000
    own = [key for key, _ in graphs if key.startswith("grow-")]
    firsts = [needs for key, needs in graphs if key.startswith("more-")]
    assert len(own) == 4
    assert firsts == [[key] for key in own] + [own[:2], own[2:]]


def test_workers_log_at_the_level_of_the_flow(processes: LocalCluster) -> None:
    @task
    def level() -> str:
        return logging.getLevelName(logging.getLogger("flowyard.task_runs").getEffectiveLevel())

    @flow(task_runner=DaskTaskRunner(cluster=processes))
    def levels() -> str:
        return level.submit().result()

    found: list[str] = []
    for wanted in ("ERROR", "DEBUG"):
        with temporary_settings({FLOWYARD_LOGGING_LEVEL: wanted}):
            found.append(levels())
    assert found == ["ERROR", "DEBUG"]
