"""Transactions whose outcome is not known yet: which of them to ask about now."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import sqlalchemy as sa

from db.engine import Session
from db.payments import Payment, PaymentTransaction
from services.payment_books import OPEN

LONGEST_PAUSE_SECONDS = 3_600
TOLD_AT_MOST = 3
"""What nobody can be asked about is told to whoever it concerns this often, should a job have been cut short."""

_wait = sa.func.least(sa.func.power(2, sa.func.least(PaymentTransaction.attempts, 12)), LONGEST_PAUSE_SECONDS)
_DUE = (
    sa.select(PaymentTransaction.id)
    .join(Payment, Payment.id == PaymentTransaction.payment_id)
    .where(
        PaymentTransaction.status.in_(OPEN),
        sa.or_(
            Payment.provider == sa.any_(sa.bindparam("providers", type_=sa.ARRAY(sa.Text()))),
            PaymentTransaction.attempts < TOLD_AT_MOST,
        ),
        PaymentTransaction.updated_at + sa.func.make_interval(0, 0, 0, 0, 0, 0, _wait) <= sa.func.now(),
    )
    .order_by(PaymentTransaction.updated_at)
    .limit(sa.bindparam("limit", type_=sa.Integer()))
)


async def due_to_ask(session: Session, providers: Sequence[str], limit: int) -> list[UUID]:
    """Open transactions whose provider should be asked by now, the longest waiting first.

    The longer nothing has come of one, the rarer it is asked: after 1, 2, 4 … s, at
    last every hour. Only `providers` know; people report the others, which are told a
    few times in case the first was cut short.
    """
    rows = await session.execute(_DUE, {"providers": list(providers), "limit": limit})
    return list(rows.scalars())
