from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowyard.settings.setting import PROCESS


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty environment with a home of its own; what the process read before comes back afterwards."""
    for name in [name for name in os.environ if name.startswith("FLOWYARD")]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv("FLOWYARD_HOME", str(tmp_path / "home"))
    PROCESS.forget_root()
    yield tmp_path / "home"
    PROCESS.forget_root()
    assert not PROCESS.is_overridden, "a test left temporary settings behind"
