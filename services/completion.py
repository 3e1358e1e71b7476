"""Completing orders that nobody reports on: dispatched long enough ago, and never scanned as delivered."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

import sqlalchemy as sa

from db.channels import Channel
from db.discrepancies import Discrepancy
from db.engine import Session
from db.orders import Order
from domain.access import SYSTEM, Principal
from domain.discrepancies import DiscrepancyStatus
from domain.orders import FulfillmentStatus, OrderStatus
from services.order_changes import lock_order, save

_QUIET = (
    sa.select(Order.id)
    .join(Channel, Channel.id == Order.channel_id)
    .where(
        Order.status == OrderStatus.PROCESSING,
        Order.fulfillment_status == FulfillmentStatus.FULFILLED,
        # What went wrong on the way waits for staff, however long ago it left.
        ~sa.exists().where(Discrepancy.order_id == Order.id, Discrepancy.status == DiscrepancyStatus.OPEN),
        Order.dispatched_at.is_not(None),
        Order.dispatched_at
        <= sa.bindparam("now", type_=sa.TIMESTAMP(timezone=True))
        - Channel.completes_after_days * sa.literal(timedelta(days=1)),
    )
    .order_by(Order.id)
    .limit(sa.bindparam("limit", type_=sa.Integer()))
    .with_for_update(of=Order, skip_locked=True)
)


async def complete_quiet_orders(
    session: Session, limit: int, /, *, actor: Principal = SYSTEM, now: datetime
) -> int:
    """Settle up to `limit` orders whose channel's waiting time is over; returns how many were completed."""
    order_ids: list[UUID] = list(
        (await session.execute(_QUIET, {"now": now, "limit": limit})).scalars().all()
    )
    completed = 0
    for order_id in order_ids:
        change = await lock_order(session, order_id, actor=actor, now=now)
        await save(session, change)
        completed += change.values.get("status") is OrderStatus.COMPLETED
    return completed
