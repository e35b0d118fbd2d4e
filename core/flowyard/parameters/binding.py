"""From the arguments of a call to parameters by name, and back."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from flowyard.exceptions import ParameterBindError, ReservedArgumentError, SignatureMismatchError

_EMPTY = inspect.Parameter.empty
_POSITIONAL_ONLY = inspect.Parameter.POSITIONAL_ONLY
_POSITIONAL_OR_KEYWORD = inspect.Parameter.POSITIONAL_OR_KEYWORD
_KEYWORD_ONLY = inspect.Parameter.KEYWORD_ONLY
_VAR_POSITIONAL = inspect.Parameter.VAR_POSITIONAL
_VAR_KEYWORD = inspect.Parameter.VAR_KEYWORD


class CallSignature:
    """The parameters of one function. Made once per flow or task; binding a call costs about 1 microsecond."""

    __slots__ = (
        "_count",
        "_defaults",
        "_fields",
        "_function_name",
        "_keywords",
        "_names_set",
        "_plain",
        "_positional",
        "_simple",
        "fn",
        "names",
        "signature",
        "var_keyword",
        "var_positional",
    )

    def __init__(self, fn: Callable[..., Any]) -> None:
        """Read the signature of a function.

        Raises:
            TypeError: the function does not tell its parameters (some that are written in C).
        """
        self.fn = fn
        self._function_name: str = getattr(fn, "__name__", type(fn).__name__)
        try:
            self.signature = inspect.signature(fn)
        except ValueError as error:
            raise TypeError(
                f"{fn!r} does not tell its parameters: wrap it in a function with `def`, and decorate that"
            ) from error
        parameters = self.signature.parameters
        kinds = {name: parameter.kind for name, parameter in parameters.items()}
        self.names: tuple[str, ...] = tuple(parameters)
        self._names_set = frozenset(parameters)
        self.var_positional: str | None = next((name for name in kinds if kinds[name] is _VAR_POSITIONAL), None)
        """The name after `*`, usually ``args``."""
        self.var_keyword: str | None = next((name for name in kinds if kinds[name] is _VAR_KEYWORD), None)
        """The name after `**`, usually ``kwargs``."""
        self._count = len(parameters)
        self._positional = tuple(
            name for name, kind in kinds.items() if kind in (_POSITIONAL_ONLY, _POSITIONAL_OR_KEYWORD)
        )
        self._keywords = frozenset(
            name for name, kind in kinds.items() if kind in (_POSITIONAL_OR_KEYWORD, _KEYWORD_ONLY)
        )
        self._defaults: dict[str, Any] = {
            name: parameter.default for name, parameter in parameters.items() if parameter.default is not _EMPTY
        }
        self._fields = {name: default for name, default in self._defaults.items() if is_pydantic_field(default)}
        # `x: int = Field(default=1, gt=0)`: the default is in the field, and may have to be made for each call
        self._simple = self.var_positional is None and self.var_keyword is None and not self._fields
        self._plain = self._simple and len(self._positional) == self._count

    @property
    def accepts_var_keyword(self) -> bool:
        """Whether the function takes any keyword argument."""
        return self.var_keyword is not None

    @property
    def defaults(self) -> Mapping[str, Any]:
        """The default values, by name."""
        return self._defaults

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters of a call by name, in the order of the signature, defaults filled in.

        ``*args`` are one tuple and ``**kwargs`` one dict, under their names.

        Raises:
            ParameterBindError: the arguments do not fit the signature.
        """
        if not self._simple:
            return self._bind_any(args, kwargs)
        if not kwargs and len(args) == len(self._positional) == self._count:
            return dict(zip(self._positional, args, strict=True))
        if len(args) > len(self._positional):
            return self._bind_any(args, kwargs)
        given = dict(zip(self._positional, args, strict=False))
        if kwargs:
            for name in kwargs:
                if name in given or name not in self._keywords:
                    return self._bind_any(args, kwargs)
            given.update(kwargs)
        try:
            # in the order of the signature, whatever the order of the keywords
            return {name: given[name] if name in given else self._defaults[name] for name in self.names}
        except KeyError:
            return self._bind_any(args, kwargs)

    def _bind_any(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise ParameterBindError(
                f"cannot call function {self._function_name!r}: {error}; its signature is "
                f"{self._function_name}{_without_annotations(self.signature)}, and the call has "
                f"args: {_shown(args)} and kwargs: {_shown(dict(kwargs))}"
            ) from None
        bound.apply_defaults()
        parameters = dict(bound.arguments)
        for name, field in self._fields.items():
            if parameters[name] is field:
                if field.is_required():
                    raise ParameterBindError(
                        f"cannot call function {self._function_name!r}: missing a required argument: {name!r}, which "
                        "is declared with a `Field` without default"
                    )
                parameters[name] = field.get_default(call_default_factory=True)
        return parameters

    def to_call(self, parameters: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments that call the function with these parameters; what is missing is left to its defaults.

        Raises:
            SignatureMismatchError: there are parameters that the function does not have.
        """
        if self._plain and len(parameters) == self._count:
            try:
                return tuple([parameters[name] for name in self._positional]), {}
            except KeyError:
                pass
        if unknown := [name for name in parameters if name not in self._names_set]:
            raise SignatureMismatchError(
                f"function {self._function_name!r} has no parameter {', '.join(map(repr, unknown))}; "
                f"its parameters are {list(self.names)}, and the call has {list(parameters)}"
            )
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        gap = False  # a positional parameter was left out: those after it go by keyword
        for name, parameter in self.signature.parameters.items():
            kind = parameter.kind
            if name not in parameters:
                gap = gap or kind in (_POSITIONAL_ONLY, _POSITIONAL_OR_KEYWORD)
            elif kind is _VAR_KEYWORD:
                kwargs.update(parameters[name])
            elif kind is _VAR_POSITIONAL:
                args.extend(self._after_gap(name, parameters[name]) if gap else parameters[name])
            elif kind is _KEYWORD_ONLY or (gap and kind is _POSITIONAL_OR_KEYWORD):
                kwargs[name] = parameters[name]
            elif gap:
                args.extend(self._after_gap(name, [parameters[name]]))
            else:
                args.append(parameters[name])
        return tuple(args), kwargs

    def _after_gap(self, name: str, values: Iterable[Any]) -> Iterable[Any]:
        given = list(values)
        if given:
            raise SignatureMismatchError(
                f"parameter {name!r} of function {self._function_name!r} is positional, and one before it is missing"
            )
        return given

    def explode_variadic(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters with the items of ``**kwargs`` as parameters of their own.

        Raises:
            ParameterBindError: one of them has the name of a positional-only parameter.
        """
        exploded = dict(parameters)
        if self.var_keyword is None or self.var_keyword not in exploded:
            return exploded
        extra: Mapping[str, Any] = exploded.pop(self.var_keyword)
        for name, value in extra.items():
            if name in self._names_set:
                raise ParameterBindError(
                    f"keyword argument {name!r} of function {self._function_name!r} has the name of one of its "
                    "parameters; rename it to map over it"
                )
            exploded[name] = value
        return exploded

    def collapse_variadic(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters with those that the signature does not name gathered in ``**kwargs``.

        Raises:
            SignatureMismatchError: there are such parameters, and the function has no ``**kwargs``.
        """
        known: dict[str, Any] = {}
        extra: dict[str, Any] = {}
        for name, value in parameters.items():
            if name in self._names_set and name != self.var_keyword:
                known[name] = value
            else:
                extra[name] = value
        if self.var_keyword is not None:
            known[self.var_keyword] = extra
        elif extra:
            raise SignatureMismatchError(
                f"function {self._function_name!r} has no parameter {', '.join(map(repr, extra))} and no `**kwargs`; "
                f"its parameters are {list(self.names)}"
            )
        return known


def raise_for_reserved_arguments(fn: Callable[..., Any], reserved_arguments: Iterable[str]) -> None:
    """Refuse a function that has a parameter with a name the framework uses.

    Raises:
        ReservedArgumentError: names the parameter.
    """
    names = inspect.signature(fn).parameters
    for name in reserved_arguments:
        if name in names:
            raise ReservedArgumentError(
                f"{name!r} is a reserved argument name and cannot be a parameter of {getattr(fn, '__name__', fn)!r}; "
                "rename the parameter"
            )


def is_pydantic_field(default: object) -> bool:
    """Say whether a default is pydantic's `Field(...)`, without importing pydantic."""
    kind = type(default)
    return kind.__name__ == "FieldInfo" and kind.__module__ == "pydantic.fields"


def _without_annotations(signature: inspect.Signature) -> str:
    plain = [parameter.replace(annotation=_EMPTY) for parameter in signature.parameters.values()]
    return str(signature.replace(parameters=plain, return_annotation=inspect.Signature.empty))


def _shown(value: object) -> str:
    """Return a value's text, cut where it would bury the message."""
    text = repr(value)
    return text if len(text) <= 300 else f"{text[:297]}..."
