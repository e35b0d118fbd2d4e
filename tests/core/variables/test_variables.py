from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from flowyard import flow, task, variables
from flowyard.variables import Variable

ANY: Any = Variable
"""The same without types: no signature can say that `_sync` is added to it."""
pytestmark = pytest.mark.usefixtures("records")


def test_what_is_set_is_got() -> None:
    made = Variable.set("got", {"a": [1, None]}, tags=["x"])
    assert made == Variable.get("got") == Variable("got", {"a": [1, None]}, ["x"])


def test_a_variable_that_is_not_there_is_the_default() -> None:
    assert Variable.get("nothing") is None
    assert Variable.get("nothing", default="else") == "else"


def test_an_existing_variable_is_not_overwritten_unasked() -> None:
    Variable.set("kept", "first")
    with pytest.raises(ValueError, match=r"variable 'kept' exists already.*overwrite=True"):
        Variable.set("kept", "second")
    assert Variable.get("kept").value == "first"


def test_overwriting_without_tags_keeps_the_tags() -> None:
    Variable.set("over", 1, tags=["a"])
    assert Variable.set("over", 2, overwrite=True) == Variable("over", 2, ["a"])
    assert Variable.set("over", 3, tags=[], overwrite=True) == Variable("over", 3, [])


def test_one_string_is_no_list_of_tags() -> None:
    with pytest.raises(TypeError, match=r"pass a list of them: \['ab'\]"):
        Variable.set("tagged", 1, tags="ab")
    assert Variable.get("tagged") is None


def test_an_unset_variable_is_gone() -> None:
    Variable.set("unset", 1)
    assert Variable.unset("unset") is True
    assert Variable.get("unset") is None
    assert Variable.unset("unset") is False


def test_the_function_get_returns_the_value_alone() -> None:
    Variable.set("alone", [1])
    assert variables.get("alone") == [1]
    assert variables.get("nothing", 5) == 5


def test_a_sync_flow_and_its_tasks_get_the_value_itself() -> None:
    Variable.set("in_sync", 1)

    @task
    def read() -> Any:
        return Variable.get("in_sync").value

    @flow
    def reads() -> list[Any]:
        return [Variable.get("in_sync").value, read(), read.submit().result()]

    assert reads() == [1, 1, 1]


def test_an_async_flow_and_its_tasks_await_it() -> None:
    @task
    async def write() -> Any:
        return (await Variable.set("in_async", 1)).value

    @flow
    async def writes() -> list[Any]:
        written = await write()
        return [written, (await Variable.get("in_async")).value, ANY.get("in_async", _sync=True).value]

    assert asyncio.run(writes()) == [1, 1, 1]


def test_without_a_run_the_event_loop_decides() -> None:
    Variable.set("outside", 1)

    async def read() -> list[Any]:
        return [(await Variable.get("outside")).value, ANY.get("outside", _sync=True).value]

    assert asyncio.run(read()) == [1, 1]


def test_a_sync_flow_in_a_running_loop_blocks() -> None:
    Variable.set("notebook", 1)

    @flow
    def reads() -> Any:
        return Variable.get("notebook").value

    async def cell() -> Any:
        return reads()

    assert asyncio.run(cell()) == 1


def test_the_awaitable_does_not_block_the_loop_of_others() -> None:
    Variable.set("others", 1)
    loop_thread: list[int] = []

    async def read() -> None:
        loop_thread.append(threading.get_ident())
        found = await asyncio.gather(*(ANY.get.aio(Variable, "others") for _ in range(5)))
        assert [each.value for each in found] == [1] * 5

    asyncio.run(read())


@pytest.mark.parametrize("name", ["Upper", "a-b", "", "a b"])
def test_a_bad_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="lowercase letters, digits and underscores"):
        Variable.set(name, 1)
