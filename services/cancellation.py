"""What cancelled units do to an order's total and to its payments."""

from __future__ import annotations

import sqlalchemy as sa

from db.engine import Session
from db.orders import OrderLine
from domain.money import refund_of
from services import payments
from services.order_changes import OrderChange


async def lower_total(session: Session, change: OrderChange) -> None:
    """Take the cancelled units' share off the current total; the money follows.

    Each line's share is rounded half up, together with what its returned units were
    credited, so that both add up to the line. Shipping, fees and the taxes on them stay
    until every unit is cancelled: then nothing is owed, authorisations are released
    and what was received is given back.
    """
    lines = (
        await session.execute(
            sa.select(
                OrderLine.quantity,
                OrderLine.quantity_cancelled,
                OrderLine.quantity_returned,
                OrderLine.gross_total,
                OrderLine.refunded_total,
            ).where(OrderLine.order_id == change.id)
        )
    ).all()
    if all(line.quantity_cancelled == line.quantity for line in lines):
        change.values["current_total"] = 0
        await payments.request_void(session, change)
        return
    cancelled = sum(
        refund_of(
            line.gross_total,
            line.quantity_cancelled + line.quantity_returned,
            line.quantity,
            line.refunded_total,
        )
        for line in lines
    )
    change.values["current_total"] = change.order.original_total - cancelled
    # With the rest cancelled nothing more is to leave: what is still due (shipping, fees) is captured now.
    await payments.request_captures(session, change, 0)
    await payments.refund_excess(session, change)
