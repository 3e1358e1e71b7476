"""An order whose authorisation ran out is held until other money covers it."""

from __future__ import annotations

import sqlalchemy as sa

from db.engine import Session
from db.orders import OrderHold
from domain.orders import HoldReason
from domain.payment_sums import OrderMoney, release_gate_met
from services import holds
from services.order_changes import OrderChange
from services.payment_books import Book

_HOLDS = (
    sa.select(OrderHold.id, OrderHold.reason)
    .where(OrderHold.order_id == sa.bindparam("order_id", type_=sa.Uuid()), OrderHold.released_at.is_(None))
    .order_by(OrderHold.id)
)


async def hold_expired(session: Session, change: OrderChange) -> None:
    """Keep what has not left of the locked order here, once."""
    held = (await session.execute(_HOLDS, {"order_id": change.id})).all()
    if not any(hold.reason is HoldReason.AUTHORIZATION_EXPIRED for hold in held):
        await holds.place_hold(session, change, HoldReason.AUTHORIZATION_EXPIRED)


async def release_when_covered(session: Session, change: OrderChange, books: list[Book]) -> None:
    """Let the order go on if it was held for an expired authorisation and its gate is met again."""
    if not change.values.get("on_hold", change.order.on_hold):
        return
    held = (await session.execute(_HOLDS, {"order_id": change.id})).all()
    expired = [hold.id for hold in held if hold.reason is HoldReason.AUTHORIZATION_EXPIRED]
    due = change.values.get("current_total", change.order.current_total)
    gate = change.values.get("release_gate", change.order.release_gate)
    if expired and release_gate_met(gate, due, OrderMoney.of([book.facts for book in books])):
        await holds.lift_holds(session, change, expired, last=len(expired) == len(held))
