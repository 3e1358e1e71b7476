"""How locations answer fulfillment orders, against a real PostgreSQL."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.errors import InvalidTransition, NotFound, QuantityExceeded, Refused
from domain.fulfillment_commands import (
    AcceptCancellation,
    AcceptFulfillmentOrder,
    HoldFulfillmentOrder,
    MarkShort,
    RejectCancellation,
    RejectFulfillmentOrder,
    ReleaseFulfillmentOrder,
    ShortUnits,
)
from domain.order_commands import CancelOrder
from domain.shipment_commands import CancelShipment
from services.fulfillment import (
    accept_fulfillment_order,
    hold_fulfillment_order,
    reject_fulfillment_order,
    release_fulfillment_order,
)
from services.order_cancellation import cancel_order
from services.shipment_cancellation import cancel_shipment
from services.short_picks import mark_short
from services.withdrawals import accept_cancellation, reject_cancellation
from tests.fulfillment.steps import (
    CARD,
    accepted,
    backlog,
    begun,
    discrepancies_of,
    fulfillment_lines,
    fulfillment_orders,
    movements,
    settle_payments,
    ship,
    shipments_of,
    transactions,
    unknown_id,
    warehouse,
)
from tests.invariants import assert_invariants
from tests.world import World, make_world

BOTH = ("main", "far")


async def short(world: World, fulfillment_order_id: object, *quantities: int, location: str = "main") -> None:
    lines = await fulfillment_lines(world, fulfillment_order_id)  # type: ignore[arg-type] # an id
    await world.run(
        mark_short,
        MarkShort(
            fulfillment_order_id=fulfillment_order_id,  # type: ignore[arg-type] # an id
            lines=tuple(
                ShortUnits(fulfillment_order_line_id=line.id, quantity=quantity)
                for line, quantity in zip(lines, quantities, strict=True)
                if quantity
            ),
        ),
        warehouse(world, location),
    )


async def test_an_accepted_fulfillment_order_puts_the_order_in_work(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 5})
    order_id = await world.place(("a", 2))
    await accepted(world, order_id)
    (fulfillment_order,) = await fulfillment_orders(world, order_id)
    assert (fulfillment_order.status, fulfillment_order.request_status) == ("IN_PROGRESS", "ACCEPTED")
    assert (await world.order(order_id)).status == "PROCESSING"
    with pytest.raises(Refused) as refused:
        await accepted(world, order_id)
    (error,) = refused.value.errors
    assert isinstance(error, InvalidTransition)
    assert (error.entity, error.from_status, error.to_status) == (
        "FulfillmentOrder",
        "IN_PROGRESS",
        "IN_PROGRESS",
    )
    await assert_invariants(engine)


async def test_what_one_location_rejects_another_sends(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": {"main": 5, "far": 5}}, locations=BOTH)
    order_id = await world.place(("a", 3))
    (first,) = await fulfillment_orders(world, order_id)
    await world.run(
        reject_fulfillment_order,
        RejectFulfillmentOrder(fulfillment_order_id=first.id, reason="Closed for the holidays"),
        warehouse(world),
    )
    rejected, second = await fulfillment_orders(world, order_id)
    assert (rejected.status, rejected.request_status, rejected.reject_reason) == (
        "REJECTED",
        "REJECTED",
        "Closed for the holidays",
    )
    assert (second.status, second.location_id, second.replaces_id) == (
        "OPEN",
        world.locations["far"],
        first.id,
    )
    assert await backlog(world, "a") == (5, 0, 0)
    assert await backlog(world, "a", "far") == (5, 3, 0)
    await assert_invariants(engine)


async def test_what_nobody_else_can_send_waits_for_stock(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": {"main": 5, "far": 1}}, locations=BOTH)
    order_id = await world.place(("a", 3))
    (first,) = await fulfillment_orders(world, order_id)
    await world.run(
        reject_fulfillment_order,
        RejectFulfillmentOrder(fulfillment_order_id=first.id, reason="Flooded"),
        warehouse(world),
    )
    (line,) = await world.lines(order_id)
    assert (line.quantity_allocated, line.quantity_backordered) == (1, 2)
    assert await backlog(world, "a") == (5, 0, 0)  # it will not send them: nothing is owed from there
    assert await backlog(world, "a", "far") == (1, 1, 2)
    types = await world.event_types(order_id)
    assert {"ORDER_UNITS_ALLOCATED", "ORDER_UNITS_BACKORDERED"} <= set(types)
    await assert_invariants(engine)


async def test_a_held_fulfillment_order_goes_on_where_it_was(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 5})
    order_id = await world.place(("a", 2))
    fulfillment_order_id = await accepted(world, order_id)
    await world.run(
        hold_fulfillment_order,
        HoldFulfillmentOrder(fulfillment_order_id=fulfillment_order_id, note="Forklift broken"),
        warehouse(world),
    )
    with pytest.raises(Refused) as refused:
        await begun(world, fulfillment_order_id)
    assert isinstance(refused.value.errors[0], InvalidTransition)
    await world.run(
        release_fulfillment_order,
        ReleaseFulfillmentOrder(fulfillment_order_id=fulfillment_order_id),
        warehouse(world),
    )
    (fulfillment_order,) = await fulfillment_orders(world, order_id)
    assert fulfillment_order.status == "IN_PROGRESS"
    await begun(world, fulfillment_order_id)
    await assert_invariants(engine)


async def test_what_left_while_held_is_recorded_and_told(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 5})
    order_id = await world.place(("a", 2))
    (fulfillment_order,) = await fulfillment_orders(world, order_id)
    await world.run(hold_fulfillment_order, HoldFulfillmentOrder(fulfillment_order_id=fulfillment_order.id))
    await ship(world, fulfillment_order.id)
    (fulfillment_order,) = await fulfillment_orders(world, order_id)
    assert (fulfillment_order.status, fulfillment_order.request_status) == ("CLOSED", "CLOSED")
    assert await discrepancies_of(world, order_id) == ["UNEXPECTED_REPORT"]
    assert await backlog(world, "a") == (3, 0, 0)
    await assert_invariants(engine)


async def test_a_location_that_stops_in_time_frees_the_stock_and_the_money(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 5})
    order_id = await world.place(("a", 2), payment=CARD)
    await settle_payments(world, order_id)
    fulfillment_order_id = await accepted(world, order_id)
    shipment_id = await begun(world, fulfillment_order_id)
    await world.run(cancel_order, CancelOrder(order_id=order_id))
    (fulfillment_order,) = await fulfillment_orders(world, order_id)
    assert fulfillment_order.request_status == "CANCELLATION_REQUESTED"
    assert (await world.order(order_id)).status == "PROCESSING"
    await world.run(
        accept_cancellation, AcceptCancellation(fulfillment_order_id=fulfillment_order_id), warehouse(world)
    )
    await settle_payments(world, order_id)
    (fulfillment_order,) = await fulfillment_orders(world, order_id)
    assert (fulfillment_order.status, fulfillment_order.request_status) == (
        "CANCELLED",
        "CANCELLATION_ACCEPTED",
    )
    (shipment,) = await shipments_of(world, order_id)
    assert (shipment.id, shipment.status) == (shipment_id, "CANCELLED")
    order = await world.order(order_id)
    assert (order.status, order.payment_status, order.current_total) == ("CANCELLED", "VOIDED", 0)
    assert await backlog(world, "a") == (5, 0, 0)
    await assert_invariants(engine)


async def test_a_location_that_does_not_stop_sends_it(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 5})
    order_id = await world.place(("a", 2))
    fulfillment_order_id = await accepted(world, order_id)
    await world.run(cancel_order, CancelOrder(order_id=order_id))
    await world.run(
        reject_cancellation,
        RejectCancellation(fulfillment_order_id=fulfillment_order_id, reason="On the truck"),
        warehouse(world),
    )
    await ship(world, fulfillment_order_id)
    order = await world.order(order_id)
    assert (order.status, order.fulfillment_status, order.return_status) == (
        "PROCESSING",
        "FULFILLED",
        "NONE",
    )
    await assert_invariants(engine)


async def test_a_partly_shipped_order_whose_rest_is_stopped_is_paid_for_what_left(
    engine: AsyncEngine,
) -> None:
    world = await make_world(engine, {"a": 5})
    order_id = await world.place(("a", 3), payment=CARD)
    await settle_payments(world, order_id)
    fulfillment_order_id = await accepted(world, order_id)
    await ship(world, fulfillment_order_id, 1)
    await settle_payments(world, order_id)
    await world.run(cancel_order, CancelOrder(order_id=order_id))
    await world.run(
        accept_cancellation, AcceptCancellation(fulfillment_order_id=fulfillment_order_id), warehouse(world)
    )
    await settle_payments(world, order_id)
    order = await world.order(order_id)
    assert (order.current_total, order.received_total, order.payment_status) == (1000, 1000, "PAID")
    (fulfillment_order,) = await fulfillment_orders(world, order_id)
    assert fulfillment_order.status == "CLOSED"
    assert await transactions(world, order_id) == [
        ("AUTHORIZATION", "SUCCEEDED", 3000),
        ("CAPTURE", "SUCCEEDED", 1000),
        ("VOID", "SUCCEEDED", 2000),
    ]
    assert await backlog(world, "a") == (4, 0, 0)
    await assert_invariants(engine)


async def test_missing_units_leave_the_ledger_and_come_from_elsewhere(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": {"main": 5, "far": 5}}, locations=BOTH)
    order_id = await world.place(("a", 3))
    first = await accepted(world, order_id)
    await short(world, first, 2)
    old, replacement = await fulfillment_orders(world, order_id)
    assert (old.status, old.request_status) == ("IN_PROGRESS", "ACCEPTED")  # one unit can still leave
    assert (replacement.location_id, replacement.replaces_id) == (world.locations["far"], first)
    assert await backlog(world, "a") == (3, 1, 0)
    assert await backlog(world, "a", "far") == (5, 2, 0)
    assert await movements(world, "a") == [
        ("OPENING_BALANCE", "SELLABLE", 5),
        ("ADJUSTMENT", "SELLABLE", -2),
    ]
    await ship(world, first)
    old, replacement = await fulfillment_orders(world, order_id)
    assert (old.status, old.request_status) == ("INCOMPLETE", "CLOSED")
    await accepted(world, order_id, "far")
    await ship(world, replacement.id, location="far", tracking="T2")
    assert (await world.order(order_id)).fulfillment_status == "FULFILLED"
    await assert_invariants(engine)


async def test_with_all_of_it_missing_it_ends_at_once_and_waits_for_stock(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 3})
    order_id = await world.place(("a", 3))
    first = await accepted(world, order_id)
    await short(world, first, 3)
    (old,) = await fulfillment_orders(world, order_id)
    assert (old.status, old.request_status) == ("INCOMPLETE", "CLOSED")
    assert await backlog(world, "a") == (0, 0, 3)
    types = await world.event_types(order_id)
    assert "SHORT_PICK_REPORTED" in types
    assert "ORDER_UNITS_BACKORDERED" in types
    await assert_invariants(engine)


async def test_no_more_can_be_missing_than_is_left_and_in_no_shipment(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 5})
    order_id = await world.place(("a", 3))
    fulfillment_order_id = await accepted(world, order_id)
    await begun(world, fulfillment_order_id, 2)
    with pytest.raises(Refused) as refused:
        await short(world, fulfillment_order_id, 2)
    (error,) = refused.value.errors
    assert isinstance(error, QuantityExceeded)
    assert (error.requested, error.limit) == (2, 1)
    assert await backlog(world, "a") == (5, 3, 0)


async def test_a_fulfillment_order_that_is_not_there_and_one_not_visible_are_one_answer(
    engine: AsyncEngine,
) -> None:
    world = await make_world(engine, {"a": {"main": 5, "far": 0}}, locations=BOTH)
    order_id = await world.place(("a", 3))
    (there,) = await fulfillment_orders(world, order_id)
    for fulfillment_order_id in (there.id, unknown_id()):
        with pytest.raises(Refused) as refused:
            await world.run(
                accept_fulfillment_order,
                AcceptFulfillmentOrder(fulfillment_order_id=fulfillment_order_id),
                warehouse(world, "far"),
            )
        (error,) = refused.value.errors
        assert isinstance(error, NotFound)
        assert error.message == f"There is no ful_{fulfillment_order_id} that you may see."
    assert (await fulfillment_orders(world, order_id))[0].status == "OPEN"


async def test_what_people_write_stays_on_the_rows_and_out_of_the_events(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 5})
    order_id = await world.place(("a", 3))
    fulfillment_order_id = await accepted(world, order_id)
    (line,) = await fulfillment_lines(world, fulfillment_order_id)
    actor = warehouse(world)

    async def notes() -> tuple[str | None, str | None]:
        (row,) = await fulfillment_orders(world, order_id)
        return row.note, row.status

    hold = HoldFulfillmentOrder(fulfillment_order_id=fulfillment_order_id, note="secret: call Ada")
    await world.run(hold_fulfillment_order, hold, actor)
    assert await notes() == ("secret: call Ada", "ON_HOLD")
    release = ReleaseFulfillmentOrder(fulfillment_order_id=fulfillment_order_id)
    await world.run(release_fulfillment_order, release, actor)
    shipment_id = await begun(world, fulfillment_order_id, 1)
    await world.run(cancel_shipment, CancelShipment(shipment_id=shipment_id, reason="secret: Ada"), actor)
    assert (await shipments_of(world, order_id))[0].cancel_reason == "secret: Ada"
    missing = (ShortUnits(fulfillment_order_line_id=line.id, quantity=1),)
    pick = MarkShort(fulfillment_order_id=fulfillment_order_id, lines=missing, note="secret: shelf")
    await world.run(mark_short, pick, actor)
    assert (await fulfillment_orders(world, order_id))[0].note == "secret: shelf"
    await world.run(cancel_order, CancelOrder(order_id=order_id))
    late = RejectCancellation(fulfillment_order_id=fulfillment_order_id, reason="secret: too late")
    await world.run(reject_cancellation, late, actor)
    assert await notes() == ("secret: too late", "IN_PROGRESS")
    told = await world.all(sa.text("select type from event where details::text like '%secret%'"))  # type: ignore[arg-type] # a text select
    assert told == []
    await assert_invariants(engine)
