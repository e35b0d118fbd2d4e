"""No secret of random, nested blocks is found in the database, logs, output, tracebacks or metadata of results."""

from __future__ import annotations

import io
import logging
import string
import tempfile
import traceback
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, SecretBytes, SecretStr, ValidationError
from typer.testing import CliRunner

from flowyard import flow, get_run_logger, task
from flowyard.blocks.core import Block
from flowyard.blocks.fields import SecretDict
from flowyard.cli import app
from flowyard.process.backends import close_backends
from flowyard.settings import FLOWYARD_HOME, temporary_settings

# Long enough not to be found by chance, and never part of what is open.
SECRETS = st.text(alphabet=string.ascii_letters + string.digits + " .ü€\"'\\\n{}%", min_size=12, max_size=40).map(
    lambda text: f"S3CR3T{text}"
)


class Leaf(Block):
    name: str = "open"
    password: SecretStr
    raw: SecretBytes | None = None


class Model(BaseModel):
    token: SecretStr
    inner: Model | None = None


class Node(Block):
    leaf: Leaf | None = None
    leaves: list[Leaf] = Field(default_factory=list)
    by_name: dict[str, SecretStr | Leaf] = Field(default_factory=dict)
    more: SecretDict | None = None
    model: Model | None = None
    anything: Any = None


LEAVES = st.builds(
    Leaf,
    password=SECRETS.map(SecretStr),
    raw=st.none() | SECRETS.map(lambda text: SecretBytes(text.encode() + b"\xff")),
)
MODELS: st.SearchStrategy[Model] = st.recursive(
    st.builds(Model, token=SECRETS.map(SecretStr), inner=st.none()),
    lambda inner: st.builds(Model, token=SECRETS.map(SecretStr), inner=inner),
    max_leaves=3,
)
KEYS = st.sampled_from(["a", "b.c", "*", "**", "password", "$ref"])
NODES = st.builds(
    Node,
    leaf=st.none() | LEAVES,
    leaves=st.lists(LEAVES, max_size=2),
    by_name=st.dictionaries(KEYS, SECRETS.map(SecretStr) | LEAVES, max_size=2),
    more=st.none() | st.dictionaries(KEYS, SECRETS | st.lists(SECRETS, max_size=2), max_size=2).map(SecretDict),
    model=st.none() | MODELS,
    anything=st.none() | st.dictionaries(KEYS, st.lists(SECRETS.map(SecretStr), max_size=2), max_size=2),
)


def secrets_of(value: Any) -> list[bytes]:
    """Return every secret in a value, by a walk that has nothing to do with the code under test."""
    if isinstance(value, (SecretStr, SecretBytes, SecretDict)):
        return plain(value.get_secret_value())
    if isinstance(value, BaseModel):
        return [found for item in value.__dict__.values() for found in secrets_of(item)]
    if isinstance(value, dict):
        return [found for item in value.values() for found in secrets_of(item)]
    if isinstance(value, list):
        return [found for item in value for found in secrets_of(item)]
    return []


def plain(value: Any) -> list[bytes]:
    if isinstance(value, (dict, list)):
        items = value.values() if isinstance(value, dict) else value
        return [found for item in items for found in plain(item)]
    text = value if isinstance(value, bytes) else str(value).encode()
    # What would be found also if quotes and other characters were escaped in between.
    return [text, text.split(b" ")[0][:14]]


@task(persist_result=True)
def use(block: Node) -> str:
    get_run_logger().warning("using %s %r", block, block)
    return repr(block)


@flow
def fail(block: Node) -> None:
    use(block)
    raise RuntimeError(f"failed with {block!r}")


@pytest.mark.timeout(600)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(block=NODES, saves_leaf=st.booleans())
def test_no_secret_leaks(block: Node, saves_leaf: bool) -> None:
    hidden = [secret for secret in secrets_of(block) if len(secret) >= 8]
    written = io.StringIO()
    listener = logging.StreamHandler(written)
    logging.getLogger("flowyard").addHandler(listener)
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(written), redirect_stderr(written):
        home = Path(folder)
        with temporary_settings({FLOWYARD_HOME: home}):
            try:
                if saves_leaf and block.leaf is not None:
                    block.leaf.save("leaf")
                block.save("node")
                assert Node.load("node") == block
                for call in (
                    lambda: fail(block),
                    lambda: Leaf(name=block, password=block.leaf, raw=hidden),  # pyright: ignore[reportArgumentType]
                    lambda: Node.model_validate({"leaf": {"name": 5, "password": [repr(hidden)]}}),
                ):
                    try:
                        call()
                    except (RuntimeError, ValidationError) as error:
                        written.write("".join(traceback.format_exception(error)))
            finally:
                logging.getLogger("flowyard").removeHandler(listener)
                close_backends()
            for command in (("ls",), ("inspect", "node/node"), ("type", "inspect", "node")):
                for output in ("table", "json"):
                    done = CliRunner().invoke(app, ["block", *command, "--output", output])
                    assert done.exit_code == 0, done.output
                    written.write(done.output)
        kept = written.getvalue().encode() + b"".join(file.read_bytes() for file in home.iterdir() if file.is_file())
        # Values are the user's own, in storage that the user chose; what is recorded about them is in the header.
        heads = [file.read_bytes().partition(b"\n")[0] for file in home.glob("storage/**/*") if file.is_file()]
    assert b"SQLite format 3" in kept
    leaked = [secret for secret in hidden if secret in kept or any(secret in head for head in heads)]
    assert leaked == []
