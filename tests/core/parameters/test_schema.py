from __future__ import annotations

import json
from datetime import datetime
from enum import Enum

import pydantic
import pytest

from flowyard.parameters.schema import parameter_docstrings, parameter_schema


class Colour(Enum):
    RED = "red"


class Model(pydantic.BaseModel):
    n: int


class Arbitrary:
    pass


def test_a_schema_has_position_title_description_default_and_required():
    def fn(x, name: str = "world", when: datetime | None = None):
        """Say hello.

        Args:
            x: whatever
            name (str): whom to greet,
                politely
        """

    schema = parameter_schema(fn).to_record()
    assert schema["title"] == "Parameters"
    assert schema["type"] == "object"
    assert schema["required"] == ["x"]
    assert schema["definitions"] == {}
    properties = schema["properties"]
    assert properties["x"] == {"title": "x", "position": 0, "description": "whatever"}
    assert properties["name"] == {
        "title": "name",
        "position": 1,
        "description": "whom to greet, politely",
        "default": "world",
        "type": "string",
    }
    assert properties["when"]["position"] == 2
    assert properties["when"]["default"] is None


def test_models_and_enums_are_shared_definitions():
    def fn(model: Model, models: list[Model], colour: Colour = Colour.RED): ...

    schema = parameter_schema(fn).to_record()
    assert set(schema["definitions"]) == {"Model", "Colour"}
    assert schema["properties"]["models"]["items"] == {"$ref": "#/definitions/Model"}
    assert schema["properties"]["colour"]["default"] == "red"


def test_a_type_that_json_cannot_describe_is_anything():
    def fn(thing: Arbitrary, other: Arbitrary = Arbitrary(), _hidden: int = 0): ...  # noqa: B008

    schema = parameter_schema(fn).to_record()
    assert schema["properties"]["thing"] == {"title": "thing", "position": 0}
    assert "default" not in schema["properties"]["other"]
    assert schema["properties"]["_hidden"]["type"] == "integer"
    assert schema["required"] == ["thing"]
    json.dumps(schema)


def test_a_field_given_as_default_describes_its_parameter():
    def fn(x: int = pydantic.Field(default=1, gt=0, description="how many"), y: int = pydantic.Field(gt=0)): ...

    schema = parameter_schema(fn).to_record()
    assert schema["properties"]["x"] == {
        "title": "x",
        "position": 0,
        "default": 1,
        "description": "how many",
        "exclusiveMinimum": 0,
        "type": "integer",
    }
    assert schema["required"] == ["y"]


def test_variadic_parameters_are_not_required():
    def fn(*args: int, **kwargs: str): ...

    schema = parameter_schema(fn).to_record()
    assert "required" not in schema
    assert schema["properties"]["args"]["type"] == "array"
    assert schema["properties"]["kwargs"]["type"] == "object"


def test_a_function_without_parameters_has_an_empty_schema():
    assert parameter_schema(lambda: None).to_record() == {
        "title": "Parameters",
        "type": "object",
        "properties": {},
        "definitions": {},
    }


DOCSTRINGS = {
    "google": """Do it.

        Args:
            x (int): the first
            *args: the rest
            y: the second,
                over two lines

        Returns:
            z: not a parameter
    """,
    "numpy": """Do it.

        Parameters
        ----------
        x : int
            the first
        *args
            the rest
        y : list of str, optional
            the second,
            over two lines

        Returns
        -------
        z : int
            not a parameter
    """,
    "sphinx": """Do it.

        :param int x: the first
        :param args: the rest
        :type y: str
        :param y: the second,
            over two lines
        :returns: not a parameter
    """,
}


@pytest.mark.parametrize("docstring", DOCSTRINGS.values(), ids=DOCSTRINGS.keys())
def test_descriptions_are_read_from_docstrings(docstring):
    assert parameter_docstrings(docstring) == {"x": "the first", "args": "the rest", "y": "the second, over two lines"}


@pytest.mark.parametrize("docstring", [None, "", "Just a sentence: nothing else.", "Args:", "Parameters\n------"])
def test_other_docstrings_describe_nothing(docstring):
    assert parameter_docstrings(docstring) == {}
