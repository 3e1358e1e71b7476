"""Cancelling and holding orders, against the warehouse and against a real PostgreSQL."""

from __future__ import annotations

import asyncio

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from db.fulfillment import FulfillmentOrder
from domain.errors import InvalidTransition, QuantityExceeded, Refused, VersionConflict
from domain.fulfillment_commands import AcceptCancellation, AcceptFulfillmentOrder
from domain.order_commands import CancelOrder, CancelUnits, HoldOrder, ReleaseHold
from domain.orders import HoldReason
from services.fulfillment import accept_fulfillment_order as warehouse_accepts
from services.holds import hold_order, release_hold
from services.order_cancellation import cancel_order
from services.withdrawals import accept_cancellation as warehouse_stops
from tests.invariants import assert_invariants
from tests.world import World, make_world


async def fulfillment_orders(world: World, order_id: object) -> list[sa.Row[tuple[object, ...]]]:
    return await world.all(
        sa.select(FulfillmentOrder.__table__)
        .where(FulfillmentOrder.order_id == order_id)
        .order_by(FulfillmentOrder.id)
    )


async def test_an_order_nobody_has_begun_is_cancelled_at_once(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 5, "b": 1}, backorderable=frozenset({"b"}))
    order_id = await world.place(("a", 2), ("b", 3))
    await world.run(cancel_order, CancelOrder(order_id=order_id, reason="changed their mind"))
    order = await world.order(order_id)
    assert (order.status, order.fulfillment_status, order.current_total) == ("CANCELLED", "CANCELLED", 0)
    level = await world.level("a")
    assert (level.sellable, level.allocated) == (5, 0)
    assert (await world.level("b")).backordered == 0
    assert [one.status for one in await fulfillment_orders(world, order_id)] == ["CANCELLED"]
    await assert_invariants(engine)


async def test_units_of_a_line_are_cancelled_and_the_total_follows(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 5})
    order_id = await world.place(("a", 3))
    line = (await world.lines(order_id))[0]
    command = CancelOrder(order_id=order_id, lines=(CancelUnits(line_id=line.id, quantity=2),))
    await world.run(cancel_order, command)
    order, line = await world.order(order_id), (await world.lines(order_id))[0]
    assert (order.status, order.current_total, order.original_total) == ("CONFIRMED", 1000, 3000)
    assert (line.quantity_cancelled, line.quantity_allocated) == (2, 1)
    assert (await world.level("a")).allocated == 1
    with pytest.raises(Refused) as refused:
        await world.run(cancel_order, command)
    assert isinstance(refused.value.errors[0], QuantityExceeded)
    await assert_invariants(engine)


async def test_a_warehouse_that_has_accepted_is_asked_to_stop(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 5})
    order_id = await world.place(("a", 2))
    (sent,) = await fulfillment_orders(world, order_id)
    await world.run(warehouse_accepts, AcceptFulfillmentOrder(fulfillment_order_id=sent.id))
    await world.run(cancel_order, CancelOrder(order_id=order_id))
    assert (await world.order(order_id)).status == "PROCESSING"
    (sent,) = await fulfillment_orders(world, order_id)
    assert sent.request_status == "CANCELLATION_REQUESTED"
    assert (await world.level("a")).allocated == 2
    await world.run(warehouse_stops, AcceptCancellation(fulfillment_order_id=sent.id))
    assert (await world.order(order_id)).status == "CANCELLED"
    assert (await world.level("a")).allocated == 0
    await assert_invariants(engine)


async def test_cancelling_races_accepting_and_nothing_is_lost(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 50})
    for _ in range(5):
        order_id = await world.place(("a", 2))
        (sent,) = await fulfillment_orders(world, order_id)
        answers = await asyncio.gather(
            world.run(cancel_order, CancelOrder(order_id=order_id)),
            world.run(warehouse_accepts, AcceptFulfillmentOrder(fulfillment_order_id=sent.id)),
            return_exceptions=True,
        )
        (sent,) = await fulfillment_orders(world, order_id)
        cancelled = (await world.order(order_id)).status == "CANCELLED"
        assert cancelled == isinstance(answers[1], Refused)
        assert cancelled or sent.request_status == "CANCELLATION_REQUESTED"
    await assert_invariants(engine)


async def test_an_ended_order_cannot_be_cancelled(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 5})
    order_id = await world.place(("a", 1))
    await world.run(cancel_order, CancelOrder(order_id=order_id))
    version = (await world.order(order_id)).version
    with pytest.raises(Refused) as refused:
        await world.run(cancel_order, CancelOrder(order_id=order_id))
    assert isinstance(refused.value.errors[0], InvalidTransition)
    assert (await world.order(order_id)).version == version


async def test_a_hold_stops_the_warehouse_until_it_is_released(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 5})
    order_id = await world.place(("a", 1))
    version = (await world.order(order_id)).version
    await world.run(
        hold_order,
        HoldOrder(order_id=order_id, reason=HoldReason.FRAUD_REVIEW, expected_version=version),
    )
    assert (await world.order(order_id)).on_hold
    (sent,) = await fulfillment_orders(world, order_id)
    assert sent.status == "ON_HOLD"
    with pytest.raises(Refused) as refused:
        await world.run(
            hold_order, HoldOrder(order_id=order_id, reason=HoldReason.OTHER, expected_version=version)
        )
    assert isinstance(refused.value.errors[0], VersionConflict)
    await world.run(release_hold, ReleaseHold(order_id=order_id))
    assert not (await world.order(order_id)).on_hold
    (sent,) = await fulfillment_orders(world, order_id)
    assert sent.status == "OPEN"
    await assert_invariants(engine)
