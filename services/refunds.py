"""Refunds: never more, those under way included, than a payment received."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from db import visibility
from db.engine import Session
from db.returns import Return
from domain.access import Principal, VisibilityClass
from domain.money import require_amount
from domain.payment_commands import CreateRefund, check_create_refund
from domain.payment_sums import require_within, to_refund
from services.order_changes import OrderChange, lock_order, not_found, save
from services.payment_books import Book, add_refund, in_currency, lock_payment, open_books


async def create_refund(
    session: Session, command: CreateRefund, /, *, actor: Principal, now: datetime
) -> tuple[UUID, ...]:
    """Ask for money to be given back; the ids of the refunds, one for each payment it comes from.

    Refused: InvalidInput (neither or both of order and payment), NotFound (order,
    payment, or a return that is not of this order), AmountExceeded.
    """
    check_create_refund(command)
    if command.payment_id is not None:
        change, _, book = await lock_payment(session, command.payment_id, actor=actor, now=now)
        books = [book]
    else:
        assert command.order_id is not None  # noqa: S101 - one of the two is given
        change = await lock_order(session, command.order_id, actor=actor, now=now, field_name="orderId")
        books = await open_books(session, change)
    if command.return_id is not None:
        await _require_return(session, change, command.return_id, actor)
    currency = change.order.currency
    amount = refundable(books) if command.amount is None else in_currency(command.amount, currency)
    made = await _ask(session, change, books, amount, return_id=command.return_id, reason=command.reason)
    await save(session, change)
    return made


async def request_refund(
    session: Session, change: OrderChange, *, amount: int, return_id: UUID | None, reason: str | None
) -> UUID:
    """Ask for `amount` of the locked order's money to be given back, the latest payment first.

    Returns the refund's id; where several payments have to give, that of the first.
    Refused with AmountExceeded: `refundable_amount` says beforehand how much there
    is. The caller saves the change.
    """
    made = await _ask(
        session, change, await open_books(session, change), amount, return_id=return_id, reason=reason
    )
    return made[0]


async def refundable_amount(session: Session, change: OrderChange) -> int:
    """How much of the locked order's money can be given back by now, in minor units."""
    return refundable(await open_books(session, change))


def refundable(books: list[Book]) -> int:
    return sum(book.sums.refundable for book in books)


async def _ask(
    session: Session,
    change: OrderChange,
    books: list[Book],
    amount: int,
    *,
    return_id: UUID | None,
    reason: str | None,
) -> tuple[UUID, ...]:
    limit = refundable(books)
    require_within(max(amount, 1), limit, change.order.currency, "refunded")
    require_amount(amount, field=("amount",), minimum=1)
    shares = to_refund(amount, [book.facts for book in books])
    assert shares is not None  # noqa: S101 - within the limit there is a way to share it out
    return tuple(
        [
            await add_refund(session, change, book, share, return_id=return_id, reason=reason)
            for book, share in reversed(list(zip(books, shares, strict=True)))
            if share
        ]
    )


@lru_cache(maxsize=256)
def _visible_return(caller: VisibilityClass) -> sa.Select[Any]:
    table = Return.__table__
    return sa.select(table.c.id).where(
        table.c.id == sa.bindparam("id", type_=sa.Uuid()),
        table.c.order_id == sa.bindparam("order_id", type_=sa.Uuid()),
        visibility.predicate("returns", table, caller),
    )


async def _require_return(session: Session, change: OrderChange, return_id: UUID, actor: Principal) -> None:
    found = await session.execute(
        _visible_return(VisibilityClass.of(actor)),
        {"id": return_id, "order_id": change.id, **visibility.values(actor)},
    )
    if found.scalar_one_or_none() is None:
        raise not_found("ret", return_id, "returnId")
