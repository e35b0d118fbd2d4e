from __future__ import annotations

import inspect
from typing import Any

import pytest

from flowyard import flow
from flowyard.blocks import abstract
from flowyard.blocks.abstract import CredentialsBlock, DatabaseBlock, NotificationBlock, NotificationError
from flowyard.blocks.core import Block


class Key(CredentialsBlock):
    key: str

    def get_client(self, *args: Any, **kwargs: Any) -> str:
        self.logger.info("client of %s", self.key)
        return f"client {self.key}"


class Bell(NotificationBlock):
    async def notify(self, body: str, subject: str | None = None) -> None:
        if self._raises_on_failure:
            raise NotificationError(body)


class Database(DatabaseBlock):
    async def fetch_one(self, operation: str, parameters: Any = None, **execution_kwargs: Any) -> None: ...
    async def fetch_many(
        self, operation: str, parameters: Any = None, size: int | None = None, **execution_kwargs: Any
    ) -> list[Any]:
        return []

    async def fetch_all(self, operation: str, parameters: Any = None, **execution_kwargs: Any) -> list[Any]:
        return []

    async def execute(self, operation: str, parameters: Any = None, **execution_kwargs: Any) -> None: ...
    async def execute_many(self, operation: str, seq_of_parameters: Any, **execution_kwargs: Any) -> None: ...


@pytest.mark.parametrize(
    "kind",
    [
        value
        for value in vars(abstract).values()
        if inspect.isclass(value) and issubclass(value, Block) and value is not Block
    ],
    ids=lambda kind: kind.__name__,
)
def test_what_is_missing_must_be_written(kind: type[Block]) -> None:
    with pytest.raises(TypeError, match="abstract"):
        kind()


def test_the_logger_is_that_of_the_run_inside_of_one(caplog: pytest.LogCaptureFixture) -> None:
    block = Key(key="k")
    assert block.logger.name == "flowyard.Key"

    @flow
    def use() -> str:
        return block.get_client()

    assert use() == "client k"
    assert (
        next(record.name for record in caplog.records if record.getMessage() == "client of k") == "flowyard.flow_runs"
    )


async def _notify(block: Bell) -> None:
    await block.notify("no")


def test_a_notification_raises_only_where_it_shall() -> None:
    import asyncio

    block = Bell()
    asyncio.run(_notify(block))
    with block.raise_on_failure(), pytest.raises(NotificationError, match="no"):
        asyncio.run(_notify(block))
    asyncio.run(_notify(block))
    assert Bell.get_block_capabilities() == {"notify"}


def test_a_database_without_connections_to_close_is_no_context_manager() -> None:
    with pytest.raises(NotImplementedError, match="Database does not support `with`"), Database():
        pass
