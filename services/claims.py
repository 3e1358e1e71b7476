"""Giving back what an order claims: allocations and backorders of its lines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from db.engine import Session
from db.orders import OrderLine
from db.stock import Allocation, Backorder
from services import stock_changes
from services.order_changes import OrderChange
from services.stock_changes import Claim


@dataclass(frozen=True, slots=True)
class Held:
    """One allocation or backorder row of a line."""

    id: UUID
    order_line_id: UUID
    stock_level_id: UUID
    quantity: int


_ALLOCATIONS = (
    sa.select(Allocation.id, Allocation.order_line_id, Allocation.stock_level_id, Allocation.quantity)
    .where(Allocation.order_id == sa.bindparam("order_id", type_=sa.Uuid()))
    .order_by(Allocation.id)
)
_BACKORDERS = (
    sa.select(Backorder.id, Backorder.order_line_id, Backorder.stock_level_id, Backorder.quantity)
    .where(Backorder.order_id == sa.bindparam("order_id", type_=sa.Uuid()))
    .order_by(Backorder.id)
)


async def allocations_of(session: Session, order_id: UUID) -> list[Held]:
    """The order's allocations; stable because the caller holds the order's lock."""
    return [Held(*row) for row in await session.execute(_ALLOCATIONS, {"order_id": order_id})]


async def backorders_of(session: Session, order_id: UUID) -> list[Held]:
    """The order's backorders; stable because the caller holds the order's lock."""
    return [Held(*row) for row in await session.execute(_BACKORDERS, {"order_id": order_id})]


async def give_back(
    session: Session, change: OrderChange, units: Mapping[UUID, int], *, cancelled: bool
) -> None:
    """Give back `units` per order line, backordered ones first, then allocated ones.

    With `cancelled` the units count as cancelled; else they become unallocated.
    Units that a line does not claim are ignored: they had not been promised.
    """
    wanted = {line_id: quantity for line_id, quantity in units.items() if quantity > 0}
    taken: list[tuple[bool, Held, int]] = []
    for is_backorder, held in [
        *((True, held) for held in await backorders_of(session, change.id)),
        *((False, held) for held in await allocations_of(session, change.id)),
    ]:
        quantity = min(held.quantity, wanted.get(held.order_line_id, 0))
        if quantity:
            wanted[held.order_line_id] -= quantity
            taken.append((is_backorder, held, quantity))
    await _release(session, taken, actor=change.actor.account, now=change.now)
    await _lower_lines(session, units, taken, cancelled=cancelled)


async def free_stock(session: Session, change: OrderChange) -> None:
    """Cancel every unit of the order that has not left, and give back what they claimed."""
    lines = await session.execute(
        sa.select(
            OrderLine.id,
            OrderLine.quantity - OrderLine.quantity_cancelled - OrderLine.quantity_fulfilled,
        ).where(OrderLine.order_id == change.id)
    )
    await give_back(session, change, dict(lines.tuples().all()), cancelled=True)


async def _release(
    session: Session, taken: list[tuple[bool, Held, int]], *, actor: str, now: datetime
) -> None:
    tables: tuple[tuple[type[Backorder | Allocation], bool], ...] = ((Backorder, True), (Allocation, False))
    for table, is_backorder in tables:
        gone = [
            held.id for kind, held, quantity in taken if kind is is_backorder and quantity == held.quantity
        ]
        lowered = [
            (held.id, quantity)
            for kind, held, quantity in taken
            if kind is is_backorder and quantity < held.quantity
        ]
        if gone:
            await session.execute(sa.delete(table).where(table.id.in_(gone)))
        if lowered:
            await session.execute(
                sa.update(table)
                .where(table.id == sa.bindparam("row_id"))
                .values(quantity=table.quantity - sa.bindparam("lower_by"))
                .execution_options(synchronize_session=None),
                [{"row_id": row_id, "lower_by": quantity} for row_id, quantity in lowered],
            )
    levels = await stock_changes.lock_levels(session, (held.stock_level_id for _, held, _ in taken))
    await stock_changes.apply(
        session,
        levels,
        claims=[
            Claim(
                level_id=held.stock_level_id,
                allocated=0 if is_backorder else -quantity,
                backordered=-quantity if is_backorder else 0,
            )
            for is_backorder, held, quantity in taken
        ],
        actor=actor,
        now=now,
    )


_lines = sa.func.unnest(
    sa.bindparam("line_ids", type_=ARRAY(sa.Uuid())),
    sa.bindparam("cancelled", type_=ARRAY(sa.Integer())),
    sa.bindparam("allocated", type_=ARRAY(sa.Integer())),
    sa.bindparam("backordered", type_=ARRAY(sa.Integer())),
).table_valued("line_id", "cancelled", "allocated", "backordered", name="lowered")
_LOWER_LINES = (
    sa.update(OrderLine)
    .where(OrderLine.id == _lines.c.line_id)
    .values(
        quantity_cancelled=OrderLine.quantity_cancelled + _lines.c.cancelled,
        quantity_allocated=OrderLine.quantity_allocated - _lines.c.allocated,
        quantity_backordered=OrderLine.quantity_backordered - _lines.c.backordered,
    )
)


async def _lower_lines(
    session: Session, units: Mapping[UUID, int], taken: list[tuple[bool, Held, int]], *, cancelled: bool
) -> None:
    line_ids = sorted(line_id for line_id, quantity in units.items() if quantity > 0)
    if not line_ids:
        return
    released = {(line_id, kind): 0 for line_id in line_ids for kind in (True, False)}
    for is_backorder, held, quantity in taken:
        released[held.order_line_id, is_backorder] += quantity
    await session.execute(
        _LOWER_LINES,
        {
            "line_ids": line_ids,
            "cancelled": [units[line_id] if cancelled else 0 for line_id in line_ids],
            "allocated": [released[line_id, False] for line_id in line_ids],
            "backordered": [released[line_id, True] for line_id in line_ids],
        },
    )
