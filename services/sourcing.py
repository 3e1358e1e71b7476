"""Moving an order's claims away from a location that will not, or cannot, send them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, insert

from db.base import new_id
from db.channels import ChannelLocation
from db.engine import Session
from db.locations import Location
from db.orders import OrderLine
from db.stock import Allocation, Backorder, StockLevel
from domain import allocation
from domain.allocation import Demand
from domain.events import EventType
from domain.stock import Bucket, MovementKind, StockOwner
from services import claims, stock_changes
from services.claims import Held, Taken
from services.events import Event
from services.order_changes import OrderChange
from services.stock_changes import Claim, LockedLevel, Movement


@dataclass(slots=True)
class Resourced:
    """Units by order line that other locations took over, and those that wait for stock."""

    allocated: dict[UUID, int] = field(default_factory=dict)
    backordered: dict[UUID, int] = field(default_factory=dict)


async def resource(
    session: Session,
    change: OrderChange,
    units: Mapping[UUID, int],
    *,
    except_location: UUID,
    missing: str | None = None,
) -> Resourced:
    """Take these units of order lines from a location and promise them from others.

    What no other location that serves the channel can promise becomes a backorder of
    the best ranked of them, whether its SKU may be backordered or not: the order stands. Units that are not
    allocated there are left alone. `missing` names the report that says these units
    are not there at all: then they leave the ledger in the same statement.
    """
    given_up = await _given_up(session, change, units, except_location)
    lines = await _lines(session, given_up)
    ranks = await _other_locations(session, change, except_location)
    # Units that are missing wait where they were: their location is the one that will restock them.
    places = _Places(ranks=ranks, owe_elsewhere=missing is None and bool(ranks))
    level_of = await _levels(session, {line.product_id for line in lines.values()}, places)
    levels = await stock_changes.lock_levels(
        session, {*(held.stock_level_id for held, _ in given_up), *level_of.values()}
    )
    promised = _promise(given_up, lines, places, level_of, levels)
    await _write_rows(session, change, given_up, promised, levels)
    await stock_changes.apply(
        session,
        levels,
        movements=[_lost(change, held, quantity, missing) for held, quantity in given_up if missing],
        claims=[
            *(Claim(level_id=held.stock_level_id, allocated=-quantity) for held, quantity in given_up),
            *(Claim(level_id=level, allocated=quantity) for _, level, quantity in promised.allocations),
            *(Claim(level_id=level, backordered=quantity) for _, level, quantity in promised.backorders),
        ],
        actor=change.actor.account,
        now=change.now,
    )
    return _told(change, lines, promised)


async def withdraw(
    session: Session, change: OrderChange, units: Mapping[UUID, int], *, location_id: UUID
) -> None:
    """Cancel units of order lines that a location was to send: its own allocations go first.

    Units that a shortage had taken from the location are cancelled as backorders.
    """
    held = await claims.allocations_of(session, change.id)
    wanted = dict(units)
    here = claims.take([row for row in held if row.location_id == location_id], wanted)
    owed = claims.take(await claims.backorders_of(session, change.id), wanted)
    elsewhere = claims.take([row for row in held if row.location_id != location_id], wanted)
    await claims.give_back(session, change, allocations=[*here, *elsewhere], backorders=owed, cancelled=units)


async def _given_up(
    session: Session, change: OrderChange, units: Mapping[UUID, int], location_id: UUID
) -> list[Taken]:
    """The order's allocations at the location, and how much of each has to go."""
    held = await claims.allocations_of(session, change.id)
    return claims.take([row for row in held if row.location_id == location_id], dict(units))


def _lost(change: OrderChange, held: Held, quantity: int, report: str | None) -> Movement:
    return Movement(
        level_id=held.stock_level_id,
        bucket=Bucket.SELLABLE,
        quantity=-quantity,
        kind=MovementKind.ADJUSTMENT,
        order_id=change.id,
        reference=report,
        note="Short pick",
    )


async def _lines(session: Session, given_up: Sequence[Taken]) -> dict[UUID, Any]:
    if not given_up:
        return {}
    statement = (
        sa.select(OrderLine.id, OrderLine.product_id, OrderLine.sku, OrderLine.line_number)
        .where(OrderLine.id.in_({held.order_line_id for held, _ in given_up}))
        .order_by(OrderLine.line_number)
    )
    return {row.id: row for row in await session.execute(statement)}


@dataclass(frozen=True, slots=True)
class _Places:
    """Where else units may come from, by rank; `owe_elsewhere`: the best of them owes what is missing."""

    ranks: Mapping[UUID, int]
    owe_elsewhere: bool

    @property
    def best(self) -> UUID:
        return min(self.ranks, key=lambda location: (self.ranks[location], location))


async def _other_locations(session: Session, change: OrderChange, except_location: UUID) -> dict[UUID, int]:
    """The other locations that serve the channel, with their ranks."""
    rows = await session.execute(
        sa.select(ChannelLocation.location_id, ChannelLocation.rank)
        .join(Location, sa.and_(Location.id == ChannelLocation.location_id, Location.active))
        .where(
            ChannelLocation.channel_id == change.order.channel_id,
            ChannelLocation.location_id != except_location,
        )
    )
    return dict(iter(rows))


Key = tuple[UUID, UUID]
"""A product and a location."""


async def _levels(session: Session, product_ids: set[UUID], places: _Places) -> dict[Key, UUID]:
    """Our own levels of these products at the other locations, still unlocked; the best has one of each."""
    if places.owe_elsewhere:
        await stock_changes.ensure_levels(session, {(product_id, places.best) for product_id in product_ids})
    rows = await session.execute(
        sa.select(StockLevel.product_id, StockLevel.location_id, StockLevel.id).where(
            StockLevel.product_id.in_(product_ids),
            StockLevel.location_id.in_(places.ranks),
            StockLevel.owner == StockOwner.OWN,
        )
    )
    return {(product_id, location_id): level_id for product_id, location_id, level_id in rows}


Claimed = tuple[UUID, UUID, int]
"""An order line, a stock level, units."""


@dataclass(frozen=True, slots=True)
class _Promised:
    allocations: list[Claimed]
    backorders: list[Claimed]


def _promise(
    given_up: Sequence[Taken],
    lines: Mapping[UUID, Any],
    places: _Places,
    level_of: Mapping[Key, UUID],
    levels: Mapping[UUID, LockedLevel],
) -> _Promised:
    wanted: dict[UUID, int] = {}
    before: dict[UUID, UUID] = {}
    for held, quantity in given_up:
        wanted[held.order_line_id] = wanted.get(held.order_line_id, 0) + quantity
        before[held.order_line_id] = held.stock_level_id
    promised = _Promised([], [])
    line_ids = [line_id for line_id in lines if line_id in wanted]
    if places.ranks:
        products = {lines[line_id].sku: lines[line_id].product_id for line_id in line_ids}
        skus = {product_id: sku for sku, product_id in products.items()}
        placement = allocation.allocate(
            [Demand(index, lines[line_id].sku, wanted[line_id]) for index, line_id in enumerate(line_ids)],
            {(skus[key[0]], key[1]): levels[level_id].available for key, level_id in level_of.items()},
            places.ranks,
            backorderable=products,
        )
        for promise in placement.allocations:
            line_id = line_ids[promise.line]
            level_id = level_of[products[promise.sku], promise.location]
            promised.allocations.append((line_id, level_id, promise.quantity))
            wanted[line_id] -= promise.quantity
    for line_id in line_ids:
        if wanted[line_id]:
            owing = (
                level_of[lines[line_id].product_id, places.best] if places.owe_elsewhere else before[line_id]
            )
            promised.backorders.append((line_id, owing, wanted[line_id]))
    return promised


_lines_change = (
    sa.func.unnest(
        sa.bindparam("line_ids", type_=ARRAY(sa.Uuid())),
        sa.bindparam("allocated", type_=ARRAY(sa.Integer())),
        sa.bindparam("backordered", type_=ARRAY(sa.Integer())),
    )
    .table_valued(
        sa.column("line_id", sa.Uuid()),
        sa.column("allocated", sa.Integer()),
        sa.column("backordered", sa.Integer()),
        name="moved",
    )
    .render_derived()
)
MOVE_LINES = (
    sa.update(OrderLine)
    .where(OrderLine.id == _lines_change.c.line_id)
    .values(
        quantity_allocated=OrderLine.quantity_allocated + _lines_change.c.allocated,
        quantity_backordered=OrderLine.quantity_backordered + _lines_change.c.backordered,
    )
)
"""Adds to the allocated and backordered units of order lines; any sign."""


async def _write_rows(
    session: Session,
    change: OrderChange,
    given_up: Sequence[Taken],
    promised: _Promised,
    levels: Mapping[UUID, LockedLevel],
) -> None:
    await claims.lower_rows(session, Allocation, given_up)
    await add_allocations(session, change, promised.allocations, levels)
    await add_backorders(session, change, promised.backorders)
    moved: dict[UUID, list[int]] = {held.order_line_id: [0, 0] for held, _ in given_up}
    for held, quantity in given_up:
        moved[held.order_line_id][0] -= quantity
    for line_id, _, quantity in promised.allocations:
        moved[line_id][0] += quantity
    for line_id, _, quantity in promised.backorders:
        moved[line_id][1] += quantity
    if moved:
        await session.execute(
            MOVE_LINES,
            {
                "line_ids": list(moved),
                "allocated": [allocated for allocated, _ in moved.values()],
                "backordered": [backordered for _, backordered in moved.values()],
            },
        )


async def add_allocations(
    session: Session,
    change: OrderChange,
    claimed: Sequence[Claimed],
    levels: Mapping[UUID, LockedLevel],
) -> None:
    """Commit units of levels to order lines, on top of what is committed already."""
    if not claimed:
        return
    statement = insert(Allocation)
    await session.execute(
        statement.on_conflict_do_update(
            index_elements=["order_line_id", "stock_level_id"],
            set_={"quantity": Allocation.quantity + statement.excluded.quantity},
        ),
        [
            {
                "id": new_id(),
                "order_id": change.id,
                "order_line_id": line_id,
                "stock_level_id": level_id,
                "location_id": levels[level_id].location_id,
                "quantity": quantity,
                "created_at": change.now,
            }
            for line_id, level_id, quantity in claimed
        ],
    )


async def add_backorders(session: Session, change: OrderChange, claimed: Sequence[Claimed]) -> None:
    """Owe units of levels to order lines, on top of what is owed already."""
    if not claimed:
        return
    statement = insert(Backorder)
    await session.execute(
        statement.on_conflict_do_update(
            index_elements=["order_line_id", "stock_level_id"],
            set_={"quantity": Backorder.quantity + statement.excluded.quantity},
        ),
        [
            {
                "id": new_id(),
                "order_id": change.id,
                "order_line_id": line_id,
                "stock_level_id": level_id,
                "quantity": quantity,
                "created_at": change.now,
            }
            for line_id, level_id, quantity in claimed
        ],
    )


def _told(change: OrderChange, lines: Mapping[UUID, Any], promised: _Promised) -> Resourced:
    """Record what became of the units, and answer it."""
    answer = Resourced()
    for claimed, summed, event in (
        (promised.allocations, answer.allocated, EventType.ORDER_UNITS_ALLOCATED),
        (promised.backorders, answer.backordered, EventType.ORDER_UNITS_BACKORDERED),
    ):
        for line_id, _, quantity in claimed:
            summed[line_id] = summed.get(line_id, 0) + quantity
        if summed:
            change.record(
                Event(
                    type=event,
                    subject_kind="ORDER",
                    subject_id=change.id,
                    details={
                        "lines": [
                            {"orderLineId": str(line_id), "sku": lines[line_id].sku, "quantity": quantity}
                            for line_id, quantity in summed.items()
                        ]
                    },
                )
            )
    return answer
