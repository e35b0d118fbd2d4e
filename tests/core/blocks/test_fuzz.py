"""No secret of random, nested blocks is found in the database, logs, output, tracebacks or metadata of results."""

from __future__ import annotations

import base64
import io
import json
import logging
import re
import string
import tempfile
import traceback
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, SecretBytes, SecretStr, ValidationError
from typer.testing import CliRunner

from flowyard import flow, get_run_logger, task
from flowyard.artifacts import create_markdown_artifact
from flowyard.blocks.core import Block
from flowyard.blocks.fields import SecretDict
from flowyard.cli import app
from flowyard.client import get_client
from flowyard.process.backends import close_backends
from flowyard.settings import FLOWYARD_HOME, temporary_settings
from flowyard.variables import Variable

# Never part of what is open; without a character that is escaped anywhere, so it is found in whatever form.
MARK = "S3CR3T0f7esting"
SECRETS = st.text(alphabet=string.ascii_letters + string.digits + " .ü€\"'\\\n{}%", max_size=40).map(
    lambda text: f"{text}{MARK}{text}"
)
# What base64 makes of the mark, whatever comes before it.
FORMS = [MARK.encode()] + [
    base64.b64encode(b"0" * offset + MARK.encode())[4 * (offset > 0) : -4] for offset in range(3)
]


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
COMMANDS = (
    ("block", "ls"),
    ("block", "inspect", "node/node"),
    ("block", "type", "inspect", "node"),
    ("flow-run", "ls"),
    ("task-run", "ls"),
    ("artifact", "ls"),
    ("artifact", "inspect", "report"),
    ("variable", "inspect", "setting"),
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


def has_a_secret(value: Any) -> bool:
    """Say whether there is one, by a walk that has nothing to do with the code under test."""
    if isinstance(value, (SecretStr, SecretBytes, SecretDict)):
        return MARK in repr(value.get_secret_value())
    if isinstance(value, BaseModel):
        return any(has_a_secret(item) for item in value.__dict__.values())
    if isinstance(value, dict):
        return any(map(has_a_secret, value.values()))
    return isinstance(value, list) and any(map(has_a_secret, value))


def leaks_in(content: bytes) -> list[bytes]:
    """Return what is around the secrets that are found."""
    return [content[max(at - 200, 0) : at + 100] for form in FORMS if (at := content.find(form)) >= 0]


@task(persist_result=True)
def use(block: Node) -> str:
    get_run_logger().warning("using %s %r", block, block)
    return repr(block)


@task(persist_result=True)
def fail_too(block: Node) -> None:
    raise LookupError(f"the task failed with {block} and {[block]!r}")


@flow(persist_result=True)
def fail(block: Node) -> None:
    use(block)
    create_markdown_artifact(f"made of {block!r}", key="report")
    Variable.set("setting", {"block": str(block)}, overwrite=True)
    try:
        fail_too(block)
    except LookupError as error:
        raise RuntimeError(f"failed with {block!r}") from error


@pytest.mark.timeout(600)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(block=NODES, saves_leaf=st.booleans())
def test_no_secret_leaks(block: Node, saves_leaf: bool) -> None:
    event(f"there is a secret: {has_a_secret(block)}")
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
                    lambda: Leaf(name=block, password=block.leaf, raw=[MARK]),  # pyright: ignore[reportArgumentType]
                    lambda: Node.model_validate({"leaf": {"name": 5, "password": [MARK]}}),
                ):
                    try:
                        call()
                    except (RuntimeError, ValidationError) as error:
                        written.write("".join(traceback.format_exception(error)))
                with get_client(sync_client=True) as client:
                    flow_runs, task_runs = client.read_flow_runs(), client.read_task_runs()
                written.write(repr((flow_runs, task_runs, [run.state for run in (*flow_runs, *task_runs)])))
            finally:
                logging.getLogger("flowyard").removeHandler(listener)
                close_backends()
            runs = [("flow-run", word, str(run.id)) for run in flow_runs for word in ("inspect", "logs")]
            runs += [("task-run", word, str(run.id)) for run in task_runs for word in ("inspect", "logs")]
            for command in (*COMMANDS, *runs):
                for output in ("table", "json"):
                    done = CliRunner().invoke(app, [*command, "--output", output])
                    assert done.exit_code == 0, done.output
                    written.write(done.output)
            close_backends()
        files = {file: file.read_bytes() for file in home.rglob("*") if file.is_file()}
    assert len(flow_runs) == 1
    assert {run.name for run in task_runs} == {"use-0", "fail_too-0"}
    # Values are the user's own, in storage that the user chose; what is recorded about them is in their headers.
    stored = {file for file in files if "storage" in file.relative_to(home).parts}
    heads = [head for file in stored for head in re.findall(rb'\{"format": [^\n]*', files[file])]
    assert any(b'"exception": {' in head for head in heads)
    places = {
        "logs, output and tracebacks": written.getvalue().encode(),
        "metadata of results": b"\n".join(heads),
        **{file.name: content for file, content in files.items() if file not in stored},
    }
    assert places["flowyard.db"].startswith(b"SQLite format 3")
    assert {place: found for place, content in places.items() if (found := leaks_in(content))} == {}


@settings(max_examples=20, deadline=None)
@given(secret=SECRETS)
def test_a_leak_would_be_found(secret: str) -> None:
    block = Node(leaf=Leaf(password=SecretStr(secret)))
    assert has_a_secret(block)
    for offset in range(3):
        assert leaks_in(base64.b64encode(b"x" * offset + secret.encode()))
    for text in (secret, repr(secret), json.dumps([secret]), f"{secret!r:.30}{secret}"):
        assert leaks_in(text.encode())
    assert not leaks_in(repr(block).encode())
