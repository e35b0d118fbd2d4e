"""Saving and loading of blocks over the port. Everything blocks; `core` gives it the two colours."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, cast
from uuid import UUID, uuid4

from pydantic import BaseModel, Secret, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from flowyard.blocks.description import blocks_in
from flowyard.blocks.dumping import Dump, hide, restore
from flowyard.blocks.registry import find_block_class, is_concrete, origin_of
from flowyard.blocks.schema import SECRET_TYPES, field_key
from flowyard.exceptions import InvalidBlockData, InvalidBlockRegistration, ObjectNotFound
from flowyard.logging.loggers import get_logger
from flowyard.ports.blocks import BlockStore
from flowyard.schemas.blocks import BlockDocumentRecord, BlockSchemaRecord, BlockTypeRecord
from flowyard.schemas.secrets import covers, patterns_of

if TYPE_CHECKING:
    from flowyard.blocks.core import Block

_NAME = re.compile(r"[a-z0-9-]+")


def check_document_name(name: str) -> str:
    """Return a name that a block can be saved under.

    Raises:
        ValueError: it has other characters than lowercase letters, digits and dashes.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"block name {name!r} may only have lowercase letters, digits and dashes; choose another")
    return name


def register(store: BlockStore, kind: type[Block]) -> tuple[BlockTypeRecord, BlockSchemaRecord]:
    """Bring the stored type and schema of a class up to date; nothing is written when they are."""
    wanted = BlockTypeRecord(
        name=kind.get_block_type_name(),
        slug=kind.get_block_type_slug(),
        logo_url=kind.get_logo_url(),
        documentation_url=kind.get_documentation_url(),
        description=kind.get_description(),
        code_example=kind.get_code_example(),
        is_protected=kind.is_protected(),
        origin=origin_of(kind),
    )
    try:
        there = store.read_type(wanted.slug)
    except ObjectNotFound:
        there = store.register_type(wanted)
    else:
        told = ("name", "logo_url", "documentation_url", "description", "code_example", "is_protected", "origin")
        if any(getattr(there, name) != getattr(wanted, name) for name in told):
            there = store.register_type(wanted)
    checksum, version = kind.get_block_schema_checksum(), kind.get_block_schema_version()
    try:
        schema = store.read_schema(checksum, version)
    except ObjectNotFound:
        schema = store.register_schema(
            BlockSchemaRecord(
                checksum=checksum,
                block_type_id=there.id,
                fields=kind.get_block_schema_fields(),
                capabilities=sorted(kind.get_block_capabilities()),
                version=version,
            )
        )
    return there, schema


def register_with_inner(store: BlockStore, kind: type[Block]) -> None:
    """Register a class, and before it the block classes that its fields can hold.

    Raises:
        InvalidBlockRegistration: it is `Block` itself or abstract.
    """
    _refuse_base(kind)
    if not is_concrete(kind):
        missing = ", ".join(sorted(getattr(kind, "__abstractmethods__", ())))
        raise InvalidBlockRegistration(kind.__name__, f"it is abstract ({missing}); register a class derived from it")
    waiting, seen = [kind], {kind}
    while waiting:
        each = waiting.pop()
        register(store, each)
        for field in each.model_fields.values():
            inner = set(blocks_in(kind.root(), field.annotation)) - seen
            waiting += inner
            seen |= inner


def _refuse_base(kind: type[Block]) -> None:
    if kind is kind.root():
        raise InvalidBlockRegistration(kind.__name__, "it is the base of all blocks; register a class derived from it")


def save(store: BlockStore, block: Block, name: str | None, *, overwrite: bool) -> UUID:
    """Save a block and return the id of its document; without a name anonymously."""
    kind = type(block)
    _refuse_base(kind)
    block_type, schema = register(store, kind)
    dump = Dump(_identity)
    data = dump.model(block)
    patterns = patterns_of(schema.fields)
    record = BlockDocumentRecord(
        name=f"anonymous-{uuid4()}" if name is None else check_document_name(name),
        block_type_id=block_type.id,
        block_schema_id=schema.id,
        data=data,
        secret_paths=[list(path) for path in dump.secret_paths if not covers(patterns, path)],
        is_anonymous=name is None,
    )
    stored = store.save_document(record, overwrite=overwrite)
    _remember(block, stored)
    return stored.id


def load(store: BlockStore, base: type[Block], document_id: UUID, *, validate: bool = True) -> Block:
    """Return the saved block of that id, which must be of the class `base` or below.

    Raises:
        ObjectNotFound: there is none, or one that it refers to is gone.
        UnknownPlugin: its class is not installed.
        InvalidBlockData: it does not fit its class any more.
        TypeError: it is of another class.
    """
    document = store.read_document(document_id)
    made: dict[UUID, Block] = {}

    def resolve(target: UUID) -> Block:
        if target not in made:
            made[target] = _build(document.references[str(target)], base.root(), resolve, validate=validate)
        return made[target]

    return _build(document, base, resolve, validate=validate)


def load_by_name(store: BlockStore, base: type[Block], name: str, *, validate: bool = True) -> Block:
    """Return a saved block by its name, or by `slug/name`.

    Raises:
        BlockNotFound: none was saved under that name.
        ValueError: the name has no slug, and `base` is `Block`.
    """
    return load(store, base, store.find_document(*_slug_and_name(base, name)), validate=validate)


def load_from_ref(store: BlockStore, base: type[Block], ref: object, *, validate: bool = True) -> Block:
    """Return a saved block by its id, `slug/name`, or a mapping that has either.

    Raises:
        ValueError: the reference is none of these, or leads nowhere.
    """
    match ref:
        case {"$ref": object()}:
            return load_from_ref(store, base, cast("Any", ref)["$ref"], validate=validate)
        case UUID() | {"block_document_id": UUID()}:
            document_id = cast("UUID", ref if isinstance(ref, UUID) else cast("Any", ref)["block_document_id"])
        case {"block_document_id": str(text)}:
            document_id = UUID(text)
        case {"block_document_slug": str(text)}:
            return load_by_name(store, base, text, validate=validate)
        case str(text):
            try:
                document_id = UUID(text)
            except ValueError:
                return load_by_name(store, base, text, validate=validate)
        case _:
            raise ValueError(
                f"block reference {ref!r} is not known; give an id, 'slug/name', or a mapping with "
                "'block_document_id' or 'block_document_slug'"
            )
    return load(store, base, document_id, validate=validate)


def delete(store: BlockStore, base: type[Block], name: str) -> None:
    """Delete a saved block by its name, or by `slug/name`.

    Raises:
        BlockNotFound: none was saved under that name.
    """
    store.delete_document(store.find_document(*_slug_and_name(base, name)))


def _slug_and_name(base: type[Block], name: str) -> tuple[str, str]:
    if "/" in name:
        slug, _, rest = name.partition("/")
        return slug, rest
    if base is base.root() or not is_concrete(base):
        raise ValueError(f"block {name!r} has no type; load it as 'slug/name', or by its own class")
    return base.get_block_type_slug(), name


def ensure_saved(store: BlockStore, block: Block) -> UUID:
    """Return the id of a block's document; a block that is not saved is saved anonymously."""
    known = document_id_of(block)
    return known if known is not None else save(store, block, None, overwrite=False)


def document_id_of(block: object) -> UUID | None:
    """Return the id of a block's document; None when it is not saved, or no block."""
    return getattr(block, "_block_document_id", None)


def _build(document: BlockDocumentRecord, base: type[Block], resolve: Any, *, validate: bool) -> Block:
    assert document.block_type is not None, "read by `read_document`"
    assert document.block_schema is not None, "read by `read_document`"
    slug = document.block_type.slug
    root = base.root()
    if base is not root and base.get_block_type_slug() == slug:
        kind = base
    else:
        kind = find_block_class(root, slug, origin=document.block_type.origin)
    if not issubclass(kind, base):
        raise TypeError(f"block {f'{slug}/{document.name}'!r} is a {kind.__name__}, not a {base.__name__}")
    data: dict[str, Any] = restore(document.data, resolve)
    for path in document.secret_paths:
        hide(data, path)
    data.pop("block_type_slug", None)
    for name, field in kind.model_fields.items():
        # `name: str = None`, which pydantic 1 took for an optional text, is saved as null and would be refused.
        if field.default is None and data.get(field_key(name, field), ...) is None:
            del data[field_key(name, field)]
    try:
        block = kind.model_validate(data)
    except ValidationError as error:
        if validate:
            raise InvalidBlockData(slug, document.name, _told(error)) from None
        block = _salvage(kind, data, document)
    _remember(block, document)
    return block


def _salvage(kind: type[Block], data: dict[str, Any], document: BlockDocumentRecord) -> Block:
    """Return a block with those values that still fit; fields without one are None."""
    assert document.block_schema is not None, "read by `read_document`"
    patterns = patterns_of(document.block_schema.fields, document.secret_paths)
    values: dict[str, Any] = {}
    lost: list[str] = []
    for name, field in kind.model_fields.items():
        key = field_key(name, field)
        if key in data:
            try:
                values[name] = _adapter(kind, field).validate_python(data[key])
            except ValidationError:
                if any(pattern and pattern[0] in (key, "*", "**") for pattern in patterns):
                    hide(data, (key,))
                values[name] = data[key]
                lost.append(f"{name} has an invalid value")
        elif field.is_required():
            values[name] = None
            lost.append(f"{name} is missing")
    get_logger("blocks").warning(
        "Block %r was loaded without validation: %s. Set what is missing and save it with overwrite=True.",
        f"{document.block_type.slug if document.block_type else ''}/{document.name}",
        ", ".join(lost) or "it does not fit its class",
    )
    return kind.model_construct(**values)


def _adapter(kind: type[Block], field: FieldInfo) -> TypeAdapter[Any]:
    annotation: Any = field.annotation
    for metadata in field.metadata:
        annotation = Annotated[annotation, metadata]
    return TypeAdapter(annotation)


def _told(error: ValidationError) -> str:
    lines = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(f"{'.'.join(map(str, line['loc'])) or 'the block'}: {line['msg']}" for line in lines)


def _identity(model: BaseModel) -> tuple[str | None, UUID | None]:
    slug_of = getattr(model, "get_block_type_slug", None)
    return (None, None) if slug_of is None else (slug_of(), document_id_of(model))


def _remember(block: Block, document: BlockDocumentRecord) -> None:
    block.remember_document(document.id, document.name, is_anonymous=document.is_anonymous)


def reveal(value: Any) -> Any:
    """Return data with its secrets in the open."""
    if isinstance(value, SECRET_TYPES):
        return reveal(cast("Secret[Any]", value).get_secret_value())
    if isinstance(value, dict):
        return {key: reveal(item) for key, item in cast("dict[Any, Any]", value).items()}
    if isinstance(value, (list, tuple)):
        return [reveal(item) for item in cast("list[Any]", value)]
    return value
