"""What becomes of goods that came back, and of their money, against a real PostgreSQL."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.errors import QuantityExceeded, Refused
from domain.fulfillment_commands import AcceptCancellation
from domain.money import Money
from domain.order_commands import CancelOrder, CancelUnits, PaymentIntent
from domain.payment_commands import CreateRefund
from domain.payments import PaymentMethod
from domain.returns import Disposition
from services.order_cancellation import cancel_order
from services.refunds import create_refund
from services.withdrawals import accept_cancellation
from tests.fulfillment.steps import (
    accepted,
    backlog,
    settle_payments,
    ship,
    warehouse,
)
from tests.invariants import assert_invariants
from tests.returns.steps import (
    inspect,
    opened,
    receive,
    received,
    refunds,
    return_lines,
    sold,
    the_return,
)
from tests.world import make_world


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


@pytest.mark.parametrize("cancelled_first", [True, False])
async def test_a_cancelled_and_a_returned_unit_add_up_to_the_line(
    engine: AsyncEngine, cancelled_first: bool
) -> None:
    world = await make_world(engine, {"a": 10})
    order_id = await world.place(("a", 2))
    async with engine.begin() as session:  # 1.01 for two
        await session.execute(
            sa.text("update order_line set net_total = 101, gross_total = 101 where order_id = :id"),
            {"id": order_id},
        )
        await session.execute(
            sa.text("update orders set original_total = 101, current_total = 101 where id = :id"),
            {"id": order_id},
        )
    if cancelled_first:
        (line,) = await world.lines(order_id)
        unit = CancelUnits(line_id=line.id, quantity=1)
        await world.run(cancel_order, CancelOrder(order_id=order_id, lines=(unit,)))
    fulfillment_order_id = await accepted(world, order_id)
    await ship(world, fulfillment_order_id, 1)
    return_id = await received(world, order_id, 1)
    await inspect(world, return_id, (1, 0))
    if not cancelled_first:
        await world.run(cancel_order, CancelOrder(order_id=order_id))
        stopped = AcceptCancellation(fulfillment_order_id=fulfillment_order_id)
        await world.run(accept_cancellation, stopped, warehouse(world))
    order = await world.order(order_id)
    assert order.current_total == order.credited_total


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
