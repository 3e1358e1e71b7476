"""Serving backorders when stock arrives: the most urgent order first, then the one that waits longest."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, insert

from db.base import new_id
from db.engine import Session
from db.orders import Order, OrderLine
from db.stock import Allocation, Backorder, StockLevel
from domain.access import Principal
from domain.events import EventType
from domain.orders import ENDED
from services import stock_changes
from services.events import Event
from services.order_changes import lock_order, save
from services.stock_changes import Claim

BATCH = 50
"""Orders served in one transaction; the rest are served in the next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeBackorders:
    level_id: UUID


_FREE = sa.func.greatest(
    0, StockLevel.sellable - StockLevel.allocated - StockLevel.reserved - StockLevel.safety_stock
)
_WAITING = (
    sa.select(Backorder.order_id, Backorder.quantity)
    .join(Order, Order.id == Backorder.order_id)
    .where(
        Backorder.stock_level_id == sa.bindparam("level_id", type_=sa.Uuid()),
        Order.status.not_in(sorted(ENDED)),
    )
    .order_by(Order.priority.desc(), Backorder.id)
    .limit(BATCH)
)


async def serve_backorders(
    session: Session, command: ServeBackorders, /, *, actor: Principal, now: datetime
) -> int:
    """Allocate what the level has free to the orders that wait for it; returns the units allocated.

    The orders are chosen by a plain read and locked before the level, as everywhere;
    what is free is then read again under the level's lock.
    """
    free = (
        await session.execute(sa.select(_FREE).where(StockLevel.id == command.level_id))
    ).scalar_one_or_none()
    if not free:
        return 0
    chosen: list[UUID] = []
    for waiting in await session.execute(_WAITING, {"level_id": command.level_id}):
        if free <= 0:
            break
        if waiting.order_id not in chosen:
            chosen.append(waiting.order_id)
        free -= waiting.quantity
    changes = {
        order_id: await lock_order(session, order_id, actor=actor, now=now) for order_id in sorted(chosen)
    }
    levels = await stock_changes.lock_levels(session, [command.level_id])
    level = levels[command.level_id]
    left = max(0, level.sellable - level.allocated - level.reserved - level.safety_stock)
    served = 0
    for order_id in chosen:
        change = changes[order_id]
        rows = (
            await session.execute(
                sa.select(Backorder.id, Backorder.order_line_id, Backorder.quantity)
                .where(Backorder.order_id == order_id, Backorder.stock_level_id == command.level_id)
                .order_by(Backorder.id)
            )
        ).all()
        given: list[tuple[UUID, UUID, int]] = []
        for row in rows:
            quantity = min(row.quantity, left)
            if quantity:
                given.append((row.id, row.order_line_id, quantity))
                left -= quantity
        if not given:
            continue
        units = sum(quantity for _, _, quantity in given)
        await _allocate(session, order_id, command.level_id, level.location_id, given, now)
        levels = await stock_changes.apply(
            session,
            levels,
            claims=[Claim(level_id=command.level_id, allocated=units, backordered=-units)],
            actor=actor.account,
            now=now,
        )
        change.record(
            Event(
                type=EventType.ORDER_UNITS_ALLOCATED,
                subject_kind="ORDER",
                subject_id=order_id,
                location_id=level.location_id,
                product_id=level.product_id,
                details={"units": units},
            )
        )
        await save(session, change)
        served += units
    return served


_served = (
    sa.func.unnest(
        sa.bindparam("ids", type_=ARRAY(sa.Uuid())), sa.bindparam("units", type_=ARRAY(sa.Integer()))
    )
    .table_valued(sa.column("id", sa.Uuid()), sa.column("units", sa.Integer()), name="served")
    .render_derived()
)
_LOWER_BACKORDERS = (
    sa.update(Backorder)
    .where(Backorder.id == _served.c.id, Backorder.quantity > _served.c.units)
    .values(quantity=Backorder.quantity - _served.c.units)
)
_END_BACKORDERS = sa.delete(Backorder).where(
    Backorder.id == _served.c.id, Backorder.quantity == _served.c.units
)
_MOVE_LINE_UNITS = (
    sa.update(OrderLine)
    .where(OrderLine.id == _served.c.id)
    .values(
        quantity_allocated=OrderLine.quantity_allocated + _served.c.units,
        quantity_backordered=OrderLine.quantity_backordered - _served.c.units,
    )
)


async def _allocate(
    session: Session,
    order_id: UUID,
    level_id: UUID,
    location_id: UUID,
    given: list[tuple[UUID, UUID, int]],
    now: datetime,
) -> None:
    """Turn units of backorder rows (id, order line, units) into allocations of the level."""
    by_row = {"ids": [row_id for row_id, _, _ in given], "units": [units for _, _, units in given]}
    # The whole ones go first: lowering the others must not make them look whole.
    await session.execute(_END_BACKORDERS, by_row)
    await session.execute(_LOWER_BACKORDERS, by_row)
    await session.execute(
        _MOVE_LINE_UNITS,
        {"ids": [line_id for _, line_id, _ in given], "units": [units for _, _, units in given]},
    )
    statement = insert(Allocation)
    await session.execute(
        statement.on_conflict_do_update(
            index_elements=["order_line_id", "stock_level_id"],
            set_={"quantity": Allocation.quantity + statement.excluded.quantity},
        ),
        [
            {
                "id": new_id(),
                "order_id": order_id,
                "order_line_id": line_id,
                "stock_level_id": level_id,
                "location_id": location_id,
                "quantity": units,
                "created_at": now,
            }
            for _, line_id, units in given
        ],
    )
