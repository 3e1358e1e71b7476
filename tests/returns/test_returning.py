"""Goods come back: asked for, approved, received, inspected, paid back, against a real PostgreSQL."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from db.payments import Refund
from db.returns import Return, ReturnLine
from domain.access import PORTAL_SCOPES, Principal, PrincipalKind
from domain.errors import InvalidInput, InvalidTransition, NotFound, QuantityExceeded, Refused
from domain.money import Money
from domain.order_commands import PaymentIntent
from domain.payment_commands import CreateRefund
from domain.payments import PaymentMethod
from domain.return_commands import (
    ApproveReturn,
    CancelReturn,
    CloseReturn,
    DeclineReturn,
    ExpireReturns,
    InspectedUnits,
    InspectReturn,
    MarkReturnSent,
    ReceivedUnits,
    ReceiveReturn,
    RequestReturn,
    ReturnUnits,
    UnexpectedUnits,
)
from domain.returns import Disposition, ReturnReason
from services.refunds import create_refund
from services.return_inspection import inspect_return, receive_return
from services.return_requests import request_return
from services.returns import (
    approve_return,
    cancel_return,
    close_return,
    decline_return,
    expire_returns,
    mark_return_sent,
)
from tests.fulfillment.steps import (
    CARD,
    accepted,
    backlog,
    discrepancies_of,
    movements,
    settle_payments,
    ship,
    unknown_id,
    warehouse,
)
from tests.invariants import assert_invariants
from tests.world import STAFF, World, make_world


async def sold(world: World, *lines: tuple[str, int], **more: Any) -> UUID:
    """An order that was paid by card and has left."""
    order_id = await world.place(*lines, payment=CARD, **more)
    await settle_payments(world, order_id)
    await ship(world, await accepted(world, order_id))
    await settle_payments(world, order_id)
    return order_id


async def requested(world: World, order_id: UUID, *quantities: int, actor: Principal = STAFF) -> UUID:
    lines = await world.lines(order_id)
    return_id: UUID = await world.run(
        request_return,
        RequestReturn(
            order_id=order_id,
            lines=tuple(
                ReturnUnits(order_line_id=line.id, quantity=quantity, reason=ReturnReason.DOES_NOT_FIT)
                for line, quantity in zip(lines, quantities, strict=False)
                if quantity
            ),
        ),
        actor,
    )
    return return_id


async def opened(world: World, order_id: UUID, *quantities: int) -> UUID:
    return_id = await requested(world, order_id, *quantities)
    await world.run(approve_return, ApproveReturn(return_id=return_id))
    return return_id


async def received(world: World, order_id: UUID, *quantities: int) -> UUID:
    return_id = await opened(world, order_id, *quantities)
    await receive(world, return_id, *(quantity for quantity in quantities if quantity))
    return return_id


async def receive(world: World, return_id: UUID, *quantities: int, **more: Any) -> None:
    lines = await return_lines(world, return_id)
    units = [
        ReceivedUnits(line_id=line.id, quantity=quantity)
        for line, quantity in zip(lines, quantities, strict=False)
        if quantity
    ]
    await world.run(
        receive_return, ReceiveReturn(return_id=return_id, lines=tuple(units), **more), warehouse(world)
    )


async def inspect(
    world: World,
    return_id: UUID,
    *judged: tuple[int, int],
    disposition: Disposition | None = Disposition.RESTOCK,
    **more: Any,
) -> None:
    lines = await return_lines(world, return_id)
    await world.run(
        inspect_return,
        InspectReturn(
            return_id=return_id,
            lines=tuple(
                InspectedUnits(line_id=line.id, accepted=accepted, rejected=rejected, disposition=disposition)
                for line, (accepted, rejected) in zip(lines, judged, strict=False)
            ),
            **more,
        ),
        warehouse(world),
    )


async def return_lines(world: World, return_id: UUID) -> list[sa.Row[Any]]:
    return await world.all(
        sa.select(ReturnLine.__table__).where(ReturnLine.return_id == return_id).order_by(ReturnLine.id)
    )


async def the_return(world: World, return_id: UUID) -> sa.Row[Any]:
    return await world.one(sa.select(Return.__table__).where(Return.id == return_id))


async def refunds(world: World, order_id: UUID) -> list[tuple[str, int, UUID | None]]:
    rows = await world.all(sa.select(Refund.__table__).where(Refund.order_id == order_id).order_by(Refund.id))
    return [(str(row.status), row.amount, row.return_id) for row in rows]


async def test_one_unit_comes_back_is_restocked_and_paid_back(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 10})
    order_id = await sold(world, ("a", 3))
    return_id = await requested(world, order_id, 1)
    assert (await world.order(order_id)).return_status == "REQUESTED"
    told = [(await the_return(world, return_id)).customer_status]
    await world.run(approve_return, ApproveReturn(return_id=return_id))
    told.append((await the_return(world, return_id)).customer_status)
    await world.run(mark_return_sent, MarkReturnSent(return_id=return_id, tracking_number="R1"))
    told.append((await the_return(world, return_id)).customer_status)
    await receive(world, return_id, 1)
    told.append((await the_return(world, return_id)).customer_status)
    assert await backlog(world, "a") == (7, 0, 0)  # received, not yet judged
    await inspect(world, return_id, (1, 0))
    told.append((await the_return(world, return_id)).customer_status)
    assert await refunds(world, order_id) == [("PENDING", 1000, return_id)]
    assert (await the_return(world, return_id)).status == "OPEN"
    await settle_payments(world, order_id)
    row = await the_return(world, return_id)
    told.append(row.customer_status)
    assert (row.status, row.closed_at is not None) == ("CLOSED", True)
    assert told == ["REQUESTED", "APPROVED", "ON_ITS_WAY", "RECEIVED", "INSPECTED", "REFUNDED"]
    assert await backlog(world, "a") == (8, 0, 0)
    assert (await movements(world, "a"))[-1] == ("RETURN_RECEIPT", "SELLABLE", 1)
    order = await world.order(order_id)
    assert (order.credited_total, order.refunded_total, order.return_status, order.payment_status) == (
        1000,
        1000,
        "PARTIALLY_RETURNED",
        "PARTIALLY_REFUNDED",
    )
    (line,) = await world.lines(order_id)
    assert (line.quantity_returned, line.refunded_total) == (1, 1000)
    types = await world.event_types(order_id)
    assert [kind for kind in types if kind.startswith("RETURN_")] == [
        "RETURN_REQUESTED",
        "RETURN_APPROVED",
        "RETURN_SENT",
        "RETURN_RECEIVED",
        "RETURN_INSPECTED",
        "RETURN_CLOSED",
    ]
    await assert_invariants(engine)


async def test_units_that_came_back_one_by_one_add_up_to_the_line(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 10})
    order_id = await sold(world, ("a", 3))
    async with engine.begin() as session:  # 10.00 for three: a price that does not divide
        await session.execute(
            sa.text("update order_line set net_total = 1000, gross_total = 1000 where order_id = :id"),
            {"id": order_id},
        )
    amounts = []
    for _ in range(3):
        return_id = await received(world, order_id, 1)
        await inspect(world, return_id, (1, 0))
        amounts.append((await return_lines(world, return_id))[0].refund_amount)
    assert amounts == [333, 334, 333]


@pytest.mark.parametrize(
    ("disposition", "buckets"),
    [
        (Disposition.RESTOCK, (9, 0, 0)),
        (Disposition.DAMAGED, (7, 2, 0)),
        (Disposition.QUARANTINE, (7, 0, 2)),
        (Disposition.SCRAP, (7, 0, 0)),
    ],
)
async def test_a_disposition_decides_which_stock_the_units_enter(
    engine: AsyncEngine, disposition: Disposition, buckets: tuple[int, int, int]
) -> None:
    world = await make_world(engine, {"a": 10})
    order_id = await sold(world, ("a", 3))
    return_id = await received(world, order_id, 2)
    await inspect(world, return_id, (2, 0), disposition=disposition)
    level = await world.level("a")
    assert (level.sellable, level.damaged, level.quarantine) == buckets
    await assert_invariants(engine)


async def test_rejected_units_are_neither_restocked_nor_paid(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 10})
    order_id = await sold(world, ("a", 3))
    return_id = await received(world, order_id, 2)
    await inspect(world, return_id, (0, 2), disposition=Disposition.RETURN_TO_CUSTOMER)
    row = await the_return(world, return_id)
    assert (row.status, row.customer_status) == ("CLOSED", "CLOSED")
    assert await refunds(world, order_id) == []
    assert await backlog(world, "a") == (7, 0, 0)
    assert (await world.order(order_id)).return_status == "NONE"
    await assert_invariants(engine)


async def test_no_more_is_returned_than_left_and_is_not_on_its_way_already(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 10})
    order_id = await sold(world, ("a", 3))
    await requested(world, order_id, 2)
    with pytest.raises(Refused) as refused:
        await requested(world, order_id, 2)
    (error,) = refused.value.errors
    assert isinstance(error, QuantityExceeded)
    assert (error.requested, error.limit, error.field) == (2, 1, ("lines", "0", "quantity"))
    unshipped = await world.place(("a", 2))
    with pytest.raises(Refused):
        await requested(world, unshipped, 1)
    await assert_invariants(engine)


async def test_two_requests_at_once_do_not_return_a_unit_twice(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 10})
    order_id = await sold(world, ("a", 3))
    answers = await asyncio.gather(*(requested(world, order_id, 2) for _ in range(4)), return_exceptions=True)
    assert sum(isinstance(answer, UUID) for answer in answers) == 1
    assert sum(isinstance(answer, Refused) for answer in answers) == 3
    await assert_invariants(engine)


async def test_a_declined_return_frees_its_units_for_another(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 10})
    order_id = await sold(world, ("a", 1))
    first = await requested(world, order_id, 1)
    await world.run(decline_return, DeclineReturn(return_id=first, reason="Worn"))
    row = await the_return(world, first)
    assert (row.status, row.customer_status, row.decline_reason) == ("DECLINED", "DECLINED", "Worn")
    assert (await world.order(order_id)).return_status == "NONE"
    second = await requested(world, order_id, 1)
    await world.run(cancel_return, CancelReturn(return_id=second))
    await requested(world, order_id, 1)
    with pytest.raises(Refused) as refused:
        await world.run(approve_return, ApproveReturn(return_id=first))
    assert isinstance(refused.value.errors[0], InvalidTransition)
    await assert_invariants(engine)


async def test_more_than_expected_and_something_else_in_the_box_are_told(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 10, "b": 1})
    order_id = await sold(world, ("a", 3))
    return_id = await opened(world, order_id, 1)
    await receive(world, return_id, 2, unexpected=(UnexpectedUnits(sku="b", quantity=1),))
    assert await discrepancies_of(world, order_id) == ["EXCESS_RECEIPT", "EXCESS_RECEIPT"]
    assert (await return_lines(world, return_id))[0].quantity_received == 2
    await inspect(world, return_id, (2, 0))  # all three had left: two may come back
    assert await refunds(world, order_id) == [("PENDING", 2000, return_id)]
    await assert_invariants(engine)


async def test_goods_of_a_declined_return_are_a_discrepancy_alone(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 10})
    order_id = await sold(world, ("a", 3))
    return_id = await opened(world, order_id, 1)
    await world.run(cancel_return, CancelReturn(return_id=return_id))
    await receive(world, return_id, 1)
    assert await discrepancies_of(world, order_id) == ["UNEXPECTED_REPORT"]
    assert (await return_lines(world, return_id))[0].quantity_received == 0
    await assert_invariants(engine)


async def test_goods_that_come_before_the_approval_approve_it(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 10})
    order_id = await sold(world, ("a", 3))
    return_id = await requested(world, order_id, 1)
    (line,) = await return_lines(world, return_id)
    command = ReceiveReturn(
        return_id=return_id,
        lines=(ReceivedUnits(line_id=line.id, quantity=1),),
        location_id=world.locations["main"],
    )
    await world.run(receive_return, command)
    row = await the_return(world, return_id)
    assert (row.status, row.customer_status, row.location_id) == (
        "OPEN",
        "RECEIVED",
        world.locations["main"],
    )
    await assert_invariants(engine)


async def test_what_has_not_come_keeps_the_return_open_until_it_is_closed_by_hand(
    engine: AsyncEngine,
) -> None:
    world = await make_world(engine, {"a": 10})
    order_id = await sold(world, ("a", 3))
    return_id = await opened(world, order_id, 2)
    with pytest.raises(Refused) as refused:
        await world.run(close_return, CloseReturn(return_id=return_id))
    assert isinstance(refused.value.errors[0], InvalidInput)
    await receive(world, return_id, 1)
    with pytest.raises(Refused):  # received, not judged
        await world.run(close_return, CloseReturn(return_id=return_id))
    with pytest.raises(Refused):
        await world.run(cancel_return, CancelReturn(return_id=return_id))
    await inspect(world, return_id, (1, 0))
    await settle_payments(world, order_id)
    assert (await the_return(world, return_id)).status == "OPEN"
    await world.run(close_return, CloseReturn(return_id=return_id))
    row = await the_return(world, return_id)
    assert (row.status, row.customer_status) == ("CLOSED", "REFUNDED")
    await requested(world, order_id, 2)  # the unit that never came may be sent back yet
    await assert_invariants(engine)


async def test_more_units_than_were_received_cannot_be_judged(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 10})
    order_id = await sold(world, ("a", 3))
    return_id = await received(world, order_id, 2)
    with pytest.raises(Refused) as refused:
        await inspect(world, return_id, (2, 1))
    (error,) = refused.value.errors
    assert isinstance(error, QuantityExceeded)
    assert (error.requested, error.limit) == (3, 2)
    await inspect(world, return_id, (1, 0))
    await inspect(world, return_id, (0, 1), disposition=Disposition.SCRAP)
    (line,) = await return_lines(world, return_id)
    assert (line.quantity_accepted, line.quantity_rejected) == (1, 1)
    await assert_invariants(engine)


async def test_an_order_that_was_never_paid_gives_nothing_back(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 10})
    order_id = await world.place(("a", 3), payment=PaymentIntent(method=PaymentMethod.INVOICE))
    await ship(world, await accepted(world, order_id))
    return_id = await received(world, order_id, 1)
    await inspect(world, return_id, (1, 0))
    assert await refunds(world, order_id) == []
    order = await world.order(order_id)
    assert (order.credited_total, order.received_total) == (1000, 0)
    row = await the_return(world, return_id)
    assert (row.status, row.customer_status) == ("CLOSED", "CLOSED")
    await assert_invariants(engine)


async def test_a_return_judged_without_a_refund_waits_for_staff_to_make_one(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 10})
    order_id = await sold(world, ("a", 3))
    return_id = await received(world, order_id, 1)
    await inspect(world, return_id, (1, 0), refund=False)
    assert await refunds(world, order_id) == []
    assert (await the_return(world, return_id)).status == "OPEN"
    await world.run(
        create_refund, CreateRefund(order_id=order_id, amount=Money(1000, "EUR"), return_id=return_id)
    )
    await settle_payments(world, order_id)
    assert (await the_return(world, return_id)).status == "CLOSED"
    await assert_invariants(engine)


async def test_a_refund_may_precede_the_inspection(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 10})
    order_id = await sold(world, ("a", 3))
    return_id = await opened(world, order_id, 1)
    await world.run(
        create_refund, CreateRefund(order_id=order_id, amount=Money(1000, "EUR"), return_id=return_id)
    )
    await settle_payments(world, order_id)
    assert (await the_return(world, return_id)).customer_status == "REFUNDED"
    await receive(world, return_id, 1)
    await inspect(world, return_id, (1, 0))
    assert await refunds(world, order_id) == [("SUCCEEDED", 1000, return_id)]
    assert (await the_return(world, return_id)).status == "CLOSED"
    await assert_invariants(engine)


async def test_returns_expire_when_nothing_comes(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 10})
    order_id = await sold(world, ("a", 3))
    silent, half, waiting = [await opened(world, order_id, 1) for _ in range(3)]
    await receive(world, half, 1)
    async with engine.begin() as session:
        await session.execute(
            sa.update(Return)
            .where(Return.id.in_([silent, half]))
            .values(expires_at=Return.expires_at - timedelta(days=31))
        )
    assert await world.run(expire_returns, ExpireReturns()) == (silent,)
    assert await world.run(expire_returns, ExpireReturns()) == ()
    states = [(await the_return(world, return_id)).status for return_id in (silent, half, waiting)]
    assert states == ["EXPIRED", "OPEN", "OPEN"]
    await assert_invariants(engine)


def customer(world: World) -> Principal:
    return Principal(
        kind=PrincipalKind.CUSTOMER,
        account="customer:ada",
        scopes=PORTAL_SCOPES,
        customer_id=world.customer_id,
    )


async def test_a_customer_asks_for_its_own_goods_only(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 10})
    mine = await sold(world, ("a", 1))
    theirs = await sold(world, ("a", 1), customer_id=None)
    await requested(world, mine, 1, actor=customer(world))
    with pytest.raises(Refused) as refused:
        await requested(world, theirs, 1, actor=customer(world))
    assert isinstance(refused.value.errors[0], NotFound)
    with pytest.raises(Refused) as refused:
        await world.run(
            request_return,
            RequestReturn(
                channel_id=world.channel_id,
                lines=(ReturnUnits(sku="a", quantity=1, reason=ReturnReason.OTHER),),
            ),
            customer(world),
        )
    assert isinstance(refused.value.errors[0], InvalidInput)
    count = await world.one(sa.select(sa.func.count()).select_from(Return))
    assert count[0] == 1


async def test_a_return_without_an_order_has_a_history_of_its_own(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 10})
    return_id: UUID = await world.run(
        request_return,
        RequestReturn(
            channel_id=world.channel_id,
            location_id=world.locations["main"],
            lines=(ReturnUnits(sku="a", quantity=2, reason=ReturnReason.REFUSED),),
        ),
    )
    await world.run(approve_return, ApproveReturn(return_id=return_id))
    await receive(world, return_id, 3)
    await inspect(world, return_id, (2, 1))
    row = await the_return(world, return_id)
    assert (row.status, row.customer_status, row.order_id) == ("CLOSED", "CLOSED", None)
    events = await world.all(
        sa.text("select version, type from event where aggregate_id = :id order by version")
        .bindparams(id=return_id)
        .columns(version=sa.Integer(), type=sa.Text())  # type: ignore[arg-type] # a text select
    )
    assert [event.type for event in events] == [
        "RETURN_REQUESTED",
        "RETURN_APPROVED",
        "RETURN_RECEIVED",
        "DISCREPANCY_RECORDED",
        "RETURN_INSPECTED",
        "RETURN_CLOSED",
    ]
    assert [event.version for event in events] == [1, 2, 3, 4, 5, 6]
    assert row.version == 6
    assert await backlog(world, "a") == (12, 0, 0)
    await assert_invariants(engine)


async def test_a_return_that_is_not_there_and_one_not_visible_are_one_answer(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": {"main": 10, "far": 0}}, locations=("main", "far"))
    order_id = await sold(world, ("a", 1))
    return_id = await opened(world, order_id, 1)
    for unseen in (return_id, unknown_id()):
        with pytest.raises(Refused) as refused:
            await world.run(cancel_return, CancelReturn(return_id=unseen), warehouse(world, "far"))
        (error,) = refused.value.errors
        assert isinstance(error, NotFound)
        assert error.message == f"There is no ret_{unseen} that you may see."
    assert (await the_return(world, return_id)).status == "OPEN"
