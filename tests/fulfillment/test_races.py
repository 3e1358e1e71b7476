"""Two who act at once on one order: each race has two real connections."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from db.returns import Return, ReturnLine
from domain.errors import Refused
from domain.fulfillment_commands import AcceptCancellation
from domain.order_commands import CancelOrder
from domain.shipment_commands import DispatchShipment
from services.dispatches import dispatch_shipment
from services.order_cancellation import cancel_order
from services.withdrawals import accept_cancellation
from tests.fulfillment.steps import (
    CARD,
    accepted,
    backlog,
    discrepancies_of,
    fulfillment_orders,
    movements,
    settle_payments,
    ship,
    shipments_of,
    warehouse,
)
from tests.invariants import assert_invariants
from tests.world import World, make_world


async def returns_of(world: World, order_id: UUID) -> list[tuple[str, str, int]]:
    statement: Any = (
        sa.select(Return.status, ReturnLine.reason, ReturnLine.quantity_expected)
        .join(ReturnLine, ReturnLine.return_id == Return.id)
        .where(Return.order_id == order_id)
    )
    return [(str(row.status), str(row.reason), row.quantity_expected) for row in await world.all(statement)]


async def test_a_dispatch_beats_a_pending_cancellation_and_opens_a_return(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 5})
    order_id = await world.place(("a", 2), payment=CARD)
    await settle_payments(world, order_id)
    fulfillment_order_id = await accepted(world, order_id)
    await world.run(cancel_order, CancelOrder(order_id=order_id))
    await ship(world, fulfillment_order_id)
    await settle_payments(world, order_id)
    (fulfillment_order,) = await fulfillment_orders(world, order_id)
    assert (fulfillment_order.status, fulfillment_order.request_status) == ("CLOSED", "CLOSED")
    order = await world.order(order_id)
    assert (order.status, order.return_status, order.payment_status) == ("PROCESSING", "IN_PROGRESS", "PAID")
    assert await returns_of(world, order_id) == [("OPEN", "CANCELLED_TOO_LATE", 2)]
    types = await world.event_types(order_id)
    assert types.index("FULFILLMENT_CANCELLATION_REJECTED") > types.index("SHIPMENT_SHIPPED")
    with pytest.raises(Refused):
        await world.run(
            accept_cancellation,
            AcceptCancellation(fulfillment_order_id=fulfillment_order_id),
            warehouse(world),
        )
    await assert_invariants(engine)


@pytest.mark.parametrize("begun", [False, True], ids=["not accepted", "accepted"])
@pytest.mark.parametrize("attempt", range(3))
async def test_cancel_and_dispatch_at_once_end_in_one_of_two_ways(
    engine: AsyncEngine, begun: bool, attempt: int
) -> None:
    world = await make_world(engine, {"a": 5})
    order_id = await world.place(("a", 2), payment=CARD)
    await settle_payments(world, order_id)
    (fulfillment_order,) = await fulfillment_orders(world, order_id)
    if begun:
        await accepted(world, order_id)
    await asyncio.gather(
        world.run(cancel_order, CancelOrder(order_id=order_id)),
        world.run(
            dispatch_shipment,
            DispatchShipment(fulfillment_order_id=fulfillment_order.id, carrier="DHL"),
            warehouse(world),
        ),
        return_exceptions=True,
    )
    await settle_payments(world, order_id)
    await assert_invariants(engine)
    order = await world.order(order_id)
    # However they met, the two units have left the shelf and the ledger says so once.
    assert await backlog(world, "a") == (3, 0, 0)
    assert [quantity for _, _, quantity in await movements(world, "a")] == [5, -2]
    if order.status == "CANCELLED":
        assert order.payment_status == "VOIDED"
        assert await shipments_of(world, order_id) == []
        assert await discrepancies_of(world, order_id) == ["DISPATCH_AFTER_CANCELLATION"]
    else:
        assert (order.status, order.fulfillment_status, order.payment_status) == (
            "PROCESSING",
            "FULFILLED",
            "PAID",
        )
        assert [shipment.status for shipment in await shipments_of(world, order_id)] == ["SHIPPED"]


async def test_two_warehouse_systems_that_send_the_same_units_send_them_once(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 9})
    order_id = await world.place(("a", 2))
    fulfillment_order_id = await accepted(world, order_id)
    first, second = await asyncio.gather(ship(world, fulfillment_order_id), ship(world, fulfillment_order_id))
    assert first == second
    assert await backlog(world, "a") == (7, 0, 0)
    await assert_invariants(engine)
