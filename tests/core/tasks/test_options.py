# Wrong options are given on purpose, contexts are known by the test.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportUntypedFunctionDecorator=false
from __future__ import annotations

import inspect
from datetime import timedelta

import cloudpickle
import pytest

from flowyard import Task, task
from flowyard.exceptions import ReservedArgumentError
from flowyard.settings import FLOWYARD_TASK_DEFAULT_RETRIES, temporary_settings
from flowyard.tasks import exponential_backoff


def hook(task, task_run, state):
    """A hook that does nothing."""


def key(context, parameters):
    return "key"


def condition(task, task_run, state):
    return True


DEFAULTS = {
    "name": "say_hello",
    "description": None,
    "tags": frozenset(),
    "version": None,
    "cache_key_fn": None,
    "cache_expiration": None,
    "task_run_name": None,
    "retries": None,
    "retry_delay_seconds": None,
    "retry_jitter_factor": None,
    "persist_result": None,
    "result_storage": None,
    "result_serializer": None,
    "result_storage_key": None,
    "cache_result_in_memory": True,
    "timeout_seconds": None,
    "log_prints": None,
    "refresh_cache": None,
    "on_completion": (),
    "on_failure": (),
    "retry_condition_fn": None,
    "viz_return_value": None,
    "crash_retries": None,
    "isasync": False,
}


@pytest.mark.parametrize("decorator", [task, task(), Task], ids=["bare", "called", "class"])
def test_an_option_that_is_not_given_has_its_default(decorator):
    @decorator
    def say_hello():
        pass

    assert {option: getattr(say_hello, option) for option in DEFAULTS} == DEFAULTS


OPTIONS = {
    "name": ("greeting", "greeting"),
    "description": ("Says it.", "Says it."),
    "tags": (["a", "b", "a"], frozenset({"a", "b"})),
    "version": ("7", "7"),
    "cache_key_fn": (key, key),
    "cache_expiration": (timedelta(days=1), timedelta(days=1)),
    "task_run_name": ("run-{name}", "run-{name}"),
    "retries": (3, 3),
    "retry_delay_seconds": ([1, 2.5], [1, 2.5]),
    "retry_jitter_factor": (0.5, 0.5),
    "persist_result": (True, True),
    "result_serializer": ("json", "json"),
    "result_storage_key": ("{parameters[name]}.bin", "{parameters[name]}.bin"),
    "cache_result_in_memory": (False, False),
    "timeout_seconds": (4, 4.0),
    "log_prints": (True, True),
    "refresh_cache": (True, True),
    "on_completion": ([hook], (hook,)),
    "on_failure": ([hook], (hook,)),
    "retry_condition_fn": (condition, condition),
    "viz_return_value": ([1], [1]),
    "crash_retries": (2, 2),
}
CASES = [pytest.param(option, *pair, id=option) for option, pair in OPTIONS.items()]


@pytest.mark.parametrize(("option", "given", "kept"), CASES)
def test_an_option_is_kept_and_stays_through_with_options(option, given, kept):
    @task(**{option: given})
    def say_hello(name):
        pass

    assert getattr(say_hello, option) == kept
    copy = say_hello.with_options(**({"name": "copy"} if option != "name" else {"retries": 1}))
    assert getattr(copy, option) == kept
    assert copy is not say_hello


@pytest.mark.parametrize(("option", "given", "kept"), CASES)
def test_with_options_overrides_one_option_and_leaves_the_original_alone(option, given, kept):
    @task
    def say_hello(name):
        pass

    before = getattr(say_hello, option)
    assert getattr(say_hello.with_options(**{option: given}), option) == kept
    assert getattr(say_hello, option) == before


NULLABLE = {
    "retries": 3,
    "retry_delay_seconds": 2,
    "retry_jitter_factor": 0.5,
    "persist_result": True,
    "result_serializer": "json",
    "result_storage_key": "x",
    "log_prints": True,
    "refresh_cache": True,
    "crash_retries": 1,
}


@pytest.mark.parametrize(("option", "value"), NULLABLE.items(), ids=list(NULLABLE))
def test_with_options_tells_none_from_not_given(option, value):
    @task(**{option: value})
    def say_hello():
        pass

    assert getattr(say_hello.with_options(**{option: None}), option) is None
    assert getattr(say_hello.with_options(name="x"), option) == value


def test_a_task_keeps_name_docstring_and_signature_of_its_function():
    @task
    def say_hello(name: str = "Marvin") -> str:
        """Say hello."""
        return f"hello {name}"

    assert say_hello.name == "say_hello"
    assert say_hello.__name__ == "say_hello"
    assert inspect.signature(say_hello) == inspect.signature(say_hello.fn)
    assert say_hello.description == "Say hello."
    assert say_hello.fn("you") == "hello you"


def test_the_task_key_names_the_function_and_depends_on_its_code_only():
    def make(code):
        namespace = {}
        exec(f"def say_hello():\n    return {code}\n", namespace)
        return Task(namespace["say_hello"])

    assert make("1").task_key.startswith("say_hello-")
    assert make("1").task_key == make("1").task_key
    assert make("1").task_key != make("2").task_key
    assert make("1").with_options(name="other", tags=["x"]).task_key == make("1").task_key


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"name": 3}, TypeError, "name must be a string, not 3"),
        ({"name": len}, TypeError, "did you mean to call"),
        ({"tags": "a"}, TypeError, "tags='a'"),
        ({"task_run_name": 3}, TypeError, "task_run_name=3"),
        ({"retries": "3"}, TypeError, "retries='3'"),
        ({"retries": -1}, ValueError, "retries=-1"),
        ({"retry_delay_seconds": "1"}, TypeError, "retry_delay_seconds"),
        ({"retry_delay_seconds": [1] * 51}, ValueError, "51"),
        ({"retry_delay_seconds": [1, "2"]}, TypeError, "'2'"),
        ({"retry_delay_seconds": -1}, ValueError, "-1"),
        ({"retry_jitter_factor": -0.5}, ValueError, "retry_jitter_factor=-0.5"),
        ({"timeout_seconds": "1"}, TypeError, "timeout_seconds='1'"),
        ({"retry_condition_fn": 3}, TypeError, "retry_condition_fn=3"),
        ({"crash_retries": 1.5}, TypeError, "crash_retries=1.5"),
        ({"on_completion": []}, ValueError, "on_completion"),
        ({"on_failure": hook}, TypeError, "on_failure"),
        ({"on_failure": [3]}, TypeError, "on_failure has 3 in it"),
    ],
)
def test_an_option_of_a_wrong_type_is_refused_by_name(options, error, text):
    def say_hello():
        pass

    with pytest.raises(error, match=f"(?i){text}"):
        task(**options)(say_hello)


@pytest.mark.parametrize("name", ["return_state", "wait_for"])
def test_a_reserved_parameter_name_is_refused(name):
    namespace = {}
    exec(f"def say_hello({name}=None): pass", namespace)
    with pytest.raises(ReservedArgumentError, match=name):
        task(namespace["say_hello"])


def test_only_something_that_can_be_called_can_be_a_task():
    with pytest.raises(TypeError, match="needs a function"):
        Task(3)


def test_a_callable_object_can_be_a_task():
    class Greeter:
        def __call__(self, name):
            return f"hello {name}"

    greeter = Task(Greeter())
    assert greeter.name == "Greeter"
    assert greeter.fn("you") == "hello you"
    assert greeter.task_key.endswith("Greeter")


@pytest.mark.parametrize(
    ("delay", "retries", "delays"),
    [
        pytest.param(3, 2, (3.0,), id="number"),
        pytest.param([1, 2], 5, (1.0, 2.0), id="list"),
        pytest.param(lambda retries: [retries, retries + 1], 4, (4.0, 5.0), id="function"),
        pytest.param(exponential_backoff(10), 3, (10.0, 20.0, 40.0), id="exponential"),
    ],
)
def test_delays_are_resolved_with_the_number_of_retries(delay, retries, delays):
    assert Task(len, retries=retries, retry_delay_seconds=delay)._template().policy.delays == delays


def test_retries_come_from_the_settings_where_the_task_says_nothing():
    with temporary_settings({FLOWYARD_TASK_DEFAULT_RETRIES: 2}):
        assert Task(len)._template().policy.retries == 2
        assert Task(len, retries=0)._template().policy.retries == 0
        assert Task(len, retry_delay_seconds=exponential_backoff(1))._template().policy.delays == (1.0, 2.0)


def test_a_task_travels_through_a_pickle_with_its_options():
    @task(name="greeting", retries=2, tags=["a"], on_failure=[hook])
    def say_hello(name):
        return f"hello {name}"

    copy = cloudpickle.loads(cloudpickle.dumps(say_hello))
    assert (copy.name, copy.retries, copy.tags) == ("greeting", 2, frozenset({"a"}))
    assert copy.task_key == say_hello.task_key
    assert copy.fn("you") == "hello you"
