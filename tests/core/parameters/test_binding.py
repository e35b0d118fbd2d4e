from __future__ import annotations

import inspect

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowyard.exceptions import ParameterBindError, ReservedArgumentError, SignatureMismatchError
from flowyard.parameters.binding import CallSignature, raise_for_reserved_arguments


def plain(a, b=2, c=3):
    return a, b, c


def keyword_only(a, *, b=2):
    return a, b


def positional_only(a, b=2, /, c=3):
    return a, b, c


def variadic(a, *args, b=2, **kwargs):
    return a, args, b, kwargs


def nothing():
    return ()


FUNCTIONS = [plain, keyword_only, positional_only, variadic, nothing]


@pytest.mark.parametrize("fn", FUNCTIONS)
@given(st.lists(st.integers(), max_size=4), st.dictionaries(st.sampled_from("abcd"), st.integers(), max_size=3))
def test_binding_agrees_with_python(fn, args, kwargs):
    signature = CallSignature(fn)
    try:
        bound = inspect.signature(fn).bind(*args, **kwargs)
    except TypeError:
        with pytest.raises(ParameterBindError):
            signature.bind(tuple(args), kwargs)
        return
    bound.apply_defaults()
    parameters = signature.bind(tuple(args), kwargs)
    assert parameters == bound.arguments
    assert list(parameters) == list(bound.arguments)
    call_args, call_kwargs = signature.to_call(parameters)
    assert fn(*call_args, **call_kwargs) == fn(*args, **kwargs)


def test_a_call_that_does_not_fit_names_function_argument_and_signature():
    with pytest.raises(ParameterBindError) as caught:
        CallSignature(plain).bind((), {"b": 7})
    message = str(caught.value)
    assert "'plain'" in message
    assert "missing a required argument: 'a'" in message
    assert "plain(a, b=2, c=3)" in message
    assert "{'b': 7}" in message
    assert isinstance(caught.value, TypeError)


def test_unknown_parameters_are_refused_by_name():
    with pytest.raises(SignatureMismatchError, match=r"'plain' has no parameter 'z'.*\['a', 'b', 'c'\]"):
        CallSignature(plain).to_call({"a": 1, "z": 2})


def test_missing_parameters_are_left_to_the_defaults():
    args, kwargs = CallSignature(plain).to_call({"a": 1, "c": 9})
    assert plain(*args, **kwargs) == (1, 2, 9)


def test_parameters_in_any_order_reach_their_places():
    args, kwargs = CallSignature(plain).to_call({"c": 3, "a": 1, "b": 2})
    assert plain(*args, **kwargs) == (1, 2, 3)


def test_a_positional_parameter_after_a_missing_one_is_refused():
    with pytest.raises(SignatureMismatchError, match=r"'b'.*positional"):
        CallSignature(positional_only).to_call({"b": 1})


def test_keyword_arguments_explode_and_collapse():
    signature = CallSignature(variadic)
    parameters = signature.bind((1, 2), {"x": 3, "b": 4})
    exploded = signature.explode_variadic(parameters)
    assert exploded == {"a": 1, "args": (2,), "b": 4, "x": 3}
    assert signature.collapse_variadic(exploded) == parameters
    assert signature.accepts_var_keyword


def test_a_keyword_argument_with_the_name_of_the_variadic_parameter_survives():
    signature = CallSignature(variadic)
    parameters = signature.bind((1,), {"x": 1})
    assert signature.collapse_variadic({"a": 1, "args": (), "b": 2, "x": 1}) == parameters


def test_collapsing_refuses_what_the_function_cannot_take():
    with pytest.raises(SignatureMismatchError, match=r"no parameter 'x' and no `\*\*kwargs`"):
        CallSignature(plain).collapse_variadic({"a": 1, "x": 2})


def test_exploding_refuses_a_name_that_is_taken():
    def taken(a, /, **kwargs): ...

    signature = CallSignature(taken)
    with pytest.raises(ParameterBindError, match="'a'"):
        signature.explode_variadic(signature.bind((1,), {"a": 2}))


def test_a_default_may_be_declared_with_a_pydantic_field():
    def fn(a, b=pydantic.Field(default=2), c=pydantic.Field(default_factory=list)): ...  # noqa: B008

    signature = CallSignature(fn)
    first, second = signature.bind((1,), {}), signature.bind((1,), {})
    assert first == {"a": 1, "b": 2, "c": []}
    assert first["c"] is not second["c"]
    assert signature.bind((1, 5), {"c": [1]}) == {"a": 1, "b": 5, "c": [1]}


def test_a_field_without_default_is_a_required_argument():
    def fn(a=pydantic.Field(gt=0)): ...  # noqa: B008

    with pytest.raises(ParameterBindError, match=r"missing a required argument: 'a', which is declared with a `Field`"):
        CallSignature(fn).bind((), {})


def test_functions_without_a_signature_are_refused_with_the_way_out():
    with pytest.raises(TypeError, match="wrap it in a function"):
        CallSignature(type)


def test_a_reserved_parameter_name_is_refused():
    def fn(x, return_state): ...

    with pytest.raises(ReservedArgumentError, match="'return_state' is a reserved argument name"):
        raise_for_reserved_arguments(fn, ["return_state", "wait_for"])
    raise_for_reserved_arguments(fn, ["wait_for"])
