"""Encryption of what is secret in the state backend: Fernet, with a key that is given or made once.

`cryptography` is imported when the first secret is stored or read: it takes 60 ms.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy.engine import Connection

from flowyard.exceptions import InvalidSetting, WrongEncryptionKey
from flowyard.store import configuration
from flowyard.store.dialects import Dialect

if TYPE_CHECKING:
    from cryptography.fernet import Fernet

SETTING = "FLOWYARD_SERVER_ENCRYPTION_KEY"
KEY_FILE = "encryption.key"
_FINGERPRINT = "ENCRYPTION_KEY_FINGERPRINT"


class Vault:
    """Encrypts and decrypts with the one key of a state backend. Safe to use from every thread.

    The fingerprint of the key that was used first is kept in the database, so that another key is refused before it
    changes anything.
    """

    def __init__(self, dialect: Dialect, *, key: str | None, folder: Path | None) -> None:
        """Take the key of the setting, if there is one.

        Args:
            dialect: of the database that keeps the fingerprint.
            key: what the setting says.
            folder: where the file with the key is, or is made; None keeps it in memory only.
        """
        self._dialect = dialect
        self._given = key
        self._file = None if folder is None else folder / KEY_FILE
        self._fernet: Fernet | None = None
        self._fingerprint = ""

    def encrypt(self, connection: Connection, text: str) -> str:
        """Return the token of a text.

        Raises:
            WrongEncryptionKey: other secrets here were encrypted with another key.
            InvalidSetting: the key of the setting is none.
        """
        fernet = self._open(connection)
        stored = configuration.find_or_insert(connection, self._dialect, _FINGERPRINT, self._fingerprint)
        if stored != self._fingerprint:
            raise WrongEncryptionKey(stored, self._source, self._fingerprint)
        return fernet.encrypt(text.encode()).decode()

    def decrypt(self, connection: Connection, token: str) -> str:
        """Return the text of a token.

        Raises:
            WrongEncryptionKey: it was encrypted with another key, or changed since.
        """
        from cryptography.fernet import InvalidToken  # noqa: PLC0415  only where there are secrets

        fernet = self._open(connection)
        try:
            return fernet.decrypt(token).decode()
        except InvalidToken as error:
            stored = configuration.find(connection, _FINGERPRINT) or "?"
            raise WrongEncryptionKey(stored, self._source, self._fingerprint) from error

    @property
    def _source(self) -> str:
        if self._given is not None:
            return SETTING
        return "this process" if self._file is None else f"the file {str(self._file)!r}"

    def _open(self, connection: Connection) -> Fernet:
        if self._fernet is None:
            from cryptography.fernet import Fernet  # noqa: PLC0415  only where there are secrets

            key = self._given or self._read_file()
            if key is None:
                stored = configuration.find(connection, _FINGERPRINT)
                if stored is not None:
                    # A new key would not open what is there; whoever saved it has the right one.
                    raise WrongEncryptionKey(stored, self._source, "")
                key = self._make_file(Fernet.generate_key().decode())
            try:
                fernet = Fernet(key)
            except ValueError:
                advice = (
                    "it must be 32 bytes in URL-safe base64, as `python -c 'from cryptography.fernet import Fernet; "
                    "print(Fernet.generate_key().decode())'` prints them"
                )
                raise InvalidSetting(self._source, "********", advice) from None
            self._fingerprint = hashlib.sha256(b"flowyard " + key.encode()).hexdigest()[:16]
            self._fernet = fernet
        return self._fernet

    def _read_file(self) -> str | None:
        if self._file is None:
            return None
        try:
            return self._file.read_text("ascii").strip()
        except FileNotFoundError:
            return None

    def _make_file(self, key: str) -> str:
        """Write a new key where only this user can read it; return the one of another process that was faster."""
        if self._file is None:
            return key
        temporary = self._file.with_name(f".{KEY_FILE}.{os.urandom(6).hex()}")
        self._file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with open(descriptor, "w", encoding="ascii") as file:
                file.write(key)
                file.flush()
                os.fsync(file.fileno())
            # A link appears whole or not at all, and never replaces a key that is there.
            with contextlib.suppress(FileExistsError):
                os.link(temporary, self._file)
        finally:
            temporary.unlink()
        return self._file.read_text("ascii").strip()
