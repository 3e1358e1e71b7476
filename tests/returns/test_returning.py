"""Goods come back: asked for, approved, received, inspected, paid back, against a real PostgreSQL."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from db.returns import Return
from domain.errors import InvalidInput, InvalidTransition, NotFound, QuantityExceeded, Refused
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
    backlog,
    discrepancies_of,
    movements,
    settle_payments,
    unknown_id,
    warehouse,
)
from tests.invariants import assert_invariants
from tests.returns.steps import (
    customer,
    inspect,
    opened,
    receive,
    refunds,
    requested,
    return_lines,
    sold,
    the_return,
)
from tests.world import make_world


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


async def test_goods_that_come_before_the_approval_are_restocked_where_they_were_sent_from(
    engine: AsyncEngine,
) -> None:
    world = await make_world(engine, {"a": 10})
    order_id = await sold(world, ("a", 3))
    return_id = await requested(world, order_id, 1)
    (line,) = await return_lines(world, return_id)
    command = ReceiveReturn(return_id=return_id, lines=(ReceivedUnits(line_id=line.id, quantity=1),))
    await world.run(receive_return, command)
    row = await the_return(world, return_id)
    assert row.location_id == world.locations["main"]
    assert row.expires_at is not None
    await inspect(world, return_id, (1, 0))
    assert (await world.level("a")).sellable == 8
    await assert_invariants(engine)


async def test_units_enter_no_stock_while_nothing_says_where_they_are(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 10})
    order_id = await sold(world, ("a", 3))
    return_id = await opened(world, order_id, 1)
    await receive(world, return_id, 1)
    async with engine.begin() as session:
        await session.execute(sa.update(Return).values(location_id=None))
    units = InspectedUnits(
        line_id=(await return_lines(world, return_id))[0].id, accepted=1, disposition=Disposition.RESTOCK
    )
    with pytest.raises(Refused) as refused:
        await world.run(inspect_return, InspectReturn(return_id=return_id, lines=(units,)))
    (error,) = refused.value.errors
    assert isinstance(error, InvalidInput)
    assert error.field == ("lines", "0", "disposition")


async def test_units_that_wait_to_be_judged_stay_at_the_location_that_received_them(
    engine: AsyncEngine,
) -> None:
    world = await make_world(engine, {"a": 10}, locations=("main", "annex"))
    order_id = await sold(world, ("a", 3))
    return_id = await opened(world, order_id, 2)
    await receive(world, return_id, 1)
    (line,) = await return_lines(world, return_id)
    elsewhere = ReceiveReturn(
        return_id=return_id,
        lines=(ReceivedUnits(line_id=line.id, quantity=1),),
        location_id=world.locations["annex"],
    )
    with pytest.raises(Refused) as refused:
        await world.run(receive_return, elsewhere)
    assert refused.value.errors[0].field == ("locationId",)
    await inspect(world, return_id, (1, 0))
    await world.run(receive_return, elsewhere)
    assert (await the_return(world, return_id)).location_id == world.locations["annex"]
    assert (await world.level("a")).sellable == 8
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
