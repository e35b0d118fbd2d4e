"""Calling functions with parameters by name, under the names that code written for Prefect 2 imports."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from flowyard.parameters.binding import CallSignature, raise_for_reserved_arguments
from flowyard.parameters.schema import ParameterSchema, parameter_docstrings, parameter_schema

__all__ = [
    "ParameterSchema",
    "call_with_parameters",
    "cloudpickle_wrapped_call",
    "collapse_variadic_parameters",
    "explode_variadic_parameter",
    "get_call_parameters",
    "get_parameter_defaults",
    "parameter_docstrings",
    "parameter_schema",
    "parameters_to_args_kwargs",
    "raise_for_reserved_arguments",
]


def get_call_parameters(
    fn: Callable[..., Any], call_args: tuple[Any, ...], call_kwargs: Mapping[str, Any], apply_defaults: bool = True
) -> dict[str, Any]:
    """Return the parameters of a call by name.

    Raises:
        ParameterBindError: the arguments do not fit the signature.
    """
    signature = CallSignature(fn)
    parameters = signature.bind(call_args, call_kwargs)
    if apply_defaults:
        return parameters
    given = inspect.signature(fn).bind(*call_args, **call_kwargs).arguments
    return {name: value for name, value in parameters.items() if name in given}


def get_parameter_defaults(fn: Callable[..., Any]) -> dict[str, Any]:
    """Return the default values of a function's parameters; those without one are left out."""
    return dict(CallSignature(fn).defaults)


def explode_variadic_parameter(fn: Callable[..., Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters with the items of ``**kwargs`` as parameters of their own."""
    return CallSignature(fn).explode_variadic(parameters)


def collapse_variadic_parameters(fn: Callable[..., Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters with those that the signature does not name gathered in ``**kwargs``.

    Raises:
        SignatureMismatchError: there are such parameters, and the function has no ``**kwargs``.
    """
    return CallSignature(fn).collapse_variadic(parameters)


def parameters_to_args_kwargs(
    fn: Callable[..., Any], parameters: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments that call a function with these parameters.

    Raises:
        SignatureMismatchError: there are parameters that the function does not have.
    """
    return CallSignature(fn).to_call(parameters)


def call_with_parameters(fn: Callable[..., Any], parameters: Mapping[str, Any]) -> Any:
    """Call a function with parameters by name, and return what it returns."""
    args, kwargs = CallSignature(fn).to_call(parameters)
    return fn(*args, **kwargs)


def cloudpickle_wrapped_call(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Callable[[], bytes]:
    """Return a function without arguments that makes this call and returns its result pickled.

    What it closes over is pickled already, so it can be sent to processes that only know the standard pickle.
    """
    cloudpickle = importlib.import_module("cloudpickle")
    return _PickledCall(cloudpickle.dumps((fn, args, kwargs)))


class _PickledCall:
    def __init__(self, payload: bytes) -> None:
        self.payload = payload

    def __call__(self) -> bytes:
        cloudpickle = importlib.import_module("cloudpickle")
        fn, args, kwargs = cloudpickle.loads(self.payload)
        return cloudpickle.dumps(fn(*args, **kwargs))
