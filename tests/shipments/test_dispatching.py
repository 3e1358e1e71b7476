"""Shipments leave, whole or in part, announced or not, against a real PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.errors import InvalidTransition, NotFound, QuantityExceeded, Refused
from domain.shipment_commands import (
    CancelShipment,
    CollectShipment,
    DispatchShipment,
    ExpirePickup,
    PackShipment,
    Parcel,
    ReadyForPickup,
    StartPicking,
)
from services.dispatches import collect_shipment, dispatch_shipment, expire_pickup
from services.shipment_cancellation import cancel_shipment
from services.shipments import pack_shipment, ready_for_pickup, start_picking
from tests.fulfillment.steps import (
    CARD,
    accepted,
    backlog,
    begun,
    discrepancies_of,
    fulfillment_lines,
    fulfillment_orders,
    movements,
    packages_of,
    settle_payments,
    ship,
    shipments_of,
    transactions,
    warehouse,
)
from tests.invariants import assert_invariants
from tests.world import make_world


async def test_picked_packed_and_dispatched_step_by_step(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 10})
    order_id = await world.place(("a", 3))
    work = warehouse(world)
    shipment_id = await begun(world, await accepted(world, order_id))
    await world.run(start_picking, StartPicking(shipment_id=shipment_id), work)
    await world.run(
        pack_shipment, PackShipment(shipment_id=shipment_id, packages=(Parcel(weight_grams=900),)), work
    )
    assert await backlog(world, "a") == (10, 3, 0)  # nothing has left yet
    left_at = datetime.now(UTC) - timedelta(hours=1)
    answer = await world.run(
        dispatch_shipment,
        DispatchShipment(
            shipment_id=shipment_id,
            carrier="DHL",
            packages=(Parcel(tracking_number="T9"),),
            shipped_at=left_at,
        ),
        work,
    )
    assert answer == (shipment_id, ())
    shipment = (await shipments_of(world, order_id))[0]
    assert (shipment.status, shipment.carrier, shipment.shipped_at) == ("SHIPPED", "DHL", left_at)
    packages = await packages_of(world, shipment_id)
    assert [(p.tracking_number, p.carrier, p.weight_grams) for p in packages] == [("T9", "DHL", 900)]
    assert await backlog(world, "a") == (7, 0, 0)
    assert await movements(world, "a") == [
        ("OPENING_BALANCE", "SELLABLE", 10),
        ("DISPATCH", "SELLABLE", -3),
    ]
    order = await world.order(order_id)
    assert (order.status, order.fulfillment_status) == ("PROCESSING", "FULFILLED")
    (fulfillment_order,) = await fulfillment_orders(world, order_id)
    assert (fulfillment_order.status, fulfillment_order.request_status) == ("CLOSED", "CLOSED")
    types = await world.event_types(order_id)
    assert [t for t in types if t.startswith("SHIPMENT_")] == [
        "SHIPMENT_CREATED",
        "SHIPMENT_PICKING_STARTED",
        "SHIPMENT_PACKED",
        "SHIPMENT_SHIPPED",
    ]
    await assert_invariants(engine)


async def test_a_warehouse_that_only_says_dispatched_does_it_all_in_one_call(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 10, "b": 4})
    order_id = await world.place(("a", 2), ("b", 1))
    (fulfillment_order,) = await fulfillment_orders(world, order_id)
    shipment_id = await ship(world, fulfillment_order.id)
    (shipment,) = await shipments_of(world, order_id)
    assert (shipment.id, shipment.status) == (shipment_id, "SHIPPED")
    assert [line.quantity_fulfilled for line in await world.lines(order_id)] == [2, 1]
    types = await world.event_types(order_id)
    assert "FULFILLMENT_ORDER_ACCEPTED" in types
    assert "FULFILLMENT_ORDER_CLOSED" in types
    await assert_invariants(engine)


async def test_partial_shipments_take_their_share_of_the_money_and_the_last_takes_the_rest(
    engine: AsyncEngine,
) -> None:
    world = await make_world(engine, {"a": 10})
    order_id = await world.place(("a", 3), payment=CARD)
    await settle_payments(world, order_id)
    fulfillment_order_id = await accepted(world, order_id)
    await ship(world, fulfillment_order_id, 1, tracking="T1")
    assert (await world.order(order_id)).fulfillment_status == "PARTIALLY_FULFILLED"
    (fulfillment_order,) = await fulfillment_orders(world, order_id)
    assert fulfillment_order.status == "IN_PROGRESS"
    await settle_payments(world, order_id)
    await ship(world, fulfillment_order_id, tracking="T2")
    await settle_payments(world, order_id)
    assert await transactions(world, order_id) == [
        ("AUTHORIZATION", "SUCCEEDED", 3000),
        ("CAPTURE", "SUCCEEDED", 1000),
        ("CAPTURE", "SUCCEEDED", 2000),
    ]
    order = await world.order(order_id)
    assert (order.payment_status, order.received_total) == ("PAID", 3000)
    await assert_invariants(engine)


async def test_the_same_dispatch_reported_twice_is_one(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 10})
    order_id = await world.place(("a", 2))
    fulfillment_order_id = await accepted(world, order_id)
    first = await ship(world, fulfillment_order_id)
    assert await ship(world, fulfillment_order_id) == first
    command = DispatchShipment(shipment_id=first, packages=(Parcel(tracking_number="T1"),))
    assert await world.run(dispatch_shipment, command, warehouse(world)) == (first, ())
    assert await backlog(world, "a") == (8, 0, 0)
    assert await discrepancies_of(world, order_id) == []
    await assert_invariants(engine)


async def test_a_second_report_with_another_number_is_a_conflict_for_staff(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 10})
    order_id = await world.place(("a", 2))
    first = await ship(world, await accepted(world, order_id))
    command = DispatchShipment(shipment_id=first, packages=(Parcel(tracking_number="OTHER"),))
    await world.run(dispatch_shipment, command, warehouse(world))
    await world.run(dispatch_shipment, command, warehouse(world))
    assert await discrepancies_of(world, order_id) == ["CONFLICTING_REPORT"]
    assert [p.tracking_number for p in await packages_of(world, first)] == ["T1"]
    await assert_invariants(engine)


async def test_more_than_was_asked_for_leaves_the_ledger_and_is_a_discrepancy(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 10})
    order_id = await world.place(("a", 2))
    await ship(world, await accepted(world, order_id), 5)
    assert await backlog(world, "a") == (5, 0, 0)
    assert [line.quantity_fulfilled for line in await world.lines(order_id)] == [2]
    assert await discrepancies_of(world, order_id) == ["EXCESS_DISPATCH"]
    await assert_invariants(engine)


async def test_a_departure_that_the_books_call_impossible_is_reconciled_first(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 1}, backorderable=frozenset({"a"}))
    order_id = await world.place(("a", 3))  # 1 allocated, 2 owed
    await ship(world, await accepted(world, order_id), 3)
    assert await movements(world, "a") == [
        ("OPENING_BALANCE", "SELLABLE", 1),
        ("RECONCILIATION", "SELLABLE", 2),
        ("DISPATCH", "SELLABLE", -3),
    ]
    assert await backlog(world, "a") == (0, 0, 0)
    assert [line.quantity_fulfilled for line in await world.lines(order_id)] == [3]
    assert await discrepancies_of(world, order_id) == ["RECONCILED_DEPARTURE"]
    await assert_invariants(engine)


async def test_a_departure_may_take_what_was_promised_to_others_who_then_wait(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 4})
    first = await world.place(("a", 2))
    second = await world.place(("a", 2))
    await ship(world, await accepted(world, first), 3)
    assert await backlog(world, "a") == (1, 1, 1)
    assert [(line.quantity_allocated, line.quantity_backordered) for line in await world.lines(second)] == [
        (1, 1)
    ]
    assert await discrepancies_of(world, second) == ["SHORTAGE"]
    assert await discrepancies_of(world, first) == ["EXCESS_DISPATCH"]
    await assert_invariants(engine)


async def test_a_shipment_takes_no_unit_that_another_holds(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 10})
    order_id = await world.place(("a", 3))
    fulfillment_order_id = await accepted(world, order_id)
    await begun(world, fulfillment_order_id, 2)
    with pytest.raises(Refused) as refused:
        await begun(world, fulfillment_order_id, 2)
    (error,) = refused.value.errors
    assert isinstance(error, QuantityExceeded)
    assert (error.requested, error.limit, error.field) == (2, 1, ("lines", "0", "quantity"))
    assert len(await shipments_of(world, order_id)) == 1
    await begun(world, fulfillment_order_id)  # all that is left
    with pytest.raises(Refused):
        await begun(world, fulfillment_order_id)
    await assert_invariants(engine)


async def test_a_cancelled_shipment_gives_its_units_to_the_next(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 10})
    order_id = await world.place(("a", 3))
    fulfillment_order_id = await accepted(world, order_id)
    first = await begun(world, fulfillment_order_id)
    await world.run(pack_shipment, PackShipment(shipment_id=first), warehouse(world))
    (line,) = await fulfillment_lines(world, fulfillment_order_id)
    assert line.quantity_picked == 3
    await world.run(cancel_shipment, CancelShipment(shipment_id=first), warehouse(world))
    (line,) = await fulfillment_lines(world, fulfillment_order_id)
    assert line.quantity_picked == 0
    second = await begun(world, fulfillment_order_id)
    assert {s.id: s.status for s in await shipments_of(world, order_id)} == {
        first: "CANCELLED",
        second: "PENDING",
    }
    await assert_invariants(engine)


async def test_a_cancelled_shipment_that_left_all_the_same_is_recorded(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 10})
    order_id = await world.place(("a", 3))
    first = await begun(world, await accepted(world, order_id))
    await world.run(cancel_shipment, CancelShipment(shipment_id=first), warehouse(world))
    second, _ = await world.run(dispatch_shipment, DispatchShipment(shipment_id=first), warehouse(world))
    assert second != first
    assert [line.quantity_fulfilled for line in await world.lines(order_id)] == [3]
    await assert_invariants(engine)


async def test_units_that_left_otherwise_end_the_shipment_they_were_in(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 10})
    order_id = await world.place(("a", 3))
    fulfillment_order_id = await accepted(world, order_id)
    kept = await begun(world, fulfillment_order_id, 1)
    overtaken = await begun(world, fulfillment_order_id, 2)
    await world.run(pack_shipment, PackShipment(shipment_id=overtaken), warehouse(world))
    left = await ship(world, fulfillment_order_id, 1)
    assert {s.id: s.status for s in await shipments_of(world, order_id)} == {
        kept: "PENDING",
        overtaken: "CANCELLED",
        left: "SHIPPED",
    }
    (line,) = await fulfillment_lines(world, fulfillment_order_id)
    assert (line.quantity_shipped, line.quantity_picked) == (1, 1)
    await assert_invariants(engine)


async def test_a_shipped_one_cannot_be_packed_again(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 10})
    order_id = await world.place(("a", 3))
    shipment_id = await ship(world, await accepted(world, order_id))
    assert shipment_id is not None
    with pytest.raises(Refused) as refused:
        await world.run(pack_shipment, PackShipment(shipment_id=shipment_id), warehouse(world))
    (error,) = refused.value.errors
    assert isinstance(error, InvalidTransition)
    assert (error.from_status, error.to_status, error.allowed) == ("SHIPPED", "PACKED", ())


async def test_picked_up_in_the_store(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 10})
    order_id = await world.place(("a", 2))
    shipment_id = await begun(world, await accepted(world, order_id))
    work = warehouse(world)
    await world.run(ready_for_pickup, ReadyForPickup(shipment_id=shipment_id), work)
    assert await backlog(world, "a") == (10, 2, 0)
    await world.run(collect_shipment, CollectShipment(shipment_id=shipment_id), work)
    assert await backlog(world, "a") == (8, 0, 0)
    order = await world.order(order_id)
    assert (order.status, order.fulfillment_status) == ("COMPLETED", "FULFILLED")
    await assert_invariants(engine)


async def test_a_pickup_nobody_came_for_goes_back_and_is_paid_back(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 10})
    order_id = await world.place(("a", 2), payment=CARD)
    await settle_payments(world, order_id)
    shipment_id = await begun(world, await accepted(world, order_id))
    work = warehouse(world)
    await world.run(ready_for_pickup, ReadyForPickup(shipment_id=shipment_id), work)
    await world.run(expire_pickup, ExpirePickup(shipment_id=shipment_id), work)
    await settle_payments(world, order_id)
    assert await backlog(world, "a") == (10, 0, 0)
    order = await world.order(order_id)
    assert (order.status, order.current_total, order.payment_status) == ("CANCELLED", 0, "VOIDED")
    (fulfillment_order,) = await fulfillment_orders(world, order_id)
    assert (fulfillment_order.status, fulfillment_order.request_status) == ("CANCELLED", "CLOSED")
    assert await transactions(world, order_id) == [
        ("AUTHORIZATION", "SUCCEEDED", 2000),
        ("VOID", "SUCCEEDED", 2000),
    ]
    await assert_invariants(engine)


async def test_another_location_does_not_see_the_shipment(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": {"main": 5, "far": 0}}, locations=("main", "far"))
    order_id = await world.place(("a", 2))
    shipment_id = await begun(world, await accepted(world, order_id))
    with pytest.raises(Refused) as refused:
        await world.run(dispatch_shipment, DispatchShipment(shipment_id=shipment_id), warehouse(world, "far"))
    assert isinstance(refused.value.errors[0], NotFound)
    assert (await shipments_of(world, order_id))[0].status == "PENDING"
