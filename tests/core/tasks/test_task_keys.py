from __future__ import annotations

import os
import subprocess
import sys

import pytest

from flowyard.tasks import task_key_of

SCRIPT = """
from flowyard.tasks import task_key_of

def check(word):
    def inner():
        return word in {"gamma", "delta", "epsilon"}
    return word in {"alpha", "beta", "gamma", "delta"} or inner()

print(task_key_of(check))
"""


def test_a_key_is_the_same_in_every_process() -> None:
    # The order of a set of strings, also of one among the constants of a function, differs from process to process.
    keys = {
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in range(4)
    }
    assert len(keys) == 1


def test_a_key_changes_with_the_code_and_with_the_name() -> None:
    def first(x: int) -> int:
        return x + 1

    def second(x: int) -> int:
        return x + 2

    one, two = task_key_of(first), task_key_of(second)
    second.__name__ = "first"
    assert one.startswith("first-")
    assert len({one, two, task_key_of(second)}) == 3


@pytest.mark.parametrize("fn", [len, print], ids=["len", "print"])
def test_what_has_no_code_has_a_key_too(fn: object) -> None:
    assert task_key_of(fn) == "builtins.builtin_function_or_method"  # pyright: ignore[reportArgumentType]
