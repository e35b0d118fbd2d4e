from __future__ import annotations

import subprocess
import sys
import textwrap
from collections import OrderedDict
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional

import pydantic
import pydantic.v1
import pytest

from flowyard.exceptions import ParameterTypeError
from flowyard.parameters.validation import ParameterValidator

if TYPE_CHECKING:
    from nowhere import Unknown  # pyright: ignore[reportMissingImports]


class Model(pydantic.BaseModel):
    n: int


class OldModel(pydantic.v1.BaseModel):
    n: int


class Arbitrary:
    pass


def fn(
    number: int = 0,
    maybe: Optional[int] = None,  # noqa: UP045
    day: date | None = None,
    moment: datetime = datetime(2020, 1, 1, tzinfo=UTC),
    model: Model = None,  # pyright: ignore[reportArgumentType]  accepted, as it is common
    models: list[Model] | None = None,
    path: Path | None = None,
    positive: Annotated[int, pydantic.Field(gt=0)] = 1,
    choice: Literal["a", "b"] = "a",
    thing: Arbitrary | None = None,
    anything: Any = None,
    unannotated=None,
    unknown: Unknown = None,
    _private: int = 0,
    model_config: int = 0,
    copy: int = 0,
): ...


VALID = {
    "text for int": ("number", "5", 5),
    "optional": ("maybe", "5", 5),
    "optional none": ("maybe", None, None),
    "iso date": ("day", "2024-02-03", date(2024, 2, 3)),
    "iso datetime": ("moment", "2024-02-03T04:05:06Z", datetime(2024, 2, 3, 4, 5, 6, tzinfo=UTC)),
    "dict for model": ("model", {"n": "3"}, Model(n=3)),
    "none where the default is none": ("model", None, None),
    "dicts in a list": ("models", [{"n": 1}], [Model(n=1)]),
    "path": ("path", "a/b", Path("a/b")),
    "constraint": ("positive", "2", 2),
    "literal": ("choice", "b", "b"),
    "any": ("anything", "5", "5"),
    "no annotation": ("unannotated", "5", "5"),
    "annotation only for type checkers": ("unknown", "5", "5"),
    "leading underscore": ("_private", "5", 5),
    "name that pydantic reserves": ("model_config", "5", 5),
    "name of a method of a model": ("copy", "5", 5),
}


@pytest.mark.parametrize(("name", "value", "expected"), VALID.values(), ids=VALID.keys())
def test_values_are_converted(name, value, expected):
    result = ParameterValidator(fn).validate({name: value})
    assert result == {name: expected}
    assert type(result[name]) is type(expected)


INVALID = {
    "text for int": ("number", "five"),
    "none for int": ("number", None),
    "bad date": ("day", "yesterday"),
    "constraint": ("positive", 0),
    "literal": ("choice", "c"),
    "arbitrary class": ("thing", object()),
    "nested": ("models", [{"n": "x"}]),
}


@pytest.mark.parametrize(("name", "value"), INVALID.values(), ids=INVALID.keys())
def test_what_cannot_be_converted_is_refused_by_name(name, value):
    with pytest.raises(ParameterTypeError, match=f"- {name}"):
        ParameterValidator(fn).validate({name: value})


def test_the_refusal_names_each_parameter_its_value_and_what_was_expected():
    with pytest.raises(ParameterTypeError) as caught:
        ParameterValidator(fn).validate({"number": "five", "models": [{"n": "x"}], "maybe": "7"})
    message = str(caught.value)
    assert "'fn' received invalid parameters" in message
    assert "number: Input should be a valid integer" in message
    assert "'five', a str" in message
    assert "annotated `int`" in message
    assert "models[0]['n']" in message
    assert "maybe" not in message


def test_parameters_keep_their_order_and_the_given_mapping_is_not_changed():
    given = {"number": "1", "anything": [], "maybe": "2"}
    result = ParameterValidator(fn).validate(given)
    assert list(result.items()) == [("number", 1), ("anything", []), ("maybe", 2)]
    assert given["number"] == "1"


def test_constraints_of_a_field_given_as_default_are_checked():
    def declared(x: int = pydantic.Field(default=1, gt=0)): ...

    assert ParameterValidator(declared).validate({"x": 5}) == {"x": 5}
    with pytest.raises(ParameterTypeError, match="greater than 0"):
        ParameterValidator(declared).validate({"x": 0})


def test_variadic_parameters_are_checked_item_by_item():
    def variadic(*numbers: int, **named: float): ...

    validator = ParameterValidator(variadic)
    assert validator.validate({"numbers": ("1", 2), "named": {"a": "1.5"}}) == {"numbers": (1, 2), "named": {"a": 1.5}}
    with pytest.raises(ParameterTypeError, match=r"numbers\[1\]"):
        validator.validate({"numbers": (1, "x"), "named": {}})


def test_an_instance_of_a_model_is_passed_itself():
    model = Model(n=1)
    assert ParameterValidator(fn).validate({"model": model})["model"] is model


def test_annotations_as_text_find_names_of_the_enclosing_function():
    class Local(pydantic.BaseModel):
        n: int

    def inner(x: Local):
        return Local

    assert ParameterValidator(inner).validate({"x": {"n": "1"}})["x"] == Local(n=1)


def test_annotations_as_text_find_names_that_are_defined_later():
    namespace: dict[str, Any] = {}
    exec("def inner(x: 'Later'): ...", namespace)
    validator = ParameterValidator(namespace["inner"])
    namespace["Later"] = Model
    assert validator.validate({"x": {"n": "1"}})["x"] == Model(n=1)


def test_models_of_pydantic_1_are_converted():
    def old(x: OldModel, n: int): ...

    assert ParameterValidator(old).validate({"x": {"n": "1"}, "n": "2"}) == {"x": OldModel(n=1), "n": 2}
    with pytest.raises(ParameterTypeError, match=r"- x\['n'\]: value is not a valid integer"):
        ParameterValidator(old).validate({"x": {"n": "one"}, "n": "2"})


def test_models_of_both_pydantic_versions_in_one_signature_are_refused():
    def mixed(x: OldModel, y: list[Model]): ...

    with pytest.raises(ValueError, match=r"'mixed' mix models of pydantic 1 \(x\) and of pydantic 2 \(y\)"):
        ParameterValidator(mixed)


def test_a_subclass_of_a_checked_class_is_kept():
    def ordered(x: OrderedDict): ...

    value = OrderedDict(a=1)
    assert type(ParameterValidator(ordered).validate({"x": value})["x"]) is OrderedDict


def test_an_annotation_that_pydantic_does_not_understand_is_refused_with_the_way_out():
    def odd(x: Annotated[int, pydantic.Field(discriminator="kind")]): ...

    with pytest.raises(ParameterTypeError, match=r"cannot be checked.*validate_parameters=False"):
        ParameterValidator(odd).validate({"x": "1"})


def test_values_of_exactly_the_annotated_simple_type_do_not_load_pydantic():
    script = """
        import sys
        from flowyard.parameters.validation import ParameterValidator
        def fn(a: int, b: "str | None", c, d: list, e: float = None): ...
        given = {"a": 1, "b": "x", "c": object(), "d": [1], "e": None}
        assert ParameterValidator(fn).validate(given) == given
        assert "pydantic" not in sys.modules
        assert ParameterValidator(fn).validate({"a": "1"}) == {"a": 1}
        assert "pydantic" in sys.modules
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
