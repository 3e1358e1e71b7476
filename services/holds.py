"""Holding an order back from its locations, and letting it go on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa

from db.base import new_id
from db.engine import Session
from db.fulfillment import FulfillmentOrder
from db.orders import OrderHold
from domain.access import Principal
from domain.errors import InvalidTransition, NotFound, Refused
from domain.events import EventType
from domain.fulfillment import FulfillmentOrderStatus, resumed
from domain.ids import format_id
from domain.order_commands import HoldOrder, ReleaseHold
from domain.orders import ENDED, HoldReason, OrderStatus
from services import fulfillment
from services.events import Event
from services.order_changes import OrderChange, lock_order, save


async def hold_order(session: Session, command: HoldOrder, /, *, actor: Principal, now: datetime) -> UUID:
    """Hold the order; what its locations have not sent stops. Returns the order's id."""
    change = await lock_order(
        session, command.order_id, actor=actor, now=now, expected_version=command.expected_version
    )
    status = OrderStatus(change.order.status)
    if status in ENDED:
        raise Refused(
            InvalidTransition(
                message=f"The order is {status}: there is nothing to hold.",
                field=("orderId",),
                entity="Order",
                from_status=status,
                to_status="ON_HOLD",
            )
        )
    await place_hold(session, change, command.reason, command.note)
    await save(session, change)
    return change.id


async def place_hold(
    session: Session, change: OrderChange, reason: HoldReason, note: str | None = None
) -> UUID:
    """Hold a locked order for `reason`; its live fulfillment orders go ON_HOLD. Returns the hold's id."""
    hold_id = new_id()
    await session.execute(
        sa.insert(OrderHold).values(
            id=hold_id,
            order_id=change.id,
            reason=reason,
            note=note,
            placed_by=change.actor.account,
            placed_at=change.now,
        )
    )
    change.values["on_hold"] = True
    change.record(
        Event(
            type=EventType.ORDER_HELD,
            subject_kind="ORDER_HOLD",
            subject_id=hold_id,
            details={"reason": reason},
        )
    )
    for one in await _fulfillment_orders(
        session, change, FulfillmentOrderStatus.OPEN, FulfillmentOrderStatus.IN_PROGRESS
    ):
        await fulfillment.move(session, one, status=FulfillmentOrderStatus.ON_HOLD)
    return hold_id


async def release_hold(session: Session, command: ReleaseHold, /, *, actor: Principal, now: datetime) -> UUID:
    """Release one hold, or all; with the last one the order goes on. Returns the order's id.

    Releasing an order that nothing holds changes nothing.
    """
    change = await lock_order(
        session, command.order_id, actor=actor, now=now, expected_version=command.expected_version
    )
    holds = (
        (
            await session.execute(
                sa.select(OrderHold.id)
                .where(OrderHold.order_id == change.id, OrderHold.released_at.is_(None))
                .order_by(OrderHold.id)
            )
        )
        .scalars()
        .all()
    )
    if command.hold_id is not None and command.hold_id not in holds:
        text = format_id("hld", command.hold_id)
        message = f"The order has no unreleased hold {text}."
        raise Refused(NotFound(message=message, field=("holdId",), id=text))
    released = [command.hold_id] if command.hold_id is not None else list(holds)
    if not released:
        return change.id
    await lift_holds(session, change, released, last=len(released) == len(holds))
    await save(session, change)
    return change.id


async def lift_holds(session: Session, change: OrderChange, hold_ids: Sequence[UUID], *, last: bool) -> None:
    """Release these holds of a locked order; with the `last` of them its fulfillment orders go on."""
    await session.execute(
        sa.update(OrderHold)
        .where(OrderHold.id.in_(hold_ids))
        .values(released_by=change.actor.account, released_at=change.now)
    )
    for hold_id in hold_ids:
        change.record(Event(type=EventType.ORDER_RELEASED, subject_kind="ORDER_HOLD", subject_id=hold_id))
    if last:
        change.values["on_hold"] = False
        for one in await _fulfillment_orders(session, change, FulfillmentOrderStatus.ON_HOLD):
            await fulfillment.move(
                session,
                one,
                status=resumed(one.request),
                event=EventType.FULFILLMENT_ORDER_RELEASED,
            )


async def _fulfillment_orders(
    session: Session, change: OrderChange, *statuses: FulfillmentOrderStatus
) -> list[fulfillment.FulfillmentChange]:
    found = await session.execute(
        sa.select(FulfillmentOrder.id)
        .where(FulfillmentOrder.order_id == change.id, FulfillmentOrder.status.in_(statuses))
        .order_by(FulfillmentOrder.id)
    )
    return [
        await fulfillment.load_fulfillment_order(session, change, fulfillment_order_id)
        for fulfillment_order_id in found.scalars().all()
    ]
