"""What the runner and `remote_options` accept, without a cluster."""

from __future__ import annotations

import pytest

from flowyard.task_runners.registry import task_runner_named
from flowyard.tasks import task
from flowyard_ray import RayTaskRunner, RemoteOptionsContext, remote_options
from flowyard_ray.context import max_calls_of, options_of_call


def test_the_runner_is_found_by_its_name() -> None:
    assert task_runner_named("ray") == RayTaskRunner()


def test_the_namespace_is_flowyard_unless_given() -> None:
    assert RayTaskRunner().init_kwargs == {"namespace": "flowyard"}
    assert RayTaskRunner(init_kwargs={"namespace": "mine"}).init_kwargs == {"namespace": "mine"}


def test_options_are_copied_and_compared() -> None:
    given = {"num_cpus": 2}
    runner = RayTaskRunner(init_kwargs=given)
    given["num_cpus"] = 3
    assert runner.init_kwargs["num_cpus"] == 2
    assert runner.duplicate() == runner
    assert runner != RayTaskRunner(address="auto")


@pytest.mark.parametrize("value", [0, -1, 1.5, True])
def test_max_pending_must_be_a_positive_number(value: object) -> None:
    with pytest.raises(ValueError, match=f"max_pending={value!r}"):
        RayTaskRunner(max_pending=value)  # type: ignore[arg-type]


def test_nested_options_add_up_and_the_inner_one_wins() -> None:
    with remote_options(num_cpus=4, num_gpus=2):
        with remote_options(num_cpus=1, resources={"special": 1}):
            inner = RemoteOptionsContext.get().current_remote_options
        outer = RemoteOptionsContext.get().current_remote_options
    assert inner == {"num_cpus": 1, "num_gpus": 2, "resources": {"special": 1}}
    assert outer == {"num_cpus": 4, "num_gpus": 2}
    assert RemoteOptionsContext.get().current_remote_options == {}


@pytest.mark.parametrize(
    "options", [{"num_returns": 3}, {"name": "x"}, {"num_cpu": 1}, {"num_cpus": -1}, {"max_calls": -1}]
)
def test_an_option_that_ray_or_flowyard_refuses_is_named_where_it_is_written(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        remote_options(**options)


def test_options_on_a_function_are_those_of_its_task() -> None:
    @task
    @remote_options(num_cpus=2, num_gpus=1)
    def train() -> None: ...

    assert options_of_call(train.fn, None) == {"num_cpus": 2, "num_gpus": 1}
    with remote_options(num_gpus=0):
        assert options_of_call(train.fn, None) == {"num_cpus": 2, "num_gpus": 0}


@pytest.mark.parametrize(
    ("options", "calls"), [({}, 0), ({"num_gpus": 0.5}, 1), ({"num_gpus": 1, "max_calls": 0}, 0), ({"max_calls": 3}, 3)]
)
def test_a_worker_with_a_gpu_ends_after_a_call_unless_told_otherwise(options: dict[str, float], calls: int) -> None:
    with remote_options(**options):
        assert max_calls_of(RemoteOptionsContext.get().current_remote_options) == calls


def test_options_above_the_task_decorator_are_refused() -> None:
    @task
    def train() -> None: ...

    with pytest.raises(TypeError, match="below @task"):
        remote_options(num_gpus=1)(train)
