"""What a return gives back: its accepted units' share of what they cost, as far as it was paid."""

from __future__ import annotations

import sqlalchemy as sa

from db.engine import Session
from db.payments import Refund
from domain.payments import RefundStatus
from services.payment_books import open_books, owed, received
from services.return_changes import ReturnChange


async def still_to_refund(session: Session, change: ReturnChange) -> int:
    """Minor units of the return's refund that have not been paid out yet, those under way included.

    What the customer still owes for the order is set off: of an order that was
    never paid nothing is given back.
    """
    if change.order is None:
        return 0
    rows = await session.execute(
        sa.select(Refund.status, sa.func.sum(Refund.amount))
        .where(Refund.return_id == change.id)
        .group_by(Refund.status)
    )
    refunds = {status: int(amount) for status, amount in rows}
    pending = refunds.get(RefundStatus.PENDING, 0)
    return pending + await to_ask_for(session, change, refunds.get(RefundStatus.SUCCEEDED, 0) + pending)


async def to_ask_for(session: Session, change: ReturnChange, asked: int) -> int:
    """Minor units that the return gives back beyond the `asked` ones, and that were paid and are not owed."""
    if change.order is None:
        return 0
    amount = sum(line.refund_amount for line in change.lines.values()) - asked
    if amount <= 0:
        return 0
    books = await open_books(session, change.order)
    under_way = sum(book.sums.refund_pending for book in books)
    excess = received(books) - under_way - owed(change.order)
    refundable = sum(book.sums.refundable for book in books)
    return int(max(0, min(amount, excess, refundable)))
