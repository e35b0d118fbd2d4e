from __future__ import annotations

import base64
import collections
import pickle
import subprocess
import sys
import tomllib
import warnings
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import cloudpickle
import pydantic
import pytest

from flowyard.exceptions import RemoteException, UnknownPlugin
from flowyard.serializers import (
    CompressedJSONSerializer,
    CompressedPickleSerializer,
    CompressedSerializer,
    JSONSerializer,
    PickleSerializer,
    Serializer,
    resolve_serializer,
    serializer_from_record,
)

ROOT = Path(__file__).parents[3]
ALL = ["pickle", "json", "compressed/pickle", "compressed/json"]


class Model(pydantic.BaseModel):
    n: int


@dataclass
class Plain:
    n: int


class Outer:
    @dataclass
    class Inner:
        n: int


class Picky(Exception):
    def __init__(self, code, *, detail):
        super().__init__(f"{code}: {detail}")


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("value", [None, 1, "ü", [1, {"a": [True]}], {"k": 1.5}])
def test_every_serializer_gives_plain_values_back(name, value):
    serializer = resolve_serializer(name)
    blob = serializer.dumps(value)
    assert isinstance(blob, bytes)
    assert serializer.loads(blob) == value


@pytest.mark.parametrize("name", ALL)
def test_a_serializer_can_be_made_again_from_its_record(name):
    serializer = resolve_serializer(name)
    record = serializer.to_record()
    assert record["type"] == name
    assert serializer_from_record(record).loads(serializer.dumps([1])) == [1]


def test_pickle_takes_functions_that_cannot_be_imported():
    serializer = PickleSerializer()
    assert serializer.loads(serializer.dumps(lambda x: x + 1))(1) == 2


def test_pickle_reads_what_prefect_wrote_in_base64():
    assert PickleSerializer().loads(base64.b64encode(cloudpickle.dumps({"a": 1}))) == {"a": 1}


def test_pickle_warns_when_another_version_of_the_library_wrote_it():
    record = PickleSerializer().to_record()
    assert record == {"type": "pickle", "picklelib": "cloudpickle", "picklelib_version": cloudpickle.__version__}
    serializer = serializer_from_record({**record, "picklelib_version": "0.0.1"})
    with pytest.warns(RuntimeWarning, match="pickled with cloudpickle 0.0.1"):
        assert serializer.loads(pickle.dumps(1)) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert serializer_from_record(record).loads(pickle.dumps(1)) == 1


def test_pickle_uses_the_library_that_is_named():
    assert PickleSerializer(picklelib="pickle").dumps(1) == pickle.dumps(1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PickleSerializer(picklelib="no_such"), "picklelib='no_such' cannot be imported"),
        (lambda: PickleSerializer(picklelib="math"), "picklelib='math' has no function 'dumps'"),
        (lambda: JSONSerializer(jsonlib="no_such"), "jsonlib='no_such' cannot be imported"),
        (lambda: JSONSerializer(dumps_kwargs={"default": str}), "set `object_encoder` instead"),
        (lambda: JSONSerializer(loads_kwargs={"object_hook": dict}), "set `object_decoder` instead"),
        (
            lambda: JSONSerializer(object_encoder="no.such").dumps(object()),
            "object_encoder='no.such' cannot be imported",
        ),
        (
            lambda: CompressedSerializer(serializer=JSONSerializer(), compressionlib="math"),
            "has no function 'compress'",
        ),
        (
            lambda: CompressedSerializer(serializer=cast("Any", "no_such")),
            "neither 'pickle' nor 'json': pass a serializer object",
        ),
    ],
)
def test_wrong_options_are_refused_by_name(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("name", ["pickle", "json"])
def test_what_is_compressed_can_be_named(name):
    serializer = CompressedSerializer(serializer=name, compressionlib="bz2")
    assert serializer.loads(serializer.dumps([1, "a"])) == [1, "a"]
    assert serializer.to_record()["serializer"]["type"] == name


JSON_OBJECTS = {
    "model": Model(n=1),
    "dataclass": Plain(2),
    "nested class": Outer.Inner(3),
    "nested in containers": {"a": [Model(n=1), Plain(2)]},
    "datetime": datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC),
    "timedelta": timedelta(seconds=90),
    "uuid": uuid4(),
    "set": {1, 2},
    "decimal": Decimal("1.50"),
    "path": Path("a") / "b",
    "bytes": b"abc",
}


@pytest.mark.parametrize("value", JSON_OBJECTS.values(), ids=JSON_OBJECTS.keys())
def test_json_gives_objects_back_as_themselves(value):
    serializer = JSONSerializer()
    restored = serializer.loads(serializer.dumps(value))
    assert restored == value
    assert type(restored) is type(value)


def test_json_objects_tell_their_class():
    assert JSONSerializer().dumps(Plain(1)) == (
        b'{"__class__": "%s.Plain", "data": {"n": 1}}' % Plain.__module__.encode()
    )


def test_json_gives_an_exception_back_with_its_arguments():
    serializer = JSONSerializer()
    restored = serializer.loads(serializer.dumps(KeyError("a", 1)))
    assert type(restored) is KeyError
    assert restored.args == ("a", 1)


def test_json_describes_an_exception_that_cannot_be_made_again():
    serializer = JSONSerializer()
    restored = serializer.loads(serializer.dumps(Picky(5, detail="x")))
    assert isinstance(restored, RemoteException)
    assert str(restored) == f"{Picky.__module__}.Picky: 5: x"


def test_json_refuses_what_it_cannot_write():
    with pytest.raises(TypeError, match="object objects cannot be written as JSON"):
        JSONSerializer().dumps(object())


def test_json_without_encoder_refuses_objects():
    with pytest.raises(TypeError):
        JSONSerializer(object_encoder=None).dumps(Plain(1))


def test_json_passes_options_to_its_library():
    assert JSONSerializer(dumps_kwargs={"indent": 1}).dumps([1]) == b"[\n 1\n]"


@pytest.mark.parametrize("library", ["lzma", "bz2", "zlib"])
def test_compression_makes_it_smaller(library):
    serializer = CompressedSerializer(serializer=PickleSerializer(), compressionlib=library)
    value = "x" * 10_000
    blob = serializer.dumps(value)
    assert len(blob) < 1000
    assert serializer.loads(blob) == value


def test_compressed_serializers_say_what_is_inside():
    record = CompressedJSONSerializer(compressionlib="zlib").to_record()
    assert record["compressionlib"] == "zlib"
    assert record["serializer"]["type"] == "json"
    assert serializer_from_record(record) == CompressedJSONSerializer(compressionlib="zlib")
    assert CompressedPickleSerializer().to_record()["serializer"]["type"] == "pickle"


def test_a_user_can_declare_a_serializer_as_for_prefect():
    class Csv(Serializer):
        type: str = "test-csv"  # pyright: ignore[reportIncompatibleVariableOverride]
        separator: str = ","

        def dumps(self, obj: Any) -> bytes:
            return self.separator.join(obj).encode()

        def loads(self, blob: bytes) -> Any:
            return blob.decode().split(self.separator)

    serializer = Csv(separator=";")
    assert serializer.dumps(["a", "b"]) == b"a;b"
    assert serializer.to_record() == {"type": "test-csv", "separator": ";"}
    assert serializer_from_record(serializer.to_record()).loads(b"a;b") == ["a", "b"]
    assert resolve_serializer(serializer) is serializer
    assert Csv() == Csv(separator=",")


def test_an_unknown_name_lists_what_is_installed():
    with pytest.raises(
        UnknownPlugin, match=r"no serializer named 'no-such'; installed: arrow, compressed.*json.*pickle"
    ):
        resolve_serializer("no-such")


@pytest.mark.parametrize(
    ("value", "message"),
    [(PickleSerializer, "did you mean to call it"), (5, "neither a name"), ("compressed", "needs options")],
)
def test_what_is_no_serializer_is_refused(value, message):
    with pytest.raises(TypeError, match=message):
        resolve_serializer(value)


def test_the_own_serializers_are_registered_like_any_other():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    registered = project["entry-points"]["flowyard.serializers"]
    assert set(registered) == {*ALL, "compressed", "arrow", "msgpack"}
    for name, path in registered.items():
        module, _, kind = path.partition(":")
        assert getattr(sys.modules[module], kind).type == name


def test_serializers_load_neither_pydantic_nor_cloudpickle_before_they_are_used():
    script = (
        "import sys, flowyard.serializers as s;"
        "s.resolve_serializer('pickle'); s.resolve_serializer('json').dumps([1]);"
        "print(sorted({'pydantic', 'cloudpickle'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_json_gives_ordered_dicts_back_as_plain_ones():
    serializer = JSONSerializer()
    assert serializer.loads(serializer.dumps(collections.OrderedDict(a=1))) == {"a": 1}


class Order(pydantic.BaseModel):
    amount: int = pydantic.Field(gt=0)


def _local_class():
    class Local(pydantic.BaseModel):
        x: int = 1

    return Local()


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (
            Order.model_construct(amount=-7),
            r"Order cannot be made again from its JSON \{'amount': -7\}.*ValidationError",
        ),
        ([{"deep": Order.model_construct(amount=-7)}], "cannot be made again"),
        (_local_class(), r"<locals>.Local cannot be made again from its JSON \{'x': 1\}"),
    ],
    ids=["invalid model", "nested", "class of a function"],
)
def test_json_refuses_what_it_could_not_give_back(value, complaint):
    with pytest.raises(TypeError, match=complaint):
        JSONSerializer().dumps(value)
