"""Stock that came in, and stock that was found to be there or not: receipts, adjustments, counts.

What is physically there is never refused. When a count or an adjustment leaves
less than was promised, the weakest promises become backorders in the same
transaction (`shortages`), and reservations give back what even that cannot cover.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from db.base import new_id
from db.engine import Session
from db.stock import Reservation, ReservationLine
from domain import stock
from domain.access import SYSTEM, Principal
from domain.errors import QuantityExceeded, Refused
from domain.orders import Origin
from domain.reservations import ReservationStatus
from domain.stock import Bucket, MovementKind
from domain.stock_commands import AdjustStock, ReceiveStock, check_adjustment, check_receipt
from services import shortages, stock_changes
from services.master_data import check_batch
from services.order_changes import OrderChange, lock_order
from services.outcomes import ItemOutcome
from services.shortages import Decided
from services.stock_changes import Claim, LockedLevel, Movement
from services.stock_reports import Item, answers, begin, find_levels, level_ids

MAX_ON_HAND = 2_000_000_000
"""What a bucket's counter holds."""

ATTEMPTS = 10
"""Times that a count takes its locks until it holds all of those that it needs."""

_SAVEPOINT, _GIVE_BACK = sa.text("SAVEPOINT before_locks"), sa.text("ROLLBACK TO SAVEPOINT before_locks")
_LOCK_RESERVATIONS = (
    sa.select(Reservation.id)
    .where(Reservation.id == sa.any_(sa.bindparam("ids", type_=ARRAY(sa.Uuid()))))
    .order_by(Reservation.id)
    .with_for_update()
)


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
    items = [begin(command.place, check_receipt, command) for command in commands]
    await find_levels(session, items, actor)
    levels = await stock_changes.lock_levels(session, level_ids(items))
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
    return answers(items)


async def _adjust_all(
    session: Session, commands: Sequence[AdjustStock], *, actor: Principal, now: datetime
) -> tuple[ItemOutcome, ...]:
    items = [begin(command.place, check_adjustment, command) for command in commands]
    await find_levels(session, items, actor)
    found = await _lock_in_order(session, items, commands, now)
    for change in found.orders.values():
        change.actor = actor
    gave_way = await shortages.give_way(
        session,
        found.effect.decided,
        held=found.orders,
        # Named anew: the same line may fall short again at the next count.
        report=f"stock adjustment {new_id()}",
        actor=actor,
        now=now,
    )
    await _shrink_reservations(session, found.effect.shrunk)
    freed = [Claim(level_id=held.level_id, reserved=-held.units) for held in found.effect.shrunk]
    await stock_changes.apply(
        session,
        found.levels,
        movements=[item.movement for item in found.effect.items if item.movement is not None],
        claims=[*gave_way.claims, *freed],
        actor=actor.account,
        now=now,
    )
    gave_way.orders |= {order_id: change for order_id, change in found.orders.items() if change.happened}
    await shortages.save_orders(session, gave_way)
    return answers(found.effect.items)


@dataclass(frozen=True, slots=True)
class _Shrunk:
    """Units that a checkout gives back, because no stock stands behind them any more."""

    line_id: UUID
    reservation_id: UUID
    level_id: UUID
    units: int


@dataclass(frozen=True, slots=True)
class _Effect:
    """What reports do to levels: the ledger's rows, and the promises that give way."""

    items: Sequence[Item]
    decided: Mapping[UUID, Decided]
    shrunk: Sequence[_Shrunk]

    @property
    def orders(self) -> set[UUID]:
        return {order_id for decided in self.decided.values() for order_id in decided.orders}

    @property
    def reservations(self) -> set[UUID]:
        return {held.reservation_id for held in self.shrunk}


@dataclass(frozen=True, slots=True)
class _Locked:
    """Everything that an effect is on, locked."""

    orders: dict[UUID, OrderChange]
    levels: dict[UUID, LockedLevel]
    effect: _Effect


async def _lock_in_order(
    session: Session, items: Sequence[Item], commands: Sequence[AdjustStock], now: datetime
) -> _Locked:
    """Lock the orders and checkouts that give way, then the levels.

    Who gives way is certain only once the levels are locked. Should it be others than
    were locked, all of these locks are given back (as a savepoint's rollback does) and
    taken anew, in order, with those. After ATTEMPTS the rest is locked late: if that meets
    an opposed lock, the database says deadlock and the whole is tried again.
    """
    wanted = level_ids(items)
    effect = await _effect(session, items, commands, await stock_changes.read_levels(session, wanted))
    orders, reservations = effect.orders, effect.reservations
    await session.execute(_SAVEPOINT)
    for attempt in range(1, ATTEMPTS + 1):
        held = {one: await lock_order(session, one, actor=SYSTEM, now=now) for one in sorted(orders)}
        if reservations:
            await session.fetch(_LOCK_RESERVATIONS, {"ids": sorted(reservations)})
        levels = await stock_changes.lock_levels(session, wanted)
        effect = await _effect(session, items, commands, levels)
        certain = effect.orders <= orders and effect.reservations <= reservations
        if certain or attempt == ATTEMPTS:
            break
        orders |= effect.orders
        reservations |= effect.reservations
        await session.execute(_GIVE_BACK)
    return _Locked(held, levels, effect)


async def _effect(
    session: Session,
    items: Sequence[Item],
    commands: Sequence[AdjustStock],
    levels: Mapping[UUID, LockedLevel],
) -> _Effect:
    posted = [replace(item, errors=list(item.errors)) for item in items]
    running = {level_id: _buckets(level) for level_id, level in levels.items()}
    for item, command in zip(posted, commands, strict=True):
        if item.level_id is not None:
            _adjust(item, command, running[item.level_id])
    after = {
        level_id: _after(level, running[level_id][Bucket.SELLABLE]) for level_id, level in levels.items()
    }
    decided = await shortages.decide(session, after)
    shrunk = [
        one
        for level_id, of_level in decided.items()
        for one in await _youngest_reserved(session, level_id, of_level.uncovered)
    ]
    return _Effect(posted, decided, shrunk)


def _adjust(item: Item, command: AdjustStock, buckets: dict[Bucket, int]) -> None:
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


def _post(item: Item, buckets: dict[Bucket, int], movement: Movement, at: tuple[str, ...]) -> None:
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


async def _youngest_reserved(session: Session, level_id: UUID, units: int) -> list[_Shrunk]:
    """What the youngest reservations of the level give back, of so many units in all."""
    if not units:
        return []
    rows = await session.execute(
        sa.select(ReservationLine.id, ReservationLine.reservation_id, ReservationLine.quantity)
        .join(Reservation, Reservation.id == ReservationLine.reservation_id)
        .where(ReservationLine.stock_level_id == level_id, Reservation.status == ReservationStatus.ACTIVE)
        .order_by(Reservation.created_at.desc(), ReservationLine.id)
    )
    shrunk = []
    for row in rows:
        taken = min(units, row.quantity)
        if taken:
            shrunk.append(_Shrunk(row.id, row.reservation_id, level_id, taken))
        units -= taken
    return shrunk


async def _shrink_reservations(session: Session, shrunk: Sequence[_Shrunk]) -> None:
    for held in shrunk:
        line = ReservationLine.id == held.line_id
        await session.execute(sa.delete(ReservationLine).where(line, ReservationLine.quantity == held.units))
        await session.execute(
            sa.update(ReservationLine)
            .where(line, ReservationLine.quantity > held.units)
            .values(quantity=ReservationLine.quantity - held.units)
        )
