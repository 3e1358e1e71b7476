"""What leaves: dispatch to a carrier, collection by the customer. Facts, never refused.

The ledger loses the units, the order's claims on them end, the payment follows.
Where the books contradict the fact, the books are corrected (RECONCILIATION),
other orders give way (shortage), and staff read of it in a discrepancy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import Row
from sqlalchemy.dialects.postgresql import ARRAY

from db.engine import Session
from db.fulfillment import FulfillmentOrderLine
from db.orders import OrderLine
from db.stock import Allocation, Backorder
from domain.captures import LineUnits, due_for_shipped
from domain.discrepancies import DiscrepancyKind
from domain.stock import Bucket, MovementKind, StockLevel
from services import claims, discrepancies, payments, shortages, stock_changes
from services.claims import Held, Taken
from services.fulfillment import FulfillmentChange
from services.order_changes import OrderChange
from services.stock_changes import Claim, LockedLevel, Movement


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaving:
    """Units of one order line that left a location; `beyond` of them nobody had asked for."""

    order_line_id: UUID
    product_id: UUID
    quantity: int
    beyond: int = 0


@dataclass(frozen=True, slots=True)
class _Consumed:
    """Claims that end because their units have left, row by row."""

    allocations: list[Taken]
    backorders: list[Taken]

    def level_ids(self) -> set[UUID]:
        return {held.stock_level_id for held, _ in (*self.allocations, *self.backorders)}

    def claims(self) -> list[Claim]:
        return [
            *(Claim(level_id=held.stock_level_id, allocated=-units) for held, units in self.allocations),
            *(Claim(level_id=held.stock_level_id, backordered=-units) for held, units in self.backorders),
        ]


async def take_from_stock(
    session: Session,
    change: OrderChange,
    location_id: UUID,
    leaving: Sequence[Leaving],
    *,
    reference: str,
    occurred_at: datetime | None,
) -> None:
    """Post the departure to the ledger and end the claims it fulfils.

    A line's units come from its allocation at this location; what a shortage had
    taken away, from its backorders; at last from what other locations held for it.
    """
    consumed = await _consume(session, change, leaving, location_id)
    left = await _by_level(session, leaving, consumed, location_id)
    levels = await stock_changes.lock_levels(session, {*left, *consumed.level_ids()})
    after = {level_id: _after(levels[level_id], units, consumed.claims()) for level_id, units in left.items()}
    await claims.lower_rows(session, Allocation, consumed.allocations)
    await claims.lower_rows(session, Backorder, consumed.backorders)
    found = await shortages.give_way(
        session,
        await shortages.decide(session, after),
        held={change.id: change},
        report=reference,
        actor=change.actor,
        now=change.now,
    )
    unknown = {
        level_id: max(0, units - levels[level_id].sellable) + found.uncovered.get(level_id, 0)
        for level_id, units in left.items()
    }
    await stock_changes.apply(
        session,
        levels,
        movements=[
            *(
                _movement(change, level_id, units, MovementKind.RECONCILIATION, reference, occurred_at)
                for level_id, units in unknown.items()
                if units
            ),
            *(
                _movement(change, level_id, -units, MovementKind.DISPATCH, reference, occurred_at)
                for level_id, units in left.items()
            ),
        ],
        claims=[*consumed.claims(), *found.claims],
        actor=change.actor.account,
        now=change.now,
    )
    await shortages.save_orders(session, found)
    await _count_fulfilled(session, leaving, consumed)
    await _tell_reconciled(session, change, levels, unknown, reference)


def _after(level: LockedLevel, units: int, ended: Sequence[Claim]) -> StockLevel:
    """The level once the units have left: what is not there by the books was there in fact."""
    mine = [claim for claim in ended if claim.level_id == level.id]
    return StockLevel(
        sellable=max(0, level.sellable - units),
        allocated=level.allocated + sum(claim.allocated for claim in mine),
        reserved=level.reserved,
        backordered=level.backordered + sum(claim.backordered for claim in mine),
    )


def _movement(
    change: OrderChange,
    level_id: UUID,
    quantity: int,
    kind: MovementKind,
    reference: str,
    occurred_at: datetime | None,
) -> Movement:
    return Movement(
        level_id=level_id,
        bucket=Bucket.SELLABLE,
        quantity=quantity,
        kind=kind,
        order_id=change.id,
        reference=reference,
        occurred_at=occurred_at,
    )


async def _consume(
    session: Session, change: OrderChange, leaving: Sequence[Leaving], location_id: UUID
) -> _Consumed:
    wanted: dict[UUID, int] = {}
    for part in leaving:
        asked = part.quantity - part.beyond
        wanted[part.order_line_id] = wanted.get(part.order_line_id, 0) + asked
    if not any(wanted.values()):
        return _Consumed([], [])
    allocations = await claims.allocations_of(session, change.id)
    here = claims.take(_at(allocations, location_id), wanted)
    if not any(wanted.values()):
        return _Consumed(here, [])
    backorders = await claims.backorders_of(session, change.id)
    owed_here = claims.take(_at(backorders, location_id), wanted)
    owed = claims.take([held for held in backorders if held.location_id != location_id], wanted)
    elsewhere = claims.take([held for held in allocations if held.location_id != location_id], wanted)
    return _Consumed(allocations=[*here, *elsewhere], backorders=[*owed_here, *owed])


async def _by_level(
    session: Session, leaving: Sequence[Leaving], consumed: _Consumed, location_id: UUID
) -> dict[UUID, int]:
    """Units that left each level: the one they were claimed on here, else our own of their SKU."""
    left: dict[UUID, int] = {}
    loose = {part.order_line_id: 0 for part in leaving}
    for part in leaving:
        loose[part.order_line_id] += part.quantity
    for held, units in (*consumed.allocations, *consumed.backorders):
        if held.location_id == location_id:
            left[held.stock_level_id] = left.get(held.stock_level_id, 0) + units
            loose[held.order_line_id] -= units
    products = {part.order_line_id: part.product_id for part in leaving}
    wanted = {(products[line_id], location_id) for line_id, units in loose.items() if units}
    level_ids = await stock_changes.ensure_levels(session, wanted)
    for line_id, units in loose.items():
        if units:
            level_id = level_ids[products[line_id], location_id]
            left[level_id] = left.get(level_id, 0) + units
    return left


def _at(rows: Sequence[Held], location_id: UUID) -> list[Held]:
    return [held for held in rows if held.location_id == location_id]


_left = (
    sa.func.unnest(
        sa.bindparam("line_ids", type_=ARRAY(sa.Uuid())),
        *(
            sa.bindparam(name, type_=ARRAY(sa.Integer()))
            for name in ("fulfilled", "allocated", "backordered")
        ),
    )
    .table_valued(
        sa.column("line_id", sa.Uuid()),
        *(sa.column(name, sa.Integer()) for name in ("fulfilled", "allocated", "backordered")),
        name="departed",
    )
    .render_derived()
)
_COUNT_FULFILLED = (
    sa.update(OrderLine)
    .where(OrderLine.id == _left.c.line_id)
    .values(
        quantity_fulfilled=OrderLine.quantity_fulfilled + _left.c.fulfilled,
        quantity_allocated=OrderLine.quantity_allocated - _left.c.allocated,
        quantity_backordered=OrderLine.quantity_backordered - _left.c.backordered,
    )
)


async def _count_fulfilled(session: Session, leaving: Sequence[Leaving], consumed: _Consumed) -> None:
    counted: dict[UUID, list[int]] = {}
    for part in leaving:
        if part.quantity > part.beyond:
            counted.setdefault(part.order_line_id, [0, 0, 0])[0] += part.quantity - part.beyond
    for place, ended in ((1, consumed.allocations), (2, consumed.backorders)):
        for held, units in ended:
            counted[held.order_line_id][place] += units
    if counted:
        fulfilled, allocated, backordered = zip(*counted.values(), strict=True)
        await session.execute(
            _COUNT_FULFILLED,
            {
                "line_ids": list(counted),
                "fulfilled": list(fulfilled),
                "allocated": list(allocated),
                "backordered": list(backordered),
            },
        )


async def _tell_reconciled(
    session: Session,
    change: OrderChange,
    levels: Mapping[UUID, LockedLevel],
    unknown: Mapping[UUID, int],
    reference: str,
) -> None:
    for level_id, units in unknown.items():
        if units:
            await discrepancies.record_discrepancy(
                session,
                change,
                DiscrepancyKind.RECONCILED_DEPARTURE,
                subject_kind="STOCK_LEVEL",
                subject_id=level_id,
                report=reference,
                details={
                    "productId": str(levels[level_id].product_id),
                    "locationId": str(levels[level_id].location_id),
                    "quantity": units,
                },
            )


_shipped = (
    sa.func.unnest(
        sa.bindparam("line_ids", type_=ARRAY(sa.Uuid())),
        sa.bindparam("shipped", type_=ARRAY(sa.Integer())),
        sa.bindparam("picked", type_=ARRAY(sa.Integer())),
    )
    .table_valued(
        sa.column("line_id", sa.Uuid()),
        sa.column("shipped", sa.Integer()),
        sa.column("picked", sa.Integer()),
        name="shipped",
    )
    .render_derived()
)
_COUNT_SHIPPED = (
    sa.update(FulfillmentOrderLine)
    .where(FulfillmentOrderLine.id == _shipped.c.line_id)
    .values(
        quantity=sa.func.greatest(
            FulfillmentOrderLine.quantity,
            FulfillmentOrderLine.quantity_shipped
            + FulfillmentOrderLine.quantity_short
            + FulfillmentOrderLine.quantity_cancelled
            + _shipped.c.shipped,
        ),
        quantity_shipped=FulfillmentOrderLine.quantity_shipped + _shipped.c.shipped,
        quantity_picked=FulfillmentOrderLine.quantity_picked + _shipped.c.picked,
    )
)


async def count_shipped(
    session: Session, change: FulfillmentChange, units: Mapping[UUID, int], *, picked_before: bool
) -> None:
    """Units by fulfillment order line have left; picked as well, if nobody had said so.

    A line of which more left than was asked for asks for that many.
    """
    await session.execute(
        _COUNT_SHIPPED,
        {
            "line_ids": list(units),
            "shipped": list(units.values()),
            "picked": [0 if picked_before else quantity for quantity in units.values()],
        },
    )
    for line_id, quantity in units.items():
        change.left[line_id] = max(0, change.left[line_id] - quantity)


async def order_units(session: Session, change: OrderChange) -> Sequence[Any]:
    """Every line of the order: its total, and where its units are."""
    statement = (
        sa.select(
            OrderLine.id,
            OrderLine.gross_total,
            OrderLine.quantity,
            OrderLine.quantity_cancelled,
            OrderLine.quantity_allocated,
            OrderLine.quantity_fulfilled,
        )
        .where(OrderLine.order_id == change.id)
        .order_by(OrderLine.line_number)
    )
    rows: Sequence[Any] = (await session.execute(statement)).all()
    return rows


async def capture_for(
    session: Session, change: OrderChange, before: Sequence[Any], left: Mapping[UUID, int]
) -> None:
    """Ask for the money of the units by order line that have left since `before` was read.

    The last shipment takes all that remains.
    """
    total = change.values.get("current_total", change.order.current_total)
    due_before = due_for_shipped([_line_units(row, 0) for row in before], total)
    due_now = due_for_shipped([_line_units(row, left.get(row.id, 0)) for row in before], total)
    if due_now > due_before:
        await payments.request_captures(session, change, due_now - due_before)


def _line_units(row: Row[Any], left: int) -> LineUnits:
    return LineUnits(
        gross=row.gross_total,
        ordered=row.quantity,
        cancelled=row.quantity_cancelled,
        fulfilled=row.quantity_fulfilled + left,
    )


def within(change: FulfillmentChange, rows: Sequence[Any], units: Mapping[UUID, int]) -> dict[UUID, int]:
    """Of the units that left by fulfillment order line, those that the order still wants.

    Beyond what the location was asked for it may send what the order is owed and
    nobody else holds for it; else the customer would be sent those units again.
    """
    wanted = {row.id: row.quantity - row.quantity_cancelled - row.quantity_fulfilled for row in rows}
    owed = {row.id: wanted[row.id] - row.quantity_allocated for row in rows}
    asked = {}
    for line_id, quantity in units.items():
        order_line_id = change.lines[line_id].order_line_id
        limit = min(change.open_units[line_id] + max(0, owed[order_line_id]), wanted[order_line_id])
        asked[line_id] = min(quantity, limit)
        wanted[order_line_id] -= asked[line_id]
        owed[order_line_id] -= max(0, asked[line_id] - change.open_units[line_id])
    return asked


async def take_lines(
    session: Session,
    change: FulfillmentChange,
    units: Mapping[UUID, int],
    beyond: Mapping[UUID, int],
    *,
    reference: str,
    occurred_at: datetime | None,
) -> None:
    """The same, by fulfillment order line; `beyond` of these units nobody had asked for."""
    await take_from_stock(
        session,
        change.order,
        change.location_id,
        [
            Leaving(
                order_line_id=change.lines[line_id].order_line_id,
                product_id=change.lines[line_id].product_id,
                quantity=quantity,
                beyond=beyond.get(line_id, 0),
            )
            for line_id, quantity in units.items()
            if quantity
        ],
        reference=reference,
        occurred_at=occurred_at,
    )
