"""Shortages: fewer units are there than were promised, so the weakest promises become backorders.

A physical fact (a count, damage, a departure) is never refused. Whoever records
one that leaves too little asks here first which allocations give way, and applies
their change together with its own: no promise may stand without stock, not even
for one statement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import Row

from db.engine import Session
from db.fulfillment import FulfillmentOrder, FulfillmentOrderLine
from db.orders import Order, OrderLine
from db.stock import Allocation
from domain.access import SYSTEM, Principal
from domain.discrepancies import DiscrepancyKind
from domain.events import EventType
from domain.fulfillment import LIVE
from domain.stock import AllocationClaim, StockLevel, shortage
from services import claims, discrepancies, sourcing
from services.claims import Held
from services.events import Event
from services.order_changes import OrderChange, lock_order, save
from services.stock_changes import Claim


@dataclass(slots=True)
class Shortfall:
    """What gives way: claims to apply, orders to save afterwards, and units nothing could cover."""

    claims: list[Claim] = field(default_factory=list)
    orders: dict[UUID, OrderChange] = field(default_factory=dict)
    uncovered: dict[UUID, int] = field(default_factory=dict)
    """By level: reserved units without stock. Only the ledger can answer for them."""


_in_hand = (
    sa.select(
        FulfillmentOrderLine.order_line_id,
        FulfillmentOrder.location_id,
        sa.func.sum(FulfillmentOrderLine.quantity_picked - FulfillmentOrderLine.quantity_shipped).label(
            "units"
        ),
    )
    .join(FulfillmentOrder, FulfillmentOrder.id == FulfillmentOrderLine.fulfillment_order_id)
    .where(FulfillmentOrder.status.in_(sorted(LIVE)))
    .group_by(FulfillmentOrderLine.order_line_id, FulfillmentOrder.location_id)
    .subquery("in_hand")
)
_ALLOCATIONS = (
    sa.select(
        Allocation.id,
        Allocation.order_id,
        Allocation.order_line_id,
        Allocation.stock_level_id,
        Allocation.location_id,
        Allocation.quantity,
        Allocation.created_at,
        Order.priority,
        sa.func.coalesce(_in_hand.c.units, 0).label("picked"),
        OrderLine.sku,
    )
    .join(Order, Order.id == Allocation.order_id)
    .join(OrderLine, OrderLine.id == Allocation.order_line_id)
    .outerjoin(
        _in_hand,
        sa.and_(
            _in_hand.c.order_line_id == Allocation.order_line_id,
            _in_hand.c.location_id == Allocation.location_id,
        ),
    )
    .where(Allocation.stock_level_id == sa.bindparam("level_id", type_=sa.Uuid()))
)


@dataclass(frozen=True, slots=True)
class Decided:
    """What gives way of a level: units by allocation, and reserved units that even that leaves without stock."""

    allocations: Mapping[UUID, Row[Any]]
    backordered: Sequence[tuple[UUID, int]]
    uncovered: int

    @property
    def orders(self) -> set[UUID]:
        return {self.allocations[allocation_id].order_id for allocation_id, _ in self.backordered}


async def decide(session: Session, levels: Mapping[UUID, StockLevel]) -> dict[UUID, Decided]:
    """Which claims of which levels do not fit what is sellable, as it stands now; certain of locked levels."""
    found = {}
    for level_id in sorted(levels):
        level = levels[level_id]
        if level.sellable >= level.allocated + level.reserved:
            continue
        rows = {row.id: row for row in await session.execute(_ALLOCATIONS, {"level_id": level_id})}
        decided = shortage(
            level,
            [
                AllocationClaim(
                    id=row.id,
                    quantity=row.quantity,
                    allocated_at=row.created_at,
                    priority=row.priority,
                    picked=min(row.quantity, row.picked),
                )
                for row in rows.values()
            ],
        )
        found[level_id] = Decided(rows, decided.backordered, decided.uncovered)
    return found


async def give_way(
    session: Session,
    decided: Mapping[UUID, Decided],
    *,
    held: Mapping[UUID, OrderChange],
    report: str,
    actor: Principal,
    now: datetime,
) -> Shortfall:
    """Turn allocations into backorders until each level's claims fit what is sellable.

    `decided` is of locked levels as the fact leaves them. `held` are orders the
    caller has locked already; others are locked here, after the levels: should
    that meet an opposed lock, the database says deadlock and the unit of work
    tries again. `report` names the fact, for the discrepancies. The caller applies
    the claims and saves the orders.
    """
    found = Shortfall()
    for level_id, of_level in decided.items():
        for allocation_id, units in of_level.backordered:
            row = of_level.allocations[allocation_id]
            change = await _locked(session, found, held, row.order_id, actor=actor, now=now)
            await _backorder(session, change, row, units, report=report)
            found.claims.append(Claim(level_id=level_id, allocated=-units, backordered=units))
        if of_level.uncovered:
            found.uncovered[level_id] = of_level.uncovered
    return found


async def _locked(
    session: Session,
    found: Shortfall,
    held: Mapping[UUID, OrderChange],
    order_id: UUID,
    *,
    actor: Principal,
    now: datetime,
) -> OrderChange:
    if order_id in held:
        return held[order_id]
    if order_id not in found.orders:
        found.orders[order_id] = await lock_order(session, order_id, actor=SYSTEM, now=now)
        found.orders[order_id].actor = actor
    return found.orders[order_id]


async def _backorder(
    session: Session, change: OrderChange, row: Row[Any], units: int, *, report: str
) -> None:
    held = Held(row.id, row.order_line_id, row.stock_level_id, row.location_id, row.quantity)
    await claims.lower_rows(session, Allocation, [(held, units)])
    await sourcing.add_backorders(session, change, [(row.order_line_id, row.stock_level_id, units)])
    await session.execute(
        sourcing.MOVE_LINES,
        {"line_ids": [row.order_line_id], "allocated": [-units], "backordered": [units]},
    )
    line = {"orderLineId": str(row.order_line_id), "sku": row.sku, "quantity": units}
    change.record(
        Event(
            type=EventType.ORDER_UNITS_BACKORDERED,
            subject_kind="ORDER",
            subject_id=change.id,
            details={"lines": [line]},
        )
    )
    await discrepancies.record_discrepancy(
        session,
        change,
        DiscrepancyKind.SHORTAGE,
        subject_kind="ORDER_LINE",
        subject_id=row.order_line_id,
        report=f"{report}, level {row.stock_level_id}",
        details=line,
    )


async def save_orders(session: Session, found: Shortfall) -> None:
    """Settle and record the orders that gave way, after the levels have been changed."""
    for order_id in sorted(found.orders):
        await save(session, found.orders[order_id])
