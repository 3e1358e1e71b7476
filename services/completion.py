"""Completing orders that nobody reports on: dispatched long enough ago, and never scanned as delivered."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

import sqlalchemy as sa

from db.channels import Channel
from db.engine import Session
from db.orders import Order
from domain.access import SYSTEM, Principal
from domain.orders import OrderStatus
from services.order_changes import lock_order, save

_QUIET = (
    sa.select(Order.id)
    .join(Channel, Channel.id == Order.channel_id)
    .where(
        Order.status == OrderStatus.PROCESSING,
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
    """Settle up to `limit` orders whose channel's waiting time is over; returns how many were looked at."""
    order_ids: list[UUID] = list(
        (await session.execute(_QUIET, {"now": now, "limit": limit})).scalars().all()
    )
    for order_id in order_ids:
        await save(session, await lock_order(session, order_id, actor=actor, now=now))
    return len(order_ids)
