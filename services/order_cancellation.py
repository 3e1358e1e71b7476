"""Cancelling an order, or units of it, before they leave.

What no location has accepted is cancelled at once. A location that has accepted
is asked to stop: it answers, or its dispatch answers for it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa

from db.engine import Session
from db.fulfillment import FulfillmentOrder
from db.orders import OrderLine
from domain.access import Principal
from domain.errors import InvalidTransition, NotFound, Refused
from domain.events import EventType
from domain.fulfillment import LIVE, REQUEST, FulfillmentOrderStatus, RequestStatus
from domain.ids import format_id
from domain.order_commands import CancelOrder
from domain.order_status import require_units
from domain.orders import ENDED, ORDER, OrderStatus
from services import cancellation, claims, fulfillment
from services.events import Event
from services.fulfillment import FulfillmentChange
from services.order_changes import OrderChange, lock_order, save


async def cancel_order(session: Session, command: CancelOrder, /, *, actor: Principal, now: datetime) -> UUID:
    """Cancel what has not left; returns the order's id.

    Refused with InvalidTransition for an order that has ended, with
    QuantityExceeded for more units of a line than nobody has begun to send. With
    everything to be cancelled, locations at work are asked to stop: the order is
    CANCELLED once all of them have.
    """
    change = await lock_order(
        session, command.order_id, actor=actor, now=now, expected_version=command.expected_version
    )
    _require_open(change)
    asked, idle = await _live_fulfillment_orders(session, change)
    lines = await _open_lines(session, change)
    units = _units(command, lines, asked)
    await _give_back(session, change, units, await _take_from(session, idle, dict(units)), asked)
    await cancellation.lower_total(session, change)
    if command.reason is not None:
        change.values["cancel_reason"] = command.reason
    cancelled = sum(units.values())
    if cancelled:
        change.record(
            Event(
                type=EventType.ORDER_UNITS_CANCELLED,
                subject_kind="ORDER",
                subject_id=change.id,
                details={"units": cancelled},
            )
        )
    if not command.lines:
        await _ask_to_stop(session, change, asked)
    await save(session, change)
    return change.id


def _require_open(change: OrderChange) -> None:
    status = OrderStatus(change.order.status)
    if status in ENDED:
        raise Refused(
            InvalidTransition(
                message=f"The order is {status}: nothing of it can be cancelled.",
                field=("orderId",),
                entity="Order",
                from_status=status,
                to_status=OrderStatus.CANCELLED,
                allowed=tuple(str(state) for state in ORDER.allowed(status)),
            )
        )


async def _live_fulfillment_orders(
    session: Session, change: OrderChange
) -> tuple[list[FulfillmentChange], list[FulfillmentChange]]:
    """Those whose location has accepted, and those where nobody has begun."""
    found = await session.execute(
        sa.select(FulfillmentOrder.id)
        .where(FulfillmentOrder.order_id == change.id, FulfillmentOrder.status.in_(sorted(LIVE)))
        .order_by(FulfillmentOrder.id)
    )
    live = [
        await fulfillment.load_fulfillment_order(session, change, fulfillment_order_id)
        for fulfillment_order_id in found.scalars().all()
    ]
    not_begun = (RequestStatus.UNSUBMITTED, RequestStatus.SUBMITTED)
    return (
        [one for one in live if one.request not in not_begun],
        [one for one in live if one.request in not_begun],
    )


async def _open_lines(session: Session, change: OrderChange) -> dict[UUID, int]:
    """Units of each line that have neither left nor been cancelled."""
    rows = await session.execute(
        sa.select(
            OrderLine.id, OrderLine.quantity - OrderLine.quantity_cancelled - OrderLine.quantity_fulfilled
        )
        .where(OrderLine.order_id == change.id)
        .order_by(OrderLine.line_number)
    )
    return {row[0]: row[1] for row in rows}


def _units(
    command: CancelOrder, lines: Mapping[UUID, int], asked: Sequence[FulfillmentChange]
) -> dict[UUID, int]:
    """What is cancelled at once: what was asked, or all that no location at work has in hand."""
    in_hand: dict[UUID, int] = {}
    for (line_id, _), quantity in _in_hand(asked).items():
        in_hand[line_id] = in_hand.get(line_id, 0) + quantity
    free = {line_id: quantity - in_hand.get(line_id, 0) for line_id, quantity in lines.items()}
    if not command.lines:
        return {line_id: quantity for line_id, quantity in free.items() if quantity > 0}
    wanted: dict[UUID, int] = {}
    for index, line in enumerate(command.lines):
        at = ("lines", str(index))
        if line.line_id not in free:
            text = format_id("oln", line.line_id)
            raise Refused(NotFound(message=f"The order has no line {text}.", field=(*at, "lineId"), id=text))
        require_units(max(line.quantity, 1), MAX_UNITS, "cancelled", field=(*at, "quantity"))
        wanted[line.line_id] = wanted.get(line.line_id, 0) + line.quantity
        what = "cancelled line by line; the rest is with its location, which only the whole order can stop"
        if wanted[line.line_id] <= lines[line.line_id] and in_hand.get(line.line_id):
            require_units(wanted[line.line_id], free[line.line_id], what, field=(*at, "quantity"))
        require_units(wanted[line.line_id], free[line.line_id], "cancelled", field=(*at, "quantity"))
    return wanted


MAX_UNITS = 1_000_000


Place = tuple[UUID, UUID]
"""An order line at a location."""


def _in_hand(orders: Sequence[FulfillmentChange]) -> dict[Place, int]:
    """Units that these fulfillment orders may still send, by order line and location."""
    units: dict[Place, int] = {}
    for one in orders:
        for line_id, quantity in fulfillment.of_order_lines(one, one.open_units).items():
            place = (line_id, one.location_id)
            units[place] = units.get(place, 0) + quantity
    return units


async def _take_from(
    session: Session, idle: Sequence[FulfillmentChange], units: dict[UUID, int]
) -> dict[Place, int]:
    """Take the cancelled units off fulfillment orders that nobody has begun; end those left with none.

    Returns what was taken, by line and location.
    """
    gone: dict[Place, int] = {}
    for one in idle:
        taken: dict[UUID, int] = {}
        for line_id, open_units in one.open_units.items():
            order_line_id = one.lines[line_id].order_line_id
            quantity = min(open_units, units.get(order_line_id, 0))
            if quantity:
                taken[line_id] = quantity
                units[order_line_id] -= quantity
                place = (order_line_id, one.location_id)
                gone[place] = gone.get(place, 0) + quantity
        if not taken:
            continue
        await fulfillment.cancel_lines(session, taken)
        whole = all(taken.get(line_id, 0) == open_units for line_id, open_units in one.open_units.items())
        details = {"quantity": sum(taken.values())}
        if whole:
            await fulfillment.move(
                session,
                one,
                status=FulfillmentOrderStatus.CANCELLED,
                request=RequestStatus.CLOSED,
                details=details,
            )
        else:
            await fulfillment.move(session, one, details=details)
    return gone


async def _give_back(
    session: Session,
    change: OrderChange,
    units: Mapping[UUID, int],
    gone: Mapping[Place, int],
    asked: Sequence[FulfillmentChange],
) -> None:
    """Give back the claims of the cancelled units.

    What stood on a fulfillment order is given back where it stood; of the rest,
    what waits for stock goes before what lies somewhere.
    """
    held = await claims.allocations_of(session, change.id)
    taken: list[claims.Taken] = []
    rest = dict(units)
    for (line_id, location_id), quantity in gone.items():
        there = [row for row in held if row.location_id == location_id]
        found = {line_id: quantity}
        taken += claims.take(there, found)
        # A shortage may have taken units away from there: those wait for stock now.
        rest[line_id] -= quantity - found[line_id]
    owed = claims.take(await claims.backorders_of(session, change.id), rest)
    used = {row.id: quantity for row, quantity in taken}
    left = [
        dataclasses.replace(row, quantity=row.quantity - used.get(row.id, 0))
        for row in held
        if row.quantity > used.get(row.id, 0)
    ]
    more = {row.id: quantity for row, quantity in claims.take(left, rest, _in_hand(asked))}
    await claims.give_back(
        session,
        change,
        allocations=[(row, total) for row in held if (total := used.get(row.id, 0) + more.get(row.id, 0))],
        backorders=owed,
        cancelled=units,
    )


async def _ask_to_stop(session: Session, change: OrderChange, asked: Sequence[FulfillmentChange]) -> None:
    """Ask the locations at work to stop; one that was asked already is not asked again."""
    waiting = [one for one in asked if REQUEST.can(one.request, RequestStatus.CANCELLATION_REQUESTED)]
    for one in waiting:
        await fulfillment.move(
            session,
            one,
            request=RequestStatus.CANCELLATION_REQUESTED,
            event=EventType.FULFILLMENT_CANCELLATION_REQUESTED,
        )
    if waiting:
        change.record(
            Event(
                type=EventType.ORDER_CANCELLATION_REQUESTED,
                subject_kind="ORDER",
                subject_id=change.id,
                details={"fulfillmentOrders": len(waiting)},
            )
        )
