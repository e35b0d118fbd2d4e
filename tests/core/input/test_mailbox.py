"""Typed values are sent to a flow run and received in it."""

from __future__ import annotations

import asyncio
from uuid import UUID, uuid4

import pytest
from pydantic import BaseModel

from flowyard import flow
from flowyard.context import FlowRunContext
from flowyard.input import RunInput, receive_input, send_input

pytestmark = pytest.mark.usefixtures("records")


class Order(RunInput):
    item: str


class Point(BaseModel):
    x: int


def run_id() -> UUID:
    here = FlowRunContext.get()
    assert here is not None
    return here.flow_run.id


def test_values_come_in_order_and_by_type() -> None:
    @flow
    def mailbox() -> list[object]:
        mine = run_id()
        send_input(1, mine)
        send_input("text", mine)
        send_input(2, mine)
        Order(item="tea").send_to(mine)
        send_input(Point(x=5), mine)
        kinds = (int, str, Order, Point)
        return [list(receive_input(kind, timeout=0)) for kind in kinds]

    numbers, texts, orders, points = mailbox()
    assert (numbers, texts) == ([1, 2], ["text"])
    assert [order.item for order in orders] == ["tea"]  # pyright: ignore[reportGeneralTypeIssues, reportUnknownMemberType, reportUnknownVariableType]
    assert [point.x for point in points] == [5]  # pyright: ignore[reportGeneralTypeIssues, reportUnknownMemberType, reportUnknownVariableType]


def test_an_async_flow_receives_with_async_for() -> None:
    @flow
    async def mailbox() -> list[int]:
        await send_input(1, str(run_id()))
        return [value async for value in receive_input(int, timeout=0)]

    assert asyncio.run(mailbox()) == [1]


def test_a_flow_answers_who_sent_to_it() -> None:
    @flow
    def asks(other: UUID) -> UUID:
        Order(item="tea").send_to(other)
        return run_id()

    @flow
    def answers() -> tuple[UUID, list[str]]:
        sender = asks(run_id())
        Order.receive(timeout=0).next().respond("served")
        return sender, list(receive_input(str, timeout=0, flow_run_id=sender))

    assert answers()[1] == ["served"]


def test_metadata_tells_who_sent_a_plain_value() -> None:
    @flow
    def mailbox() -> str | None:
        send_input(1, run_id(), sender="me")
        return receive_input(int, timeout=0, with_metadata=True).next().metadata.sender

    assert mailbox() == "me"


def test_who_waits_in_vain_is_told_if_he_wants() -> None:
    with pytest.raises(TimeoutError, match="no input"):
        next(receive_input(int, timeout=0, raise_timeout_error=True, flow_run_id=uuid4()))
    assert list(receive_input(int, timeout=0, flow_run_id=uuid4())) == []


def test_there_must_be_a_flow_run_to_receive_for() -> None:
    with pytest.raises(RuntimeError, match="flow_run_id"):
        receive_input(int)


def test_nobody_can_be_answered_who_did_not_send_from_a_flow() -> None:
    with pytest.raises(RuntimeError, match="nobody to respond to"):
        Order(item="tea").respond("x")
