"""Signals that meet the flow where exceptions get lost."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator

import pytest

from flowyard import flow
from flowyard.exceptions import TerminationSignal
from flowyard.testing.utilities import flowyard_test_harness

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")


@pytest.fixture(scope="module", autouse=True)
def backend() -> Iterator[None]:
    with flowyard_test_harness():
        yield


class Troubled:
    def __del__(self) -> None:
        raise ValueError("this is only printed")


class Stopping:
    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(30)


def swallow(_: object) -> None:
    """Take the place of the interpreter's hook, which ends whatever is raised while it prints an exception."""
    with contextlib.suppress(BaseException):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(30)


def test_a_stop_that_comes_where_exceptions_are_only_printed_is_raised_again() -> None:
    @flow
    def stopped() -> None:
        Stopping()
        time.sleep(30)

    with pytest.raises(TerminationSignal):
        stopped()


def test_a_stop_that_comes_while_an_exception_is_printed_is_raised_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "unraisablehook", swallow)

    @flow
    def stopped() -> None:
        Troubled()
        time.sleep(30)

    with pytest.raises(TerminationSignal):
        stopped()
