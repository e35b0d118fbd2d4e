"""The contract of the store of blocks on SQLite and PostgreSQL, and the key of its secrets."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from flowyard.exceptions import InvalidSetting, WrongEncryptionKey
from flowyard.local.backend import LocalBackend
from flowyard.ports.blocks import BlockStore
from flowyard.testing.blocks import BlockStoreContract, make_document


@pytest.fixture(params=["sqlite", "postgresql", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgresql":
        return request.getfixturevalue("postgres_url")
    return "sqlite:///:memory:" if request.param == "memory" else f"sqlite:///{tmp_path}/flowyard.db"


class TestBlocks(BlockStoreContract):
    @pytest.fixture
    def store(self, url: str, tmp_path: Path) -> Iterator[BlockStore]:  # pyright: ignore[reportIncompatibleMethodOverride]
        with LocalBackend.open(url, tmp_path) as backend:
            yield backend.control.blocks


@pytest.fixture(params=["sqlite", "postgresql"])
def shared_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgresql":
        return request.getfixturevalue("postgres_url")
    return f"sqlite:///{tmp_path}/home/flowyard.db"


def test_the_key_is_made_once_and_only_its_owner_can_read_it(shared_url: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    for name in ("one", "two"):
        with LocalBackend.open(shared_url, home) as backend:
            backend.control.blocks.save_document(make_document(backend.control.blocks, name, password="s3cr3t-value"))
    key = home / "encryption.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    with LocalBackend.open(shared_url, home, encryption_key=key.read_text()) as backend:
        store = backend.control.blocks
        assert store.read_document(store.find_document("thing", "one")).data == {"password": "s3cr3t-value"}
    assert [each.name for each in home.iterdir() if "key" in each.name] == ["encryption.key"]


def test_no_key_is_made_where_nothing_is_secret(tmp_path: Path) -> None:
    with LocalBackend.open(f"sqlite:///{tmp_path}/flowyard.db", tmp_path) as backend:
        saved = backend.control.blocks.save_document(make_document(backend.control.blocks, user="me"))
        assert backend.control.blocks.read_document(saved.id).data == {"user": "me"}
    assert not (tmp_path / "encryption.key").exists()


def test_with_another_key_nothing_is_read_or_overwritten(shared_url: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    right, wrong = (Fernet.generate_key().decode() for _ in range(2))
    with LocalBackend.open(shared_url, home, encryption_key=right) as backend:
        saved = backend.control.blocks.save_document(make_document(backend.control.blocks, password="s3cr3t-value"))
    with LocalBackend.open(shared_url, home, encryption_key=wrong) as backend:
        store = backend.control.blocks
        said = (
            r"encrypted with key '[0-9a-f]{16}', and FLOWYARD_SERVER_ENCRYPTION_KEY holds key '[0-9a-f]{16}'; nothing"
        )
        with pytest.raises(WrongEncryptionKey, match=said):
            store.read_document(saved.id)
        with pytest.raises(WrongEncryptionKey, match=said) as caught:
            store.save_document(make_document(store, password="other"), overwrite=True)
        assert wrong not in str(caught.value)
        with pytest.raises(WrongEncryptionKey, match=said):
            store.save_document(make_document(store, "two", password="other"))
        # What is not secret needs no key.
        assert store.read_document(saved.id, include_secrets=False).data == {"password": "********"}
        store.save_document(make_document(store, "open", user="me"))
    with LocalBackend.open(shared_url, home, encryption_key=right) as backend:
        store = backend.control.blocks
        assert store.read_document(saved.id).data == {"password": "s3cr3t-value"}
        assert store.count_documents() == 2


def test_a_lost_key_is_not_replaced_by_a_new_one(shared_url: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    with LocalBackend.open(shared_url, home) as backend:
        saved = backend.control.blocks.save_document(make_document(backend.control.blocks, password="s3cr3t-value"))
    (home / "encryption.key").rename(home / "moved")
    with LocalBackend.open(shared_url, home) as backend:
        store = backend.control.blocks
        with pytest.raises(WrongEncryptionKey, match=r"the file '.*encryption.key' holds no key"):
            store.read_document(saved.id)
        with pytest.raises(WrongEncryptionKey):
            store.save_document(make_document(store, "two", password="other"))
    assert not (home / "encryption.key").exists()


def test_a_key_that_is_none_is_refused_without_repeating_it(tmp_path: Path) -> None:
    with LocalBackend.open(f"sqlite:///{tmp_path}/flowyard.db", tmp_path, encryption_key="my-password") as backend:
        with pytest.raises(InvalidSetting, match="must be 32 bytes in URL-safe base64") as caught:
            backend.control.blocks.save_document(make_document(backend.control.blocks, password="s3cr3t-value"))
        assert "my-password" not in str(caught.value)
        assert backend.control.blocks.count_documents() == 0


def test_no_secret_is_in_the_file_of_the_database(tmp_path: Path) -> None:
    with LocalBackend.open(f"sqlite:///{tmp_path}/flowyard.db", tmp_path) as backend:
        store = backend.control.blocks
        store.save_document(
            make_document(store, user="not-a-secret", password="s3cr3t-value", more={"a": {"b": "deep-secret"}})
        )
    content = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert b"not-a-secret" in content
    assert b"s3cr3t-value" not in content
    assert b"deep-secret" not in content
