from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from flowyard import exceptions
from flowyard.client import FlowyardClient, get_client
from flowyard.client.base import FlowyardHTTPStatusError
from flowyard.client.collections import get_collections_metadata_client
from flowyard.client.schemas.filters import FilterSet
from flowyard.client.schemas.schedules import CronSchedule, RRuleSchedule, construct_schedule
from flowyard.client.utilities import client_injector, get_or_create_client, inject_client
from flowyard.process.backends import close_backends
from flowyard.settings import FLOWYARD_HOME, temporary_settings


@pytest.fixture(autouse=True)
def embedded(home: Path) -> Iterator[None]:
    with temporary_settings({FLOWYARD_HOME: home}):
        yield
        close_backends()


@inject_client
async def flows_of(prefix: str, client: FlowyardClient | None = None) -> list[str]:
    assert client is not None
    return [prefix + found.name for found in await client.read_flows()]


@client_injector
async def make(client: FlowyardClient, name: str) -> None:
    await client.create_flow_from_name(name)


def test_a_function_gets_a_client_or_the_one_of_its_caller() -> None:
    async def use() -> list[list[str]]:
        await make("f")
        async with get_client() as client:
            assert get_or_create_client(client) == (client, True)
            return [await flows_of("a-"), await flows_of("b-", client=client)]

    assert asyncio.run(use()) == [["a-f"], ["b-f"]]


def test_what_is_known_of_packages_is_read_with_a_client() -> None:
    async def read() -> str:
        async with get_collections_metadata_client() as client:
            return str(await client.read_worker_metadata())

    assert "process" in asyncio.run(read())


def test_an_error_says_what_was_asked_for_and_what_the_server_said() -> None:
    with get_client(sync_client=True) as client:
        with pytest.raises(exceptions.ObjectNotFound) as missing:
            client.read_flow_by_name("f")
        assert isinstance(missing.value.http_exc, FlowyardHTTPStatusError)
        assert missing.value.http_exc.response.status_code == 404
        with pytest.raises(
            exceptions.PrefectHTTPStatusError, match="Invalid limit: must be less than or equal to 200"
        ) as refused:
            client.read_flows(limit=1_000)
        assert isinstance(refused.value, httpx.HTTPStatusError)


def test_a_schedule_is_said_in_one_way() -> None:
    assert isinstance(construct_schedule(cron="0 3 * * *", timezone="Europe/Berlin"), CronSchedule)
    assert isinstance(construct_schedule(rrule="FREQ=DAILY"), RRuleSchedule)
    with pytest.raises(ValueError, match="given: interval, cron"):
        construct_schedule(interval=5, cron="0 3 * * *")
    with pytest.raises(ValueError, match="with an interval only"):
        construct_schedule(cron="0 3 * * *", anchor_date="2030-01-01")
    assert FilterSet().model_dump(exclude_unset=True) == {}
