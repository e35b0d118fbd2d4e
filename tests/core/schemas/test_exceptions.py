"""Every error of the package survives the way back from a worker."""

from __future__ import annotations

import inspect
import pickle
import typing
from typing import Any
from uuid import UUID

import cloudpickle
import pytest

from flowyard import exceptions
from flowyard.exceptions import ExternalSignal, FlowyardError, FlowyardSignal
from flowyard.schemas.states import State

CLASSES = sorted(
    {
        each
        for each in vars(exceptions).values()
        if isinstance(each, type) and issubclass(each, BaseException) and each.__module__ == exceptions.__name__
    },
    key=lambda each: each.__name__,
)
SAMPLES: dict[Any, Any] = {
    str: "some text",
    str | None: "some text",
    bool: False,
    int: 15,
    float: 2.5,
    object: ("any", "thing"),
    Any: "anything",
    UUID: UUID(int=7),
    BaseException: ValueError("inner"),
    tuple[str, ...]: ("a", "b"),
    tuple[int, ...]: (0, 1),
}


def sample(cls: type[BaseException]) -> BaseException:
    """Make an error with a value for every parameter."""
    defines_fields = next(each for each in cls.__mro__ if "__init__" in vars(each))
    if defines_fields.__module__ != exceptions.__name__:
        return cls("what happened")
    hints = typing.get_type_hints(cls.__init__)
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for parameter in list(inspect.signature(cls).parameters.values()):
        if parameter.kind is parameter.VAR_POSITIONAL:
            args.append("what happened")
        elif parameter.kind is parameter.KEYWORD_ONLY:
            kwargs[parameter.name] = State[Any]("PAUSED", message="waiting")
        else:
            args.append(SAMPLES[hints[parameter.name]])
    return cls(*args, **kwargs)


def comparable(error: BaseException) -> dict[str, Any]:
    return {
        name: repr(value) if isinstance(value, BaseException) else value
        for name, value in vars(error).items()
        if not name.startswith("__")
    }


def test_there_are_errors_to_test() -> None:
    assert len(CLASSES) > 40


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("module", [pickle, cloudpickle], ids=["pickle", "cloudpickle"])
def test_an_error_survives_pickling_with_its_text_and_fields(cls: type[BaseException], module: Any) -> None:
    error = sample(cls)
    back = pickle.loads(module.dumps(error))
    assert type(back) is cls
    assert str(back) == str(error)
    assert comparable(back) == comparable(error)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_an_error_says_something(cls: type[BaseException]) -> None:
    error = sample(cls)
    assert str(error)
    assert "object at 0x" not in str(error)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_error_has_one_of_our_bases(cls: type[BaseException]) -> None:
    assert issubclass(cls, (FlowyardError, FlowyardSignal, ExternalSignal))


def test_signals_are_not_stopped_by_except_exception() -> None:
    assert not issubclass(FlowyardSignal, Exception)
    assert not issubclass(ExternalSignal, Exception)


def test_a_field_of_every_error_is_in_its_text() -> None:
    silent = {
        cls.__name__
        for cls in CLASSES
        if isinstance(error := sample(cls), FlowyardError)
        and any(value == "some text" for value in vars(error).values())
        and "some text" not in str(error)
    }
    assert silent == set()


def test_the_traceback_of_an_error_reads_as_python_prints_it() -> None:
    try:
        raise exceptions.WorkerLost("w1", "killed")
    except exceptions.WorkerLost as error:
        text = exceptions.exception_traceback(error)
    assert text.startswith("Traceback (most recent call last):")
    assert text.endswith("flowyard.exceptions.WorkerLost: worker w1 was lost: killed\n")
