"""Giving back what an order claims: allocations and backorders of its lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from db.engine import Session
from db.orders import OrderLine
from db.stock import Allocation, Backorder, StockLevel
from services import stock_changes
from services.order_changes import OrderChange
from services.stock_changes import Claim


@dataclass(frozen=True, slots=True)
class Held:
    """One allocation or backorder row of a line."""

    id: UUID
    order_line_id: UUID
    stock_level_id: UUID
    location_id: UUID
    quantity: int


Taken = tuple[Held, int]
"""A row, and how many of its units are taken from it."""

_ALLOCATIONS = (
    sa.select(
        Allocation.id,
        Allocation.order_line_id,
        Allocation.stock_level_id,
        Allocation.location_id,
        Allocation.quantity,
    )
    .where(Allocation.order_id == sa.bindparam("order_id", type_=sa.Uuid()))
    .order_by(Allocation.id)
)
_BACKORDERS = (
    sa.select(
        Backorder.id,
        Backorder.order_line_id,
        Backorder.stock_level_id,
        StockLevel.location_id,
        Backorder.quantity,
    )
    .join(StockLevel, StockLevel.id == Backorder.stock_level_id)
    .where(Backorder.order_id == sa.bindparam("order_id", type_=sa.Uuid()))
    .order_by(Backorder.id)
)


async def allocations_of(session: Session, order_id: UUID) -> list[Held]:
    """The order's allocations; stable because the caller holds the order's lock."""
    return [Held(*row) for row in await session.execute(_ALLOCATIONS, {"order_id": order_id})]


async def backorders_of(session: Session, order_id: UUID) -> list[Held]:
    """The order's backorders; stable because the caller holds the order's lock."""
    return [Held(*row) for row in await session.execute(_BACKORDERS, {"order_id": order_id})]


def take(
    rows: Sequence[Held], units: dict[UUID, int], spared: Mapping[tuple[UUID, UUID], int] | None = None
) -> list[Taken]:
    """Take `units` per order line from `rows`, the oldest first; lowers `units` by what was found.

    `spared` units of a line at a location are left alone.
    """
    left_alone = dict(spared or {})
    taken: list[Taken] = []
    for held in rows:
        place = (held.order_line_id, held.location_id)
        kept = min(held.quantity, left_alone.get(place, 0))
        left_alone[place] = left_alone.get(place, 0) - kept
        quantity = min(held.quantity - kept, units.get(held.order_line_id, 0))
        if quantity > 0:
            units[held.order_line_id] -= quantity
            taken.append((held, quantity))
    return taken


async def free_stock(session: Session, change: OrderChange) -> None:
    """Cancel every unit of the order that has not left, and give back what they claimed."""
    lines = await session.execute(
        sa.select(
            OrderLine.id,
            OrderLine.quantity - OrderLine.quantity_cancelled - OrderLine.quantity_fulfilled,
        ).where(OrderLine.order_id == change.id)
    )
    allocations = await allocations_of(session, change.id)
    backorders = await backorders_of(session, change.id)
    await give_back(
        session,
        change,
        allocations=[(held, held.quantity) for held in allocations],
        backorders=[(held, held.quantity) for held in backorders],
        cancelled={row[0]: row[1] for row in lines},
    )


async def give_back(
    session: Session,
    change: OrderChange,
    *,
    allocations: Sequence[Taken],
    backorders: Sequence[Taken],
    cancelled: Mapping[UUID, int],
) -> None:
    """Give these units of claims back to their levels, and count `cancelled` units per line as cancelled.

    Units given back and not cancelled become unallocated.
    """
    await lower_rows(session, Allocation, allocations)
    await lower_rows(session, Backorder, backorders)
    levels = await stock_changes.lock_levels(
        session, (held.stock_level_id for held, _ in (*allocations, *backorders))
    )
    await stock_changes.apply(
        session,
        levels,
        claims=[
            *(Claim(level_id=held.stock_level_id, allocated=-quantity) for held, quantity in allocations),
            *(Claim(level_id=held.stock_level_id, backordered=-quantity) for held, quantity in backorders),
        ],
        actor=change.actor.account,
        now=change.now,
    )
    await _lower_lines(session, allocations, backorders, cancelled)


async def lower_rows(session: Session, table: type[Allocation | Backorder], taken: Sequence[Taken]) -> None:
    """Take units off allocation or backorder rows; a row with none left goes. Levels and lines are the caller's."""
    gone = [held.id for held, quantity in taken if quantity == held.quantity]
    lowered = [(held.id, quantity) for held, quantity in taken if quantity < held.quantity]
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


_lines = (
    sa.func.unnest(
        sa.bindparam("line_ids", type_=ARRAY(sa.Uuid())),
        sa.bindparam("cancelled", type_=ARRAY(sa.Integer())),
        sa.bindparam("allocated", type_=ARRAY(sa.Integer())),
        sa.bindparam("backordered", type_=ARRAY(sa.Integer())),
    )
    .table_valued(
        sa.column("line_id", sa.Uuid()),
        sa.column("cancelled", sa.Integer()),
        sa.column("allocated", sa.Integer()),
        sa.column("backordered", sa.Integer()),
        name="lowered",
    )
    .render_derived()
)
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
    session: Session,
    allocations: Sequence[Taken],
    backorders: Sequence[Taken],
    cancelled: Mapping[UUID, int],
) -> None:
    changes: dict[UUID, list[int]] = {
        line_id: [quantity, 0, 0] for line_id, quantity in cancelled.items() if quantity > 0
    }
    for place, rows in ((1, allocations), (2, backorders)):
        for held, quantity in rows:
            changes.setdefault(held.order_line_id, [0, 0, 0])[place] += quantity
    if not changes:
        return
    line_ids = sorted(changes)
    await session.execute(
        _LOWER_LINES,
        {
            "line_ids": line_ids,
            "cancelled": [changes[line_id][0] for line_id in line_ids],
            "allocated": [changes[line_id][1] for line_id in line_ids],
            "backordered": [changes[line_id][2] for line_id in line_ids],
        },
    )
