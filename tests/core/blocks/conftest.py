from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from flowyard.process.backends import close_backends
from flowyard.settings import FLOWYARD_HOME, temporary_settings


@pytest.fixture(autouse=True)
def backend_home(tmp_path: Path) -> Iterator[Path]:
    """A state backend of its own for each test."""
    with temporary_settings({FLOWYARD_HOME: tmp_path / "home"}):
        yield tmp_path / "home"
        close_backends()
