"""Stock that came in, and stock that was found to be there or not: receipts, adjustments, counts.

What is physically there is never refused. When a count or an adjustment leaves
less than was promised, the weakest promises become backorders in the same
transaction (`shortages`), and reservations give back what even that cannot cover.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from db import visibility
from db.base import new_id
from db.engine import Session
from db.locations import Location
from db.orders import Order
from db.products import Product
from db.stock import Allocation, Reservation, ReservationLine, StockLevel
from domain import ids, stock
from domain.access import SYSTEM, Principal, VisibilityClass
from domain.checks import Checks
from domain.errors import NotFound, QuantityExceeded, Refused, UserError
from domain.ids import Prefix
from domain.orders import Origin
from domain.reservations import ReservationStatus
from domain.stock import Bucket, MovementKind
from domain.stock_commands import AdjustStock, ReceiveStock, StockPlace, check_adjustment, check_receipt
from services import shortages, stock_changes
from services.master_data import check_batch
from services.order_changes import OrderChange, lock_order
from services.outcomes import ItemOutcome
from services.stock_changes import Claim, LockedLevel, Movement

MAX_ON_HAND = 2_000_000_000
"""What a bucket's counter holds."""


async def receive_stock(
    session: Session, command: ReceiveStock, /, *, actor: Principal, now: datetime
) -> UUID:
    """Add units that have come in; returns the stock level. Backorders are served from it soon after."""
    return _only(await receive_all(session, (command,), actor=actor, now=now))


async def receive_stocks(
    session: Session, commands: Sequence[ReceiveStock], /, *, actor: Principal, now: datetime
) -> tuple[ItemOutcome, ...]:
    """The same for up to 100 receipts, each answered for itself."""
    check_batch(commands)
    return await receive_all(session, commands, actor=actor, now=now)


async def adjust_stock(session: Session, command: AdjustStock, /, *, actor: Principal, now: datetime) -> UUID:
    """Correct what the books say, by a difference or to what was counted; returns the stock level."""
    return _only(await _adjust_all(session, (command,), actor=actor, now=now))


async def adjust_stocks(
    session: Session, commands: Sequence[AdjustStock], /, *, actor: Principal, now: datetime
) -> tuple[ItemOutcome, ...]:
    """The same for up to 100 adjustments, each answered for itself."""
    check_batch(commands)
    return await _adjust_all(session, commands, actor=actor, now=now)


def _only(outcomes: tuple[ItemOutcome, ...]) -> UUID:
    (outcome,) = outcomes
    if outcome.id is None:
        raise Refused(*outcome.errors)
    return outcome.id


@dataclass(slots=True)
class _Item:
    """One report on its way: the level it is about once that is found, and the ledger row it becomes."""

    place: StockPlace
    errors: list[UserError]
    product_id: UUID | None = None
    location_id: UUID | None = None
    level_id: UUID | None = None
    movement: Movement | None = None


async def receive_all(
    session: Session,
    commands: Sequence[ReceiveStock],
    *,
    actor: Principal,
    now: datetime,
    kind: MovementKind = MovementKind.RECEIPT,
    origin: Origin = Origin.PLACED,
) -> tuple[ItemOutcome, ...]:
    """Receipts of any number; imports post opening balances through it."""
    items = [_begin(command.place, check_receipt, command) for command in commands]
    await _find_levels(session, items, actor)
    levels = await stock_changes.lock_levels(session, _level_ids(items))
    running = {level_id: _buckets(level) for level_id, level in levels.items()}
    for item, command in zip(items, commands, strict=True):
        if item.level_id is None:
            continue
        _post(
            item,
            running[item.level_id],
            Movement(
                level_id=item.level_id,
                bucket=command.bucket,
                quantity=command.quantity,
                kind=kind,
                reference=command.reference,
                note=command.note,
                occurred_at=command.occurred_at,
            ),
            ("quantity",),
        )
    movements = [item.movement for item in items if item.movement is not None]
    await stock_changes.apply(
        session, levels, movements=movements, actor=actor.account, now=now, origin=origin
    )
    return _answers(items)


async def _adjust_all(
    session: Session, commands: Sequence[AdjustStock], *, actor: Principal, now: datetime
) -> tuple[ItemOutcome, ...]:
    items = [_begin(command.place, check_adjustment, command) for command in commands]
    await _find_levels(session, items, actor)
    level_ids = _level_ids(items)
    held = await _lock_likely_orders(
        session, _expected(items, commands, await _read(session, level_ids)), now
    )
    levels = await stock_changes.lock_levels(session, level_ids)
    running = {level_id: _buckets(level) for level_id, level in levels.items()}
    for item, command in zip(items, commands, strict=True):
        if item.level_id is not None:
            _adjust(item, command, running[item.level_id])
    movements = [item.movement for item in items if item.movement is not None]
    after = {
        level_id: _after(level, running[level_id][Bucket.SELLABLE]) for level_id, level in levels.items()
    }
    for change in held.values():
        change.actor = actor
    found = await shortages.give_way(
        session,
        after,
        held=held,
        # Named anew: the same line may fall short again at the next count.
        report=f"stock adjustment {new_id()}",
        actor=actor,
        now=now,
    )
    freed = [
        await _shrink_reservations(session, level_id, units) for level_id, units in found.uncovered.items()
    ]
    await stock_changes.apply(
        session,
        levels,
        movements=movements,
        claims=[*found.claims, *freed],
        actor=actor.account,
        now=now,
    )
    found.orders |= {order_id: change for order_id, change in held.items() if change.happened}
    await shortages.save_orders(session, found)
    return _answers(items)


def _begin(place: StockPlace, check: Callable[[Checks, Any], None], command: object) -> _Item:
    checks = Checks()
    check(checks, command)
    return _Item(place=place, errors=checks.errors)


def _adjust(item: _Item, command: AdjustStock, buckets: dict[Bucket, int]) -> None:
    counted = command.counted is not None
    quantity = command.counted - buckets[command.bucket] if command.counted is not None else command.delta
    if not quantity or item.level_id is None:
        return
    _post(
        item,
        buckets,
        Movement(
            level_id=item.level_id,
            bucket=command.bucket,
            quantity=quantity,
            kind=MovementKind.COUNT if counted else MovementKind.ADJUSTMENT,
            reference=command.reference,
            note=command.reason,
            occurred_at=command.occurred_at,
        ),
        ("counted",) if counted else ("delta",),
    )


def _post(item: _Item, buckets: dict[Bucket, int], movement: Movement, at: tuple[str, ...]) -> None:
    """Take the movement into account, unless the books cannot follow it."""
    there = buckets[movement.bucket]
    if not 0 <= there + movement.quantity <= MAX_ON_HAND:
        message = f"The books have {there} units there; send a count if that is wrong."
        item.errors.append(
            QuantityExceeded(message=message, field=at, requested=abs(movement.quantity), limit=there)
        )
        return
    buckets[movement.bucket] += movement.quantity
    item.movement = movement


def _buckets(level: LockedLevel) -> dict[Bucket, int]:
    return {
        Bucket.SELLABLE: level.sellable,
        Bucket.DAMAGED: level.damaged,
        Bucket.QUARANTINE: level.quarantine,
        Bucket.DISPLAY: level.display,
    }


def _after(level: LockedLevel, sellable: int) -> stock.StockLevel:
    return stock.StockLevel(
        sellable=sellable,
        allocated=level.allocated,
        reserved=level.reserved,
        backordered=level.backordered,
        safety_stock=level.safety_stock,
    )


def _level_ids(items: Sequence[_Item]) -> set[UUID]:
    return {item.level_id for item in items if item.level_id is not None}


def _answers(items: Sequence[_Item]) -> tuple[ItemOutcome, ...]:
    return tuple(ItemOutcome(None if item.errors else item.level_id, tuple(item.errors)) for item in items)


async def _find_levels(session: Session, items: Sequence[_Item], actor: Principal) -> None:
    """Find each report's product, location and level; a level that is not there yet is made."""
    await _find_products(session, items)
    await _find_locations(session, items, actor)
    for owner in sorted({item.place.owner for item in items}):
        sound = [item for item in items if not item.errors and item.place.owner is owner]
        places = [(item.product_id, item.location_id) for item in sound]
        made = await stock_changes.ensure_levels(
            session, [(product, location) for product, location in places if product and location], owner
        )
        for item in sound:
            if item.product_id is not None and item.location_id is not None:
                item.level_id = made[item.product_id, item.location_id]


async def _find_products(session: Session, items: Sequence[_Item]) -> None:
    places = [item.place for item in items if not item.errors]
    rows = await session.execute(
        sa.select(Product.id, Product.sku).where(
            sa.or_(
                Product.id.in_({place.product_id for place in places if place.product_id is not None}),
                Product.sku.in_({place.sku for place in places if place.sku is not None}),
            )
        )
    )
    found: dict[Any, UUID] = {}
    for row in rows:
        found[row.id] = found[row.sku] = row.id
    for item in items:
        if item.errors:
            continue
        item.product_id = found.get(item.place.product_id or item.place.sku)
        if item.product_id is None:
            by_id = item.place.product_id
            text = ids.format_id(Prefix.PRODUCT, by_id) if by_id is not None else str(item.place.sku)
            at = ("productId" if by_id is not None else "sku",)
            item.errors.append(NotFound(message=f"There is no product {text}.", field=at, id=text))


async def _find_locations(session: Session, items: Sequence[_Item], actor: Principal) -> None:
    places = [item.place for item in items if not item.errors]
    table = Location.metadata.tables["location"]
    statement = sa.select(table.c.id, table.c.code).where(
        sa.or_(
            table.c.id.in_({place.location_id for place in places if place.location_id is not None}),
            table.c.code.in_({place.location_code for place in places if place.location_code is not None}),
        ),
        visibility.predicate("location", table, VisibilityClass.of(actor)),
    )
    found: dict[Any, UUID] = {}
    for row in await session.execute(statement, visibility.values(actor)):
        found[row.id] = found[row.code] = row.id
    for item in items:
        if item.errors:
            continue
        item.location_id = found.get(item.place.location_id or item.place.location_code)
        if item.location_id is None:
            by_id = item.place.location_id
            text = ids.format_id(Prefix.LOCATION, by_id) if by_id is not None else item.place.location_code
            at = ("locationId" if by_id is not None else "locationCode",)
            message = f"There is no location {text} that you may see."
            item.errors.append(NotFound(message=message, field=at, id=str(text)))


@dataclass(slots=True)
class _Read:
    """A level as it is before any lock: enough to guess which orders a shortage will touch."""

    buckets: dict[Bucket, int]
    promised: int = field(default=0)


async def _read(session: Session, level_ids: set[UUID]) -> dict[UUID, _Read]:
    table = StockLevel.metadata.tables["stock_level"]
    rows = await session.execute(sa.select(table).where(table.c.id.in_(level_ids)))
    return {
        row.id: _Read(
            {bucket: row._mapping[bucket.lower()] for bucket in Bucket}, row.allocated + row.reserved
        )
        for row in rows
    }


def _expected(
    items: Sequence[_Item], commands: Sequence[AdjustStock], levels: Mapping[UUID, _Read]
) -> dict[UUID, int]:
    """Units by level that promises will probably have to give up."""
    for item, command in zip(items, commands, strict=True):
        if item.level_id is None:
            continue
        buckets = levels[item.level_id].buckets
        quantity = command.counted if command.counted is not None else buckets[command.bucket]
        buckets[command.bucket] = quantity + (command.delta or 0)
    missing = {
        level_id: level.promised - max(0, level.buckets[Bucket.SELLABLE])
        for level_id, level in levels.items()
    }
    return {level_id: units for level_id, units in missing.items() if units > 0}


async def _lock_likely_orders(
    session: Session, missing: Mapping[UUID, int], now: datetime
) -> dict[UUID, OrderChange]:
    """Lock, before the levels, the orders whose allocations are the weakest.

    Should others turn out to give way, they are locked after the levels; if that
    meets an opposed lock, the database says deadlock and the whole is tried again.
    """
    order_ids: set[UUID] = set()
    for level_id, units in missing.items():
        rows = await session.execute(
            sa.select(Allocation.order_id, Allocation.quantity)
            .join(Order, Order.id == Allocation.order_id)
            .where(Allocation.stock_level_id == level_id)
            .order_by(Order.priority, Allocation.created_at.desc(), Allocation.id)
            .limit(units)
        )
        left = units
        for row in rows:
            if left > 0:
                order_ids.add(row.order_id)
                left -= row.quantity
    return {
        order_id: await lock_order(session, order_id, actor=SYSTEM, now=now) for order_id in sorted(order_ids)
    }


async def _shrink_reservations(session: Session, level_id: UUID, units: int) -> Claim:
    """Take units off the youngest reservations of the level, which no stock stands behind any more."""
    rows = await session.execute(
        sa.select(ReservationLine.id, ReservationLine.quantity)
        .join(Reservation, Reservation.id == ReservationLine.reservation_id)
        .where(ReservationLine.stock_level_id == level_id, Reservation.status == ReservationStatus.ACTIVE)
        .order_by(Reservation.created_at.desc(), ReservationLine.id)
        .with_for_update()
    )
    left = units
    for row in rows.all():
        taken = min(left, row.quantity)
        if taken == row.quantity:
            await session.execute(sa.delete(ReservationLine).where(ReservationLine.id == row.id))
        elif taken:
            await session.execute(
                sa.update(ReservationLine)
                .where(ReservationLine.id == row.id)
                .values(quantity=ReservationLine.quantity - taken)
            )
        left -= taken
    return Claim(level_id=level_id, reserved=left - units)
