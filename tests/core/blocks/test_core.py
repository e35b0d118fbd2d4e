# pyright: reportArgumentType=false, reportCallIssue=false, reportIncompatibleVariableOverride=false
# pydantic turns what it is given into the types of the fields, and old and new classes differ on purpose.
from __future__ import annotations

import asyncio
import json
import logging
import pickle
import re
import traceback
from abc import abstractmethod
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar, Literal
from uuid import UUID

import pytest
from pydantic import BaseModel, Field, SecretBytes, SecretStr, ValidationError

from flowyard import flow, task
from flowyard.blocks.core import Block, block_schema_to_key
from flowyard.blocks.documents import ensure_saved
from flowyard.blocks.fields import SecretDict
from flowyard.blocks.registry import installed_block_types
from flowyard.blocks.system import JSON, DateTime, Secret, String
from flowyard.exceptions import (
    BlockNotSavedError,
    InvalidBlockData,
    InvalidBlockRegistration,
    ObjectNotFound,
    UnknownPlugin,
)
from flowyard.logging.loggers import LogEavesdropper
from flowyard.process.backends import close_backends
from flowyard.process.control import control_plane


class Credentials(Block):
    """Who may enter.

    Longer text.

    Example:
        Credentials(user="me", password="...").save("mine")
    """

    _block_type_name = "Test Credentials"
    _logo_url = "https://example.com/logo.png"
    _block_schema_capabilities: ClassVar[list[str] | None] = ["enter"]

    user: str
    password: SecretStr
    tokens: list[SecretStr] = Field(default_factory=list)
    more: SecretDict | None = None
    raw: SecretBytes | None = None


class Service(Block):
    credentials: Credentials
    others: dict[str, Credentials | Secret] = Field(default_factory=dict)
    anything: Any = None


@dataclass
class Part:
    pin: SecretStr


class Tree(BaseModel):
    secret: SecretStr
    part: Part | None = None
    children: list[Tree] = []


class WithTree(Block):
    tree: Tree
    kind: Literal["oak", "elm"] = "oak"


def test_a_saved_block_is_loaded_by_its_class_or_by_its_slug():
    block = Credentials(user="me", password="hunter2", tokens=["a1b2"], more={"k": [1, {"z": "y"}]}, raw=b"\xff\x00")
    document_id = block.save("mine")
    assert isinstance(document_id, UUID)
    for loaded in (
        Credentials.load("mine"),
        Block.load("test-credentials/mine"),
        Credentials.load_from_ref(document_id),
    ):
        assert loaded == block
        assert type(loaded) is Credentials
        assert loaded.password.get_secret_value() == "hunter2"
        assert loaded.more is not None
        assert loaded.raw is not None
        assert loaded.more.get_secret_value() == {"k": [1, {"z": "y"}]}
        assert loaded.raw.get_secret_value() == b"\xff\x00"


@pytest.mark.parametrize(
    "block",
    [
        JSON(value={"a": [1, None, "x"]}),
        String(value="x"),
        DateTime(value="2026-01-01T00:00:00Z"),
        Secret(value="s"),
        WithTree(tree=Tree(secret="s", part=Part(pin=SecretStr("1")), children=[Tree(secret="t")])),
    ],
    ids=lambda block: type(block).__name__,
)
def test_what_is_loaded_equals_what_was_saved(block):
    block.save("it")
    assert type(block).load("it") == block


def test_the_colour_of_the_caller_decides():
    async def outside():
        await Secret(value="x").save("coloured")
        return (await Secret.load("coloured")).get()

    assert asyncio.run(outside()) == "x"

    @task
    def in_a_task():
        return Secret.load("coloured").get()

    @flow
    def blocking():
        return Secret.load("coloured").get() + in_a_task()

    @flow
    async def awaiting():
        return (await Secret.load("coloured")).get() + Secret.load("coloured", _sync=True).get()

    assert blocking() == asyncio.run(awaiting()) == "xx"


def test_a_name_is_taken_once_and_saving_again_keeps_it():
    block = String(value="one")
    first = block.save("name")
    with pytest.raises(ValueError, match=r"'string/name' exists already; pass `overwrite=True`"):
        String(value="two").save("name")
    block.value = "three"
    assert block.save() == first
    assert String.load("name").value == "three"
    assert String(value="four").save("name", overwrite=True) == first


@pytest.mark.parametrize("name", ["Upper", "a_b", "", "a/b"])
def test_a_name_with_other_characters_is_refused(name):
    with pytest.raises(ValueError, match=f"block name {name!r} may only have lowercase"):
        String(value="x").save(name)


def test_a_block_without_a_name_asks_for_one():
    with pytest.raises(ValueError, match="this String block has no name yet"):
        String(value="x").save()


def test_a_missing_block_is_named():
    with pytest.raises(ValueError, match="no block 'string/nothing'"):
        String.load("nothing")
    with pytest.raises(ValueError, match="no block 'string/nothing'"):
        String.delete("nothing")
    with pytest.raises(ValueError, match="'nothing' has no type"):
        Block.load("nothing")


def test_a_deleted_block_is_gone():
    String(value="x").save("gone")
    String.delete("gone")
    with pytest.raises(ValueError, match="gone"):
        String.load("gone")


def test_a_block_of_another_class_is_refused():
    String(value="x").save("s")
    with pytest.raises(TypeError, match="'string/s' is a String, not a Secret"):
        Secret.load("string/s")


# --- nesting ---------------------------------------------------------------------------------------------------


def test_a_saved_block_inside_another_is_a_reference_and_follows_edits():
    inner = Credentials(user="old", password="pw")
    inner.save("inner")
    Service(credentials=inner, others={"x": inner}).save("outer")
    Credentials(user="new", password="pw2").save("inner", overwrite=True)
    loaded = Service.load("outer")
    assert (loaded.credentials.user, loaded.others["x"].user) == ("new", "new")
    assert loaded.credentials.password.get_secret_value() == "pw2"


def test_an_unsaved_block_inside_another_is_part_of_it():
    block = Service(credentials=Credentials(user="u", password="pw"), others={"s": Secret(value="deep")})
    block.save("outer")
    loaded = Service.load("outer")
    assert loaded == block
    assert type(loaded.others["s"]) is Secret
    assert loaded.others["s"].get() == "deep"


def test_a_block_that_would_contain_itself_is_refused():
    class Node(Block):
        next: Node | None = None

    Node.model_rebuild(_types_namespace={"Node": Node})
    a, b = Node(), Node()
    a.save("a")
    b.next = a
    b.save("b")
    a.next = b
    with pytest.raises(ValueError, match="'node/a' cannot be saved: through the blocks it refers to"):
        a.save()
    assert Node.load("a").next is None


def test_secrets_in_fields_of_any_type_come_back_as_secrets():
    JSON(value={"a.b": [SecretStr("hidden-value")], "open": 1}).save("any")
    loaded = JSON.load("any")
    assert loaded.value["a.b"][0] == SecretStr("hidden-value")
    assert loaded.value["open"] == 1


def test_an_unsaved_block_is_saved_anonymously_once():
    block = String(value="x")
    first = ensure_saved(control_plane().blocks, block)
    assert ensure_saved(control_plane().blocks, block) == first
    assert control_plane().blocks.read_documents() == []
    assert String.load_from_ref({"block_document_id": str(first)}) == block
    with pytest.raises(BlockNotSavedError, match="String block is not saved"):
        block.get_block_placeholder()


@pytest.mark.parametrize(
    "make",
    [
        lambda key: key,
        str,
        lambda key: {"block_document_id": key},
        lambda key: {"$ref": {"block_document_id": str(key)}},
        lambda _: "string/it",
        lambda _: {"block_document_slug": "string/it"},
    ],
    ids=["uuid", "text", "mapping", "ref", "slug", "slug in a mapping"],
)
def test_references_have_many_forms(make):
    key = String(value="x").save("it")
    assert Block.load_from_ref(make(key)).value == "x"


def test_a_reference_that_is_none_is_refused():
    with pytest.raises(ValueError, match=r"block reference 5 is not known; give an id, 'slug/name'"):
        Block.load_from_ref(5)


# --- what a class says about itself ----------------------------------------------------------------------------


def test_type_and_schema_follow_from_the_class():
    Credentials.register_type_and_schema()
    kind = control_plane().blocks.read_type("test-credentials")
    assert (kind.name, kind.description, kind.logo_url) == (
        "Test Credentials",
        "Who may enter.",
        "https://example.com/logo.png",
    )
    assert kind.code_example == 'Credentials(user="me", password="...").save("mine")'
    assert kind.origin is not None
    assert "Credentials" in kind.origin
    schema = control_plane().blocks.read_schema(Credentials.get_block_schema_checksum())
    assert schema.capabilities == ["enter"]
    assert schema.fields["secret_fields"] == ["password", "tokens.*", "more.*", "raw"]
    assert schema.fields["properties"]["raw"] == {
        "title": "Raw",
        "type": "string",
        "format": "password",
        "writeOnly": True,
    }
    assert Block.get_block_class_from_schema(schema) is Credentials
    assert block_schema_to_key(schema) == "test-credentials"


def test_secrets_are_found_at_all_depths():
    assert Service.get_block_schema_fields()["secret_fields"] == [
        *("credentials.password", "credentials.tokens.*", "credentials.more.*", "credentials.raw"),
        *("others.*.password", "others.*.tokens.*", "others.*.more.*", "others.*.raw", "others.*.value"),
    ]
    assert WithTree.get_block_schema_fields()["secret_fields"] == [
        *("tree.secret", "tree.part.pin", "tree.children.*.**"),
    ]


def test_equal_schemas_have_equal_checksums_and_new_fields_another():
    def make(**more: Any) -> type[Block]:
        return type("Same", (Block,), {"__annotations__": {"a": int, **more}, "__module__": __name__})

    first, second, third = make(), make(), make(b=str)
    assert first.get_block_schema_checksum() == second.get_block_schema_checksum()
    assert first.get_block_schema_checksum() != third.get_block_schema_checksum()
    assert re.fullmatch("sha256:[0-9a-f]{64}", first.get_block_schema_checksum())
    first.register_type_and_schema()
    second.register_type_and_schema()
    assert len(control_plane().blocks.read_schemas("same")) == 1
    third.register_type_and_schema()
    assert len(control_plane().blocks.read_schemas("same")) == 2


def test_which_fields_are_secret_is_not_part_of_the_checksum_but_nested_schemas_are():
    references = Service.get_block_schema_fields()["block_schema_references"]
    assert references["credentials"] == {
        "block_type_slug": "test-credentials",
        "block_schema_checksum": Credentials.get_block_schema_checksum(),
    }
    assert [each["block_type_slug"] for each in references["others"]] == ["test-credentials", "secret"]


def test_registering_registers_the_classes_of_fields_too():
    Service.register_type_and_schema()
    assert {kind.slug for kind in control_plane().blocks.read_types()} == {"service", "test-credentials", "secret"}


def test_what_is_no_block_of_its_own_cannot_be_registered():
    class Abstract(Block):
        @abstractmethod
        def act(self) -> None: ...

    with pytest.raises(InvalidBlockRegistration, match="it is the base of all blocks"):
        Block.register_type_and_schema()
    with pytest.raises(InvalidBlockRegistration, match=r"it is abstract \(act\)"):
        Abstract.register_type_and_schema()


def test_capabilities_are_those_of_all_bases():
    class Child(Credentials):
        _block_schema_capabilities: ClassVar[list[str] | None] = ["leave"]

    assert Child.get_block_capabilities() == {"enter", "leave"}
    assert Child.get_block_type_slug() == "child"
    assert Block.is_block_class(Child)
    assert not Block.is_block_class(Child(user="a", password="b"))


@pytest.mark.parametrize(
    ("name", "slug"),
    [("My Block", "my-block"), ("Größe", "grosse"), ("Café", "cafe"), ("Валюта", "6aa14ce3"), ("РынокA", "a-718fb632")],
)
def test_a_slug_has_plain_letters_and_is_never_empty(name, slug):
    class Named(Block):
        _block_type_name: ClassVar[str | None] = name

    assert Named.get_block_type_slug() == slug


def test_a_block_that_is_no_class_of_its_own_cannot_be_saved():
    with pytest.raises(InvalidBlockRegistration, match="base of all blocks"):
        Block().save("it")


def test_a_moment_without_a_time_zone_is_in_utc():
    assert DateTime(value="2026-01-01T00:00:00").value == datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("kind", [String, Secret])
def test_a_number_is_taken_for_a_text(kind):
    kind(value=42).save("answer")
    assert kind.load("answer") == kind(value="42")


def test_a_slug_makes_a_block_of_its_class():
    block = Block(block_type_slug="test-credentials", user="me", password="pw")
    assert type(block) is Credentials
    assert (
        Service(credentials={"block_type_slug": "test-credentials", "user": "a", "password": "b"}).credentials.user
        == "a"
    )
    with pytest.raises(UnknownPlugin, match="no block type named 'nowhere'"):
        Block(block_type_slug="nowhere")


def test_initialization_runs_when_the_fields_are_there():
    class Initialized(Block):
        a: int

        def block_initialization(self) -> None:
            self._twice = 2 * self.a

        _twice: int = 0

    block = Initialized(a=2)
    assert block._twice == 4
    block.save("i")
    assert Initialized.load("i")._twice == 4


def test_a_saved_block_has_a_placeholder():
    block = String(value="x")
    block.save("it")
    assert block.get_block_placeholder() == "prefect.blocks.string.it"


def test_built_in_types_are_entry_points_whose_names_are_their_slugs():
    found = {point.name: point.load().get_block_type_slug() for point in installed_block_types()}
    assert found == {name: name for name in found}
    assert {"json", "string", "date-time", "secret", "webhook", "local-file-system", "s3", "github"} <= set(found)
    assert all(
        point.load().is_protected() for point in installed_block_types() if point.dist and point.dist.name == "flowyard"
    )


def test_a_block_whose_class_is_not_installed_names_the_package():
    def define() -> None:
        class Elsewhere(Block):
            a: int = 1

        Elsewhere.__module__ = "cryptography.nowhere"
        Elsewhere().save("lost")

    define()
    import gc

    gc.collect()
    with pytest.raises(
        UnknownPlugin, match=r"'elsewhere'.*its class was cryptography\.nowhere:.*\(cryptography \d.*install that"
    ):
        Block.load("elsewhere/lost")


# --- old documents ---------------------------------------------------------------------------------------------


def make_old_and_new() -> type[Block]:
    class Changing(Block):
        name: str
        password: SecretStr

    Changing(name="n", password="old-password").save("c")

    class Changed(Block):
        _block_type_name = "Changing"
        name: int
        password: SecretStr = Field(min_length=50)
        region: str
        optional: str = "default"

    return Changed


def test_a_document_of_an_old_schema_is_refused_with_the_way_out():
    changed = make_old_and_new()
    with pytest.raises(InvalidBlockData, match=r"'changing/c'.*region: Field required.*validate=False") as caught:
        changed.load("c")
    assert "old-password" not in str(caught.value)
    assert isinstance(caught.value, RuntimeError)


def test_without_validation_an_old_document_is_loaded_and_can_be_migrated():
    changed = make_old_and_new()
    with LogEavesdropper("flowyard.blocks", level=logging.WARNING) as heard:
        block = changed.load("c", validate=False)
    assert "'changing/c' was loaded without validation" in heard.text()
    assert "region is missing" in heard.text()
    assert (block.region, block.name, block.optional) == (None, "n", "default")
    assert "old-password" not in repr(block)
    block.region, block.name, block.password = "eu", 3, SecretStr("x" * 50)
    block.save("c", overwrite=True)
    assert changed.load("c").region == "eu"


def test_null_for_a_field_whose_default_is_none_is_left_out():
    class Loose(Block):
        text: str = None  # pyright: ignore[reportAssignmentType]

    Loose().save("l")
    assert Loose.load("l").text is None


# --- nothing leaks ---------------------------------------------------------------------------------------------

SECRET = "hunter2-correct-horse"


def make_secretive() -> Service:
    inner = Credentials(user="u", password=SECRET, tokens=[SECRET], more={"k": SECRET}, raw=SECRET.encode())
    return Service(credentials=inner, others={"x": Secret(value=SECRET)}, anything=[SecretStr(SECRET)])


@pytest.mark.parametrize(
    "show",
    [repr, str, lambda block: block.json(), lambda block: block.model_dump_json(), lambda block: str(block.dict())],
    ids=["repr", "str", "json", "model_dump_json", "dict"],
)
def test_secrets_are_not_shown(show):
    assert SECRET not in show(make_secretive())


def test_secrets_are_shown_to_who_asks_for_them():
    block = make_secretive()
    assert json.loads(block.json(include_secrets=True))["credentials"]["password"] == SECRET
    assert block.dict(include_secrets=True)["others"]["x"]["value"] == SECRET


@pytest.mark.parametrize(
    "make",
    [
        lambda: Credentials(user=[SECRET], password={"x": SECRET}, tokens=SECRET),
        lambda: Credentials.model_validate(SECRET),
        lambda: Service(credentials={"user": "u", "password": [SECRET]}),
        lambda: WithTree(tree={"secret": SECRET, "children": [{"secret": [SECRET]}]}, kind=SECRET),
        lambda: type("Model", (BaseModel,), {"__annotations__": {"b": Credentials}})(b={"password": SECRET}),
    ],
    ids=["fields", "all of it", "nested block", "nested model", "in a model that is no block"],
)
def test_errors_of_validation_do_not_repeat_what_was_given(make):
    with pytest.raises(ValidationError) as caught:
        make()
    error = caught.value
    assert SECRET not in f"{error} {error!r} {error.errors()} {error.json()}"
    assert SECRET not in "".join(traceback.format_exception(error)[1:])


def test_a_validator_that_repeats_a_secret_is_silenced():
    from pydantic import field_validator

    class Chatty(Block):
        password: SecretStr

        @field_validator("password")
        @classmethod
        def check(cls, value: SecretStr) -> SecretStr:
            raise ValueError(f"{value.get_secret_value()} is too short")

    with pytest.raises(ValidationError, match=r"\*{8} is too short") as caught:
        Chatty(password=SECRET)
    assert SECRET not in str(caught.value.errors())


def test_a_default_secret_is_not_plain_text():
    class Default(Block):
        password: SecretStr = SECRET  # pyright: ignore[reportAssignmentType]

    assert SECRET not in repr(Default())
    assert Default().password.get_secret_value() == SECRET


def test_declared_secrets_are_hidden_though_their_type_is_open():
    class Declared(Block):
        _block_secret_fields = ("options.*",)
        options: dict[str, str]

    block = Declared(options={"key": SECRET})
    assert SECRET not in repr(block)
    document_id = block.save("d")
    assert Declared.load("d").options == {"key": SECRET}
    shown = control_plane().blocks.read_document(document_id, include_secrets=False)
    assert shown.data["options"] == {"key": "********"}


def test_parameters_that_are_blocks_are_recorded_without_their_secrets(backend_home, caplog):
    @task(persist_result=True)
    def use(block: Credentials) -> str:
        return block.user

    @flow
    def secretive(block: Credentials) -> str:
        return use(block)

    assert secretive(make_secretive().credentials) == "u"
    close_backends()
    for file in backend_home.iterdir():  # not what is in `storage`: values are pickled there
        assert not file.is_file() or SECRET.encode() not in file.read_bytes(), file
    assert SECRET not in caplog.text


def test_a_block_survives_pickling():
    block = make_secretive()
    assert pickle.loads(pickle.dumps(block)) == block


def test_a_nested_block_that_is_gone_is_named():
    inner = Credentials(user="u", password="p")
    key = inner.save("inner")
    Service(credentials=inner).save("outer")
    Credentials.delete("inner")
    with pytest.raises(ObjectNotFound, match=f"refers to, {key}"):
        Service.load("outer")
