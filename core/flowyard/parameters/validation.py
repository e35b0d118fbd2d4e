"""Checks and converts parameters to their annotated types, with pydantic."""

from __future__ import annotations

import importlib
import inspect
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, timedelta
from typing import Annotated, Any, Union
from uuid import UUID

from flowyard.exceptions import ParameterTypeError
from flowyard.parameters.binding import is_pydantic_field

_UNCHECKED: frozenset[Any] = frozenset({Any, object, inspect.Parameter.empty})
# pydantic returns values of exactly these types as they are: no need to load it (40 ms) for them.
_EXACT: frozenset[Any] = frozenset(
    {int, float, str, bytes, bool, type(None), datetime, date, timedelta, UUID, list, dict, set, frozenset, tuple}
)


def resolve_annotations(fn: Callable[..., Any]) -> dict[str, Any]:
    """Return the annotations of a function's parameters by name, as types.

    Annotations that are text are looked up where the function is defined. One that cannot be found there (a name that
    only type checkers import) or is no Python (a remark) counts as `Any`.
    """
    parameters = inspect.signature(fn).parameters
    namespace = _Namespace(fn)
    return {name: namespace.resolve(parameter.annotation) for name, parameter in parameters.items()}


class _Namespace:
    """The names that a function's annotations can use."""

    def __init__(self, fn: Callable[..., Any]) -> None:
        unwrapped = inspect.unwrap(fn)
        unwrapped = getattr(unwrapped, "__func__", unwrapped)
        if not hasattr(unwrapped, "__globals__"):  # an object with `__call__`, or a `functools.partial`
            unwrapped = getattr(unwrapped, "func", None) or type(unwrapped).__call__
        self.globals: dict[str, Any] = getattr(unwrapped, "__globals__", {})
        code = getattr(unwrapped, "__code__", None)
        cells = getattr(unwrapped, "__closure__", None) or ()
        self.locals: dict[str, Any] = {}
        for name, cell in zip(code.co_freevars if code else (), cells, strict=False):
            try:
                self.locals[name] = cell.cell_contents
            except ValueError:  # not assigned yet
                continue

    def resolve(self, annotation: Any) -> Any:
        holder = types.SimpleNamespace(__annotations__={"it": annotation})
        try:
            return typing.get_type_hints(holder, self.globals, self.locals, include_extras=True)["it"]
        except (NameError, AttributeError, SyntaxError):
            return Any
        except TypeError:  # not a type for `typing`; pydantic may know it
            return annotation


class ParameterValidator:
    """Checks the parameters of one function. pydantic is loaded when a value really needs it.

    Values are converted where pydantic can ("5" for `int`, a dict for a model, text for a `datetime`). Any class is
    allowed as an annotation. A parameter whose default is None takes None, whatever its annotation. Parameters without
    annotation are left alone.
    """

    __slots__ = ("_fn", "_found", "_function_name", "_model", "_parameters")

    def __init__(self, fn: Callable[..., Any]) -> None:
        """Read the annotations of a function.

        Raises:
            ValueError: models of pydantic 1 and 2 are mixed in one signature.
        """
        self._function_name: str = getattr(fn, "__name__", type(fn).__name__)
        self._parameters = inspect.signature(fn).parameters
        self._fn = fn
        self._found: dict[str, Any] | None = None
        self._model: _Model | None = None
        if "pydantic.v1" in sys.modules:
            self._refuse_mixed_versions()

    def _annotations(self) -> dict[str, Any]:
        """Return what is to be checked; found out at the first call, when names defined below the function exist."""
        if self._found is None:
            found = resolve_annotations(self._fn)
            self._found = {name: annotation for name, annotation in found.items() if not _is_unchecked(annotation)}
        return self._found

    def _refuse_mixed_versions(self) -> None:
        found = resolve_annotations(self._fn)
        old = [name for name, annotation in found.items() if _has_model(annotation, version=1)]
        new = [name for name, annotation in found.items() if _has_model(annotation, version=2)]
        if old and new:
            raise ValueError(
                f"the parameters of {self._function_name!r} mix models of pydantic 1 ({', '.join(old)}) and of "
                f"pydantic 2 ({', '.join(new)}): use `pydantic.BaseModel` for all of them, or pass "
                "`validate_parameters=False`"
            )

    def validate(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters with their values converted.

        Raises:
            ParameterTypeError: names every parameter that does not fit, its value, and what was expected.
        """
        validated = dict(parameters)
        waiting: dict[str, Any] = {}
        for name, annotation in self._annotations().items():
            if name not in validated:
                continue
            value = validated[name]
            parameter = self._parameters[name]
            if value is None and parameter.default is None:
                continue
            has_constraints = is_pydantic_field(parameter.default)
            if parameter.kind not in _VARIADIC and not has_constraints and _fits_exactly(value, annotation):
                continue
            waiting[name] = value
        if waiting:
            if self._model is None:
                self._model = self._make_model()
            validated.update(self._model.validate(waiting))
        return validated

    def _make_model(self) -> _Model:
        fields: dict[str, Any] = {}
        for name, annotation in self._annotations().items():
            kind = self._parameters[name].kind
            if kind is inspect.Parameter.VAR_POSITIONAL:
                annotation = tuple[annotation, ...]
            elif kind is inspect.Parameter.VAR_KEYWORD:
                annotation = dict[str, annotation]
            default = self._parameters[name].default
            if is_pydantic_field(default):  # `x: int = Field(gt=0)`
                annotation = Annotated[annotation, default]
            fields[name] = annotation
        return _Model(self._function_name, fields)


_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class _Model:
    """A pydantic model with one field per parameter.

    The fields are numbered: a parameter's own name may be one that pydantic does not allow (`_x`, `model_config`).
    """

    def __init__(self, function_name: str, annotations: dict[str, Any]) -> None:
        # slow to import, and only needed when a value has to be looked at closely
        import pydantic  # noqa: PLC0415

        self._function_name = function_name
        self._annotations = annotations
        self._fields = {name: f"p{index}" for index, name in enumerate(annotations)}
        self._names = {field: name for name, field in self._fields.items()}
        self._errors: type[Exception]
        self._check: Callable[[dict[str, Any]], Any]
        definitions: dict[str, Any] = {
            self._fields[name]: (annotation, None) for name, annotation in annotations.items()
        }
        try:
            if any(_has_model(annotation, version=1) for annotation in annotations.values()):
                # untyped on purpose: the stubs of version 1 are only partly known to type checkers
                old: Any = importlib.import_module("pydantic.v1")
                old_config = type("Config", (), {"arbitrary_types_allowed": True})
                old_model = old.create_model("Parameters", __config__=old_config, **definitions)
                self._check, self._errors = old_model.parse_obj, old.ValidationError
            else:
                config = pydantic.ConfigDict(arbitrary_types_allowed=True)
                new = pydantic.create_model("Parameters", __config__=config, **definitions)
                self._check, self._errors = new.model_validate, pydantic.ValidationError
        except (TypeError, pydantic.errors.PydanticUserError) as error:
            raise ParameterTypeError(
                f"the annotations of {function_name!r} cannot be checked: {error}; change them, or pass "
                "`validate_parameters=False` to the flow"
            ) from error

    def validate(self, values: Mapping[str, Any]) -> dict[str, Any]:
        try:
            checked = self._check({self._fields[name]: value for name, value in values.items()})
        except self._errors as error:
            raise ParameterTypeError(self._describe(values, error)) from None
        return {name: getattr(checked, self._fields[name]) for name in values}

    def _describe(self, values: Mapping[str, Any], error: Any) -> str:
        lines = [f"{self._function_name!r} received invalid parameters:"]
        for problem in error.errors():
            name = self._names.get(str(problem["loc"][0]), "?")
            inner = "".join(f"[{step!r}]" for step in problem["loc"][1:])
            value = problem.get("input", values.get(name))
            shown = repr(value)
            if len(shown) > 120:
                shown = f"{shown[:117]}..."
            lines.append(
                f" - {name}{inner}: {problem['msg']} (got {shown}, a {type(value).__name__}; "
                f"the parameter is annotated `{inspect.formatannotation(self._annotations[name])}`)"
            )
        return "\n".join(lines)


def _is_unchecked(annotation: Any) -> bool:
    try:
        return annotation in _UNCHECKED
    except TypeError:  # not hashable
        return False


def _fits_exactly(value: Any, annotation: Any) -> bool:
    """Say whether pydantic would return this value as it is, as far as that is known without loading it."""
    kind: type[Any] = value.__class__
    if kind not in _EXACT:
        return False
    if annotation is kind:
        return True
    if typing.get_origin(annotation) in (Union, types.UnionType):
        return any(option is kind for option in typing.get_args(annotation))
    return annotation is None and value is None


def _parts(annotation: Any) -> Iterator[Any]:
    """Yield an annotation and everything it is made of."""
    yield annotation
    for part in typing.get_args(annotation):
        yield from _parts(part)


def _has_model(annotation: Any, *, version: int) -> bool:
    module = sys.modules.get("pydantic.v1" if version == 1 else "pydantic")
    base = getattr(module, "BaseModel", None)
    return base is not None and any(isinstance(part, type) and issubclass(part, base) for part in _parts(annotation))
