"""The class that all blocks derive from."""

from __future__ import annotations

import hashlib
import inspect
import json
import re
import sys
import unicodedata
from abc import ABC
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Self, cast
from uuid import UUID

from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationError, model_validator
from pydantic_core import PydanticUndefined
from typing_extensions import override

from flowyard.blocks import documents, registry
from flowyard.blocks.description import checksum_of_class, declared, docstring, fields_of
from flowyard.blocks.dumping import Dump
from flowyard.blocks.redaction import redact_for
from flowyard.blocks.schema import declared_secrets, patterns_of_type
from flowyard.duality import dual
from flowyard.exceptions import BlockNotSavedError
from flowyard.process.control import control_plane
from flowyard.schemas.blocks import NON_VERSIONED, BlockSchemaRecord, BlockTypeRecord
from flowyard.schemas.secrets import obfuscate

DEFAULT_BLOCK_SCHEMA_VERSION = NON_VERSIONED
_SLUG = "block_type_slug"


def block_schema_to_key(schema: BlockSchemaRecord, block_type: BlockTypeRecord | None = None) -> str:
    """Return the slug of the block type that a schema describes."""
    return block_type.slug if block_type is not None else cast("str", schema.fields[_SLUG])


class Block(BaseModel, ABC):
    """Configuration, secrets among it, that is saved under a name; derive from it, give it fields and methods.

    The names below that begin with an underscore say how the class is registered; all of them can be left out.
    """

    model_config = ConfigDict(populate_by_name=True, hide_input_in_errors=True)

    _block_type_name: ClassVar[str | None] = None
    _block_type_slug: ClassVar[str | None] = None
    _block_schema_version: ClassVar[str | None] = None
    _block_schema_capabilities: ClassVar[list[str] | None] = None
    _logo_url: ClassVar[str | None] = None
    _documentation_url: ClassVar[str | None] = None
    _description: ClassVar[str | None] = None
    _code_example: ClassVar[str | None] = None
    _is_protected: ClassVar[bool] = False
    _block_secret_fields: ClassVar[tuple[str, ...]] = ()
    """Patterns such as `settings.*`: what is secret though its type does not say so. Not shown, and encrypted."""

    _block_document_id: UUID | None = PrivateAttr(None)
    _block_document_name: str | None = PrivateAttr(None)
    _is_anonymous: bool | None = PrivateAttr(None)

    def __new__(cls, *args: Any, **values: Any) -> Self:
        """Make a block; `Block(block_type_slug=...)` makes one of the class that has this slug."""
        del args
        slug = values.get(_SLUG)
        kind = cls
        if slug is not None and (not registry.is_concrete(cls) or slug != cls.get_block_type_slug()):
            found = registry.find_block_class(Block, slug)
            kind = found if issubclass(found, cls) else cls
        return super().__new__(kind)

    @classmethod
    @override
    def __pydantic_init_subclass__(cls, **options: Any) -> None:
        super().__pydantic_init_subclass__(**options)
        # A default such as `password: SecretStr = "..."` would stay plain text, which everybody prints.
        plain = [
            field
            for field in cls.model_fields.values()
            if field.default not in (None, PydanticUndefined)
            and not field.validate_default
            and next(patterns_of_type(field.annotation), None) is not None
        ]
        for field in plain:
            field.validate_default = True
        if plain:
            cls.model_rebuild(force=True)

    @override
    def model_post_init(self, context: Any, /) -> None:
        self.block_initialization()

    def block_initialization(self) -> None:
        """Do what remains when the fields have their values; override it instead of `__init__`."""

    @model_validator(mode="wrap")
    @classmethod
    def _validate_block(cls, value: Any, handler: Callable[[Any], Self]) -> Self:
        """Find the class that data names, and keep what was given out of the error."""
        if isinstance(value, Mapping) and _SLUG in value:
            given = dict(cast("Mapping[str, Any]", value))
            slug = given.pop(_SLUG)
            if not registry.is_concrete(cls) or slug != cls.get_block_type_slug():
                kind = registry.find_block_class(Block, slug)
                if kind is not cls and issubclass(kind, cls):
                    return kind.model_validate(given)
            value = given
        try:
            return handler(value)
        except ValidationError as error:
            raise redact_for(cls, error, cast("object", value)) from None

    # --- what the class is ------------------------------------------------------------------------------------

    @classmethod
    def root(cls) -> type[Block]:
        """Return `Block` itself."""
        return Block

    @classmethod
    def get_block_type_name(cls) -> str:
        """Return the name of the block type: `_block_type_name`, else that of the class."""
        return declared(cls, "_block_type_name", own=True) or cls.__name__

    @classmethod
    def get_block_type_slug(cls) -> str:
        """Return the name in lowercase letters, digits and dashes; blocks are loaded by it: `slug/name`.

        Letters lose their accents. A name with others than Latin ones gets a checksum, so that no two have one slug.
        """
        text = declared(cls, "_block_type_slug", own=True) or cls.get_block_type_name()
        return _slug_of(text)

    @classmethod
    def get_block_capabilities(cls) -> frozenset[str]:
        """Return what the class and its bases can do."""
        return frozenset(
            capability
            for base in cls.__mro__
            for capability in (declared(base, "_block_schema_capabilities", own=True) or ())
        )

    @classmethod
    def get_block_schema_version(cls) -> str:
        """Return `_block_schema_version`, else the version of the package that has the class."""
        version = declared(cls, "_block_schema_version")
        if version is not None:
            return version
        root = cls.__module__.partition(".")[0]
        if root in ("flowyard", "__main__"):
            return DEFAULT_BLOCK_SCHEMA_VERSION
        found = re.match(r"\d+(\.\d+)*", str(getattr(sys.modules.get(root), "__version__", "")))
        return found[0] if found else DEFAULT_BLOCK_SCHEMA_VERSION

    @classmethod
    def get_description(cls) -> str | None:
        """Return `_description`, else the first paragraph of the docstring."""
        return declared(cls, "_description", own=True) or docstring(cls).partition("\n\n")[0].strip() or None

    @classmethod
    def get_code_example(cls) -> str | None:
        """Return `_code_example`, else the section "Example" of the docstring."""
        example = declared(cls, "_code_example", own=True)
        if example is not None:
            return inspect.cleandoc(example)
        section = re.search(r"^Examples?:\s*\n((?:[ \t]+.*\n?|\s*\n)+)", docstring(cls), re.MULTILINE)
        return inspect.cleandoc(section[1]).strip() if section else None

    @classmethod
    def get_logo_url(cls) -> str | None:
        """Return the address of a picture for the block type."""
        return _text(declared(cls, "_logo_url", own=True))

    @classmethod
    def get_documentation_url(cls) -> str | None:
        """Return the address of the documentation of the block type."""
        return _text(declared(cls, "_documentation_url", own=True))

    @classmethod
    def is_protected(cls) -> bool:
        """Say whether the block type is built in and cannot be deleted."""
        return bool(declared(cls, "_is_protected", own=True))

    @classmethod
    def get_block_schema_fields(cls) -> dict[str, Any]:
        """Return the JSON schema of the class, with its secret fields and the block classes in it."""
        return fields_of(Block, cls)

    @classmethod
    def get_block_schema_checksum(cls) -> str:
        """Return the checksum of the schema; equal schemas have equal checksums."""
        return checksum_of_class(Block, cls)

    @classmethod
    def get_block_class_from_schema(cls, schema: BlockSchemaRecord) -> type[Self]:
        """Return the class that a schema describes.

        Raises:
            UnknownPlugin: it is not installed.
        """
        return cls.get_block_class_from_key(block_schema_to_key(schema))

    @classmethod
    def get_block_class_from_key(cls, key: str) -> type[Self]:
        """Return the class of a block type by its slug.

        Raises:
            UnknownPlugin: it is not installed.
        """
        return cast("type[Self]", registry.find_block_class(Block, key))

    @staticmethod
    def is_block_class(block: object) -> bool:
        """Say whether something is a class of blocks."""
        return inspect.isclass(block) and issubclass(block, Block)

    # --- in the state backend ---------------------------------------------------------------------------------

    @classmethod
    @dual
    def register_type_and_schema(cls, client: Any = None) -> None:
        """Register the class as a block type with its schema, and the block classes that its fields have.

        Raises:
            InvalidBlockRegistration: it is `Block` itself or abstract.
        """
        del client
        documents.register_with_inner(control_plane().blocks, cls)

    @dual
    def save(self, name: str | None = None, overwrite: bool = False, client: Any = None) -> UUID:
        """Save the block under a name, or again under the one it has; return the id of its document.

        Raises:
            BlockNameTaken: another block of its type has the name, and `overwrite` is not set.
            ValueError: there is no name, or it has other characters than lowercase letters, digits and dashes.
            InvalidBlockRegistration: it is a `Block` itself.
            BlockCycle: through the blocks it refers to it would contain itself.
        """
        del client
        is_again = name is None and self._block_document_name is not None
        name = self._block_document_name if name is None else name
        if name is None:
            raise ValueError(f"this {type(self).__name__} block has no name yet; give one: `.save(name)`")
        return documents.save(control_plane().blocks, self, name, overwrite=overwrite or is_again)

    @classmethod
    @dual
    def load(cls, name: str, validate: bool = True, client: Any = None) -> Self:
        """Return a saved block: `MyBlock.load("name")`, or `Block.load("slug/name")`.

        With `validate=False` a block whose class has changed since is loaded with None for what is missing, and a
        warning; set it and save the block again.

        Raises:
            BlockNotFound: none was saved under that name.
            InvalidBlockData: it does not fit its class any more.
            UnknownPlugin: its class is not installed.
            WrongEncryptionKey: its secrets were encrypted with another key.
        """
        del client
        return cast(
            "Self",
            documents.load_by_name(control_plane().blocks, cls, name, validate=validate),
        )

    @classmethod
    @dual
    def load_from_ref(
        cls,
        ref: str | UUID | Mapping[str, Any],
        validate: bool = True,
        client: Any = None,
    ) -> Self:
        """Return a saved block by its id, `slug/name`, or a mapping that has either.

        Raises:
            ValueError: the reference is none of these, or leads nowhere.
        """
        del client
        return cast(
            "Self",
            documents.load_from_ref(control_plane().blocks, cls, ref, validate=validate),
        )

    @classmethod
    @dual
    def delete(cls, name: str, client: Any = None) -> None:
        """Delete a saved block.

        Raises:
            BlockNotFound: none was saved under that name.
        """
        del client
        documents.delete(control_plane().blocks, cls, name)

    def get_block_placeholder(self) -> str:
        """Return the name by which templates refer to this block.

        Raises:
            BlockNotSavedError: it is not saved.
        """
        if not self._block_document_name or self._is_anonymous:
            raise BlockNotSavedError(type(self).__name__)
        return f"prefect.blocks.{self.get_block_type_slug()}.{self._block_document_name}"

    def remember_document(self, document_id: UUID, name: str, *, is_anonymous: bool) -> None:
        """Take note that the block is saved."""
        self._block_document_id = document_id
        self._block_document_name = name
        self._is_anonymous = is_anonymous

    # --- as data ----------------------------------------------------------------------------------------------

    @override
    def dict(self, *, include_secrets: bool = False, **options: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]  pydantic 1's `dict` takes what `model_dump` does
        """Return the fields as a dictionary; secrets as their types, or in the open if they are asked for."""
        dumped = self.model_dump(**options)
        return documents.reveal(dumped) if include_secrets else dumped

    @override
    def json(self, *, include_secrets: bool = False, **options: Any) -> str:  # pyright: ignore[reportIncompatibleMethodOverride]  as above
        """Return the fields as JSON; secrets as asterisks, or in the open if they are asked for."""
        dump = Dump(lambda _: (None, None))
        data = dump.model(self)
        return json.dumps(data if include_secrets else obfuscate(data, dump.secret_paths), **options)

    @override
    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        hidden = list(declared_secrets(type(self)))
        for name, value in super().__repr_args__():
            yield name, obfuscate({name: value}, hidden)[name] if hidden and name is not None else value

    @override
    def __eq__(self, other: object) -> bool:
        # Fields only: a block equals the one that was loaded from what it saved.
        if not isinstance(other, Block):
            return NotImplemented
        return type(other) is type(self) and other.__dict__ == self.__dict__


def _slug_of(text: str) -> str:
    if text.isascii():
        return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    spelled = unicodedata.normalize("NFKD", text.casefold())
    lost = any(letter.isalnum() and not letter.isascii() for letter in spelled)
    accents = {ord(letter): None for letter in spelled if unicodedata.combining(letter)}
    checksum = f" {hashlib.sha256(text.encode()).hexdigest()[:8]}" if lost else ""
    return re.sub(r"[^a-z0-9]+", "-", spelled.translate(accents) + checksum).strip("-")


def _text(value: object) -> str | None:
    return None if value is None else str(value)
