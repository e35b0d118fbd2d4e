from __future__ import annotations

import pickle

import cloudpickle
import pytest

from flowyard import annotations
from flowyard.exceptions import ParameterBindError, SignatureMismatchError
from flowyard.utilities import annotations as public_annotations
from flowyard.utilities import callables


def fn(a, b=2, *, c=3, **rest):
    return a, b, c, rest


def test_parameters_are_found_by_name():
    assert callables.get_call_parameters(fn, (1,), {"d": 4}) == {"a": 1, "b": 2, "c": 3, "rest": {"d": 4}}
    assert callables.get_call_parameters(fn, (1,), {}, apply_defaults=False) == {"a": 1}
    assert callables.get_parameter_defaults(fn) == {"b": 2, "c": 3}
    with pytest.raises(ParameterBindError):
        callables.get_call_parameters(fn, (), {})


def test_a_function_is_called_with_parameters():
    assert callables.call_with_parameters(fn, {"a": 1, "b": 5, "c": 6, "rest": {"d": 7}}) == (1, 5, 6, {"d": 7})
    assert callables.parameters_to_args_kwargs(fn, {"a": 1, "c": 6}) == ((1,), {"c": 6})
    with pytest.raises(SignatureMismatchError):
        callables.call_with_parameters(fn, {"z": 1})


def test_keyword_arguments_explode_and_collapse():
    exploded = callables.explode_variadic_parameter(fn, {"a": 1, "rest": {"d": 4}})
    assert exploded == {"a": 1, "d": 4}
    assert callables.collapse_variadic_parameters(fn, exploded) == {"a": 1, "rest": {"d": 4}}


def test_a_pickled_call_travels_with_the_standard_pickle():
    wrapped = callables.cloudpickle_wrapped_call(lambda x, y: x + y, 1, y=2)
    assert cloudpickle.loads(pickle.loads(pickle.dumps(wrapped))()) == 3


def test_the_public_annotations_are_the_real_ones():
    for name in public_annotations.__all__:
        assert getattr(public_annotations, name) is getattr(annotations, name)
