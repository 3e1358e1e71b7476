"""Returns until the goods arrive, and their end: asked for, answered, sent, closed, expired.

What happens when goods arrive is in `return_inspection.py`.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

import sqlalchemy as sa

from db.channels import ChannelLocation
from db.engine import Session
from db.locations import Location
from db.returns import Return, ReturnLine
from db.shipments import Shipment, ShipmentLine
from domain import text
from domain.access import SYSTEM, Principal
from domain.errors import InvalidInput, Refused
from domain.events import EventType
from domain.return_commands import (
    ApproveReturn,
    CancelReturn,
    CloseReturn,
    DeclineReturn,
    ExpireReturns,
    MarkReturnSent,
    check_approve_return,
    check_return_text,
)
from domain.returns import ReturnState
from domain.shipments import LEFT
from services.order_changes import OrderChange, lock_order, save
from services.return_changes import (
    ReturnChange,
    load_return,
    lock_return,
    move,
    refresh_customer_status,
    save_return,
)
from services.return_money import still_to_refund
from services.return_requests import require_location

EXPIRES_AFTER = timedelta(days=30)
"""How long an approved return waits for its goods when nobody says otherwise."""


async def approve_return(
    session: Session, command: ApproveReturn, /, *, actor: Principal, now: datetime
) -> UUID:
    """The goods may come: to the location named, else to the one that sent them."""
    check_approve_return(command, now)
    change = await lock_return(session, command.return_id, actor=actor, now=now)
    await require_location(session, command.location_id, actor)
    expires_at = command.expires_at or now + EXPIRES_AFTER
    location_id = command.location_id or change.row.location_id or await sender(session, change)
    if location_id is None:
        message = "Nothing says where the goods should go: name a location."
        raise Refused(InvalidInput(message=message, field=("locationId",)))
    await move(
        session,
        change,
        status=ReturnState.OPEN,
        location_id=location_id,
        approved_at=now,
        expires_at=expires_at,
    )
    await save_return(session, change)
    return change.id


async def sender(session: Session, change: ReturnChange) -> UUID | None:
    """Where the goods came from; else the location that serves the channel first."""
    order_lines = [line.order_line_id for line in change.lines.values() if line.order_line_id]
    sent_from = (
        sa.select(Shipment.location_id)
        .join(ShipmentLine, ShipmentLine.shipment_id == Shipment.id)
        .where(ShipmentLine.order_line_id.in_(order_lines), Shipment.status.in_(sorted(LEFT)))
        .order_by(Shipment.shipped_at.desc(), Shipment.id.desc())
        .limit(1)
    )
    found: UUID | None = (await session.execute(sent_from)).scalar_one_or_none()
    if found is not None:
        return found
    serving = (
        sa.select(ChannelLocation.location_id)
        .join(Location, sa.and_(Location.id == ChannelLocation.location_id, Location.active))
        .where(ChannelLocation.channel_id == change.row.channel_id)
        .order_by(ChannelLocation.rank, ChannelLocation.location_id)
        .limit(1)
    )
    return (await session.execute(serving)).scalar_one_or_none()


async def decline_return(
    session: Session, command: DeclineReturn, /, *, actor: Principal, now: datetime
) -> UUID:
    """The goods may not come back; `reason` is for the customer to read."""
    check_return_text(command.reason, text.MAX_LINE, "reason")
    change = await lock_return(session, command.return_id, actor=actor, now=now)
    await move(session, change, status=ReturnState.DECLINED, decline_reason=command.reason, closed_at=now)
    await save_return(session, change)
    return change.id


async def mark_return_sent(
    session: Session, command: MarkReturnSent, /, *, actor: Principal, now: datetime
) -> UUID:
    """The parcel is on its way. Said again, it corrects the tracking number."""
    check_return_text(command.tracking_number, text.MAX_CODE, "trackingNumber")
    change = await lock_return(session, command.return_id, actor=actor, now=now)
    change.require_open()
    await move(
        session,
        change,
        event=EventType.RETURN_SENT,
        tracking_number=command.tracking_number,
    )
    await save_return(session, change)
    return change.id


async def cancel_return(
    session: Session, command: CancelReturn, /, *, actor: Principal, now: datetime
) -> UUID:
    """Withdraw a return of which nothing has been received."""
    change = await lock_return(session, command.return_id, actor=actor, now=now)
    if change.received:
        message = "Goods of this return have been received: inspect and close it."
        raise Refused(InvalidInput(message=message, field=("id",)))
    await move(session, change, status=ReturnState.CANCELLED, closed_at=now)
    await save_return(session, change)
    return change.id


async def close_return(session: Session, command: CloseReturn, /, *, actor: Principal, now: datetime) -> UUID:
    """End a return by hand: what was expected and has not come is not waited for."""
    change = await lock_return(session, command.return_id, actor=actor, now=now)
    if change.status is ReturnState.OPEN and not (change.received and change.inspected):
        message = "Nothing was received, or some of it was not inspected yet."
        raise Refused(InvalidInput(message=message, field=("id",)))
    await move(session, change, status=ReturnState.CLOSED, closed_at=now)
    await save_return(session, change)
    return change.id


async def close_settled(session: Session, change: OrderChange) -> None:
    """Close the order's returns that are complete and paid; called when a refund is settled too.

    The caller saves the order. What customers are told of its returns is brought up
    to date as well.
    """
    rows = await session.execute(
        sa.select(Return.id).where(Return.order_id == change.id, Return.status == ReturnState.OPEN)
    )
    for return_id in sorted(rows.scalars()):
        found = await load_return(session, return_id, order=change, actor=change.actor, now=change.now)
        await close_if_settled(session, found)
    await refresh_customer_status(session, order_id=change.id, now=change.now)


async def close_if_settled(session: Session, change: ReturnChange) -> None:
    """Close an open return once all that was expected came, was inspected, and its money is paid back."""
    done = change.status is ReturnState.OPEN and change.complete and change.inspected
    if done and await still_to_refund(session, change) == 0:
        await move(session, change, status=ReturnState.CLOSED, closed_at=change.now)


_UNINSPECTED = sa.exists().where(
    ReturnLine.return_id == Return.id,
    ReturnLine.quantity_received > ReturnLine.quantity_accepted + ReturnLine.quantity_rejected,
)


async def expire_returns(
    session: Session, command: ExpireReturns, /, *, actor: Principal, now: datetime
) -> tuple[UUID, ...]:
    """End returns whose time has run out: EXPIRED when nothing came, CLOSED when what came was inspected."""
    due = (
        await session.execute(
            sa.select(Return.id, Return.order_id)
            .where(Return.status == ReturnState.OPEN, Return.expires_at <= now, ~_UNINSPECTED)
            .order_by(Return.order_id, Return.id)
            .limit(command.limit)
        )
    ).all()
    ended = []
    orders: dict[UUID, OrderChange] = {}
    for row in due:
        if row.order_id is not None and row.order_id not in orders:
            orders[row.order_id] = await lock_order(session, row.order_id, actor=SYSTEM, now=now)
        order = orders.get(row.order_id)
        change = await load_return(session, row.id, order=order, actor=actor, now=now)
        if change.status is not ReturnState.OPEN or (change.received and not change.inspected):
            continue
        status = ReturnState.CLOSED if change.received else ReturnState.EXPIRED
        await move(session, change, status=status, closed_at=now)
        ended.append(row.id)
        if order is None:
            await save_return(session, change)
    for order in orders.values():
        await save(session, order)
    return tuple(ended)
