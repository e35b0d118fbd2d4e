# Wrong options are given on purpose, contexts are known by the test.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportFunctionMemberAccess=false
# pyright: reportUntypedFunctionDecorator=false
from __future__ import annotations

import functools
import hashlib
import inspect
from pathlib import Path

import cloudpickle
import pytest

from flowyard import Flow, flow
from flowyard.exceptions import InvalidNameError, ReservedArgumentError
from flowyard.settings import (
    FLOWYARD_FLOW_DEFAULT_RETRIES,
    FLOWYARD_FLOW_DEFAULT_RETRY_DELAY_SECONDS,
    temporary_settings,
)
from flowyard.task_runners import ConcurrentTaskRunner, SequentialTaskRunner


def hook(flow, flow_run, state):
    """A hook that does nothing."""


def other_hook(flow, flow_run, state):
    """Another one."""


DEFAULTS = {
    "name": "say-hello",
    "flow_run_name": None,
    "retries": None,
    "retry_delay_seconds": None,
    "task_runner": ConcurrentTaskRunner(),
    "description": None,
    "timeout_seconds": None,
    "should_validate_parameters": True,
    "persist_result": None,
    "result_storage": None,
    "result_serializer": None,
    "cache_result_in_memory": True,
    "log_prints": None,
    "on_completion": (),
    "on_failure": (),
    "on_cancellation": (),
    "on_crashed": (),
    "on_running": (),
    "isasync": False,
}


@pytest.mark.parametrize("decorator", [flow, flow(), Flow], ids=["bare", "called", "class"])
def test_an_option_that_is_not_given_has_its_default(decorator):
    @decorator
    def say_hello():
        pass

    assert {option: getattr(say_hello, option) for option in DEFAULTS} == DEFAULTS


OPTIONS = {
    "name": ("greeting", "greeting"),
    "version": ("7", "7"),
    "flow_run_name": ("run-{name}", "run-{name}"),
    "retries": (3, 3),
    "retry_delay_seconds": (1.5, 1.5),
    "description": ("Says it.", "Says it."),
    "timeout_seconds": (4, 4.0),
    "persist_result": (True, True),
    "result_serializer": ("json", "json"),
    "cache_result_in_memory": (False, False),
    "log_prints": (True, True),
    "on_completion": ([hook], (hook,)),
    "on_failure": ([hook, other_hook], (hook, other_hook)),
    "on_cancellation": ([hook], (hook,)),
    "on_crashed": ([hook], (hook,)),
    "on_running": ([hook], (hook,)),
}
CASES = [pytest.param(option, *pair, id=option) for option, pair in OPTIONS.items()]


@pytest.mark.parametrize(("option", "given", "kept"), CASES)
def test_an_option_is_kept_and_stays_through_with_options(option, given, kept):
    @flow(**{option: given})
    def say_hello(name):
        pass

    assert getattr(say_hello, option) == kept
    copy = say_hello.with_options(**({"name": "copy"} if option != "name" else {"retries": 1}))
    assert getattr(copy, option) == kept
    assert copy is not say_hello
    assert copy.fn is say_hello.fn


@pytest.mark.parametrize(("option", "given", "kept"), CASES)
def test_with_options_overrides_one_option_and_leaves_the_original_alone(option, given, kept):
    @flow
    def say_hello(name):
        pass

    before = getattr(say_hello, option)
    assert getattr(say_hello.with_options(**{option: given}), option) == kept
    assert getattr(say_hello, option) == before


@pytest.mark.parametrize("option", ["persist_result", "log_prints"])
def test_with_options_tells_none_from_not_given(option):
    @flow(**{option: True})
    def say_hello():
        pass

    assert getattr(say_hello.with_options(**{option: None}), option) is None
    assert getattr(say_hello.with_options(name="x"), option) is True


def test_with_options_can_turn_validation_and_retries_off():
    @flow(retries=3)
    def say_hello():
        pass

    copy = say_hello.with_options(validate_parameters=False, retries=0)
    assert copy.should_validate_parameters is False
    assert copy.retries == 0
    assert copy.with_options(name="x").should_validate_parameters is False


@pytest.mark.parametrize(
    "runner", [SequentialTaskRunner, SequentialTaskRunner(), "sequential"], ids=["class", "instance", "name"]
)
def test_the_task_runner_may_be_a_class_an_instance_or_a_name(runner):
    @flow(task_runner=runner)
    def say_hello():
        pass

    assert say_hello.task_runner == SequentialTaskRunner()
    assert say_hello.with_options(name="x").task_runner == SequentialTaskRunner()


def test_a_flow_keeps_name_docstring_and_signature_of_its_function():
    @flow
    def say_hello(name: str = "Marvin") -> str:
        """Say hello.

        Politely.
        """
        return f"hello {name}"

    assert say_hello.__name__ == "say_hello"
    assert inspect.signature(say_hello) == inspect.signature(say_hello.fn)
    assert say_hello.description == "Say hello.\n\nPolitely."
    assert say_hello.fn("you") == "hello you"


def test_the_version_is_the_hash_of_the_source_file():
    @flow
    def say_hello():
        pass

    assert say_hello.version == hashlib.md5(Path(__file__).read_bytes()).hexdigest()


def test_a_function_without_a_file_has_no_version():
    namespace = {"flow": flow}
    exec("@flow\ndef typed_in():\n    pass\n", namespace)
    assert namespace["typed_in"].version is None


def test_the_parameters_are_a_json_schema():
    @flow
    def say_hello(name: str, times: int = 3):
        pass

    assert set(say_hello.parameters.properties) == {"name", "times"}
    assert say_hello.parameters.required == ["name"]


def test_a_name_is_the_functions_with_dashes_but_an_explicit_one_stays():
    def my_long_name():
        pass

    assert flow(my_long_name).name == "my-long-name"
    assert flow(name="my_long_name")(my_long_name).name == "my_long_name"


@pytest.mark.parametrize("character", list("/%&><"))
def test_a_name_with_a_character_that_paths_cannot_carry_is_refused(character):
    with pytest.raises(InvalidNameError, match="not allowed"):
        flow(name=f"a{character}b")(lambda: None)


def test_a_lambda_needs_a_name():
    with pytest.raises(InvalidNameError):
        flow(lambda: None)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"name": 3}, TypeError, "name must be a string, not 3"),
        ({"name": len}, TypeError, "did you mean to call"),
        ({"flow_run_name": 3}, TypeError, "flow_run_name=3"),
        ({"retries": "3"}, TypeError, "retries='3'"),
        ({"retries": 1.5}, TypeError, "retries=1.5"),
        ({"retries": True}, TypeError, "retries=True"),
        ({"retries": -1}, ValueError, "retries=-1"),
        ({"retry_delay_seconds": "1"}, TypeError, "retry_delay_seconds='1'"),
        ({"retry_delay_seconds": [1, 2]}, TypeError, "retry_delay_seconds"),
        ({"timeout_seconds": "1"}, TypeError, "timeout_seconds='1'"),
        ({"timeout_seconds": -1}, ValueError, "timeout_seconds=-1"),
        ({"task_runner": 3}, TypeError, "task_runner=3"),
        ({"task_runner": dict}, TypeError, "task_runner=<class 'dict'>"),
        ({"on_completion": []}, ValueError, "on_completion"),
        ({"on_failure": hook}, TypeError, r"on_failure=.*\[my_hook\]"),
        ({"on_crashed": "hook"}, TypeError, "on_crashed"),
        ({"on_running": [hook, 3]}, TypeError, "on_running has 3 in it"),
        ({"on_cancellation": [None]}, TypeError, "on_cancellation has None in it"),
    ],
)
def test_an_option_of_a_wrong_type_is_refused_by_name(options, error, text):
    def say_hello():
        pass

    with pytest.raises(error, match=f"(?i){text}"):
        flow(**options)(say_hello)


@pytest.mark.parametrize("name", ["return_state", "wait_for"])
def test_a_reserved_parameter_name_is_refused(name):
    namespace = {}
    exec(f"def say_hello({name}=None): pass", namespace)
    with pytest.raises(ReservedArgumentError, match=name):
        flow(namespace["say_hello"])


@pytest.mark.parametrize("thing", [3, "fn"], ids=repr)
def test_only_something_that_can_be_called_can_be_a_flow(thing):
    with pytest.raises(TypeError, match="needs a function"):
        Flow(thing)


async def coroutine_function():
    pass


async def async_generator_function():
    yield 1


class AsyncCallable:
    async def __call__(self):
        pass


@pytest.mark.parametrize(
    ("fn", "is_async"),
    [
        pytest.param(coroutine_function, True, id="coroutine function"),
        pytest.param(async_generator_function, True, id="async generator"),
        pytest.param(functools.partial(coroutine_function), True, id="partial"),
        pytest.param(AsyncCallable(), True, id="callable object"),
        pytest.param(len, False, id="builtin"),
        pytest.param(functools.partial(len), False, id="partial of a builtin"),
    ],
)
def test_the_colour_of_a_flow_is_that_of_its_function(fn, is_async):
    assert Flow(fn, name="x").isasync is is_async


def test_retries_and_delay_come_from_the_settings_where_the_flow_says_nothing():
    @flow
    def say_hello():
        pass

    with temporary_settings({FLOWYARD_FLOW_DEFAULT_RETRIES: 2, FLOWYARD_FLOW_DEFAULT_RETRY_DELAY_SECONDS: 3}):
        policy = say_hello._template().policy
        own = say_hello.with_options(retries=0)._template().policy
    assert (policy.retries, policy.delays) == (2, (3.0,))
    assert own.retries == 0


def test_a_flow_travels_through_a_pickle_with_its_options():
    @flow(name="greeting", retries=2, on_completion=[hook], task_runner=SequentialTaskRunner())
    def say_hello(name):
        return f"hello {name}"

    copy = cloudpickle.loads(cloudpickle.dumps(say_hello))
    assert (copy.name, copy.retries, len(copy.on_completion)) == ("greeting", 2, 1)
    assert copy.task_runner == SequentialTaskRunner()
    assert copy.fn("you") == "hello you"
