"""Reservations: what a checkout or a quote holds of stock until it orders, gives up or runs out of time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import Row

from db import visibility
from db.base import new_id
from db.engine import Session
from db.products import Product
from db.stock import Reservation, ReservationLine
from domain.access import SYSTEM, Principal, VisibilityClass
from domain.errors import InvalidInput, NotFound, Refused, UserError
from domain.events import AggregateKind, EventType
from domain.reservations import RESERVATION, ReservationOwner, ReservationStatus
from domain.states import transition
from domain.stock import MAX_QUANTITY
from services import events, promises, stock_changes
from services.events import Event
from services.order_changes import not_found
from services.sales_channels import load_channel
from services.stock_changes import Claim

MAX_MINUTES = 60 * 24 * 30
"""A quote may hold stock for thirty days; a checkout asks for minutes."""

MAX_RESERVED_LINES = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class ReserveLine:
    sku: str
    quantity: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReserveStock:
    """Hold stock for `minutes` minutes; `reference` is the caller's own name for the checkout or quote."""

    channel_id: UUID
    lines: tuple[ReserveLine, ...]
    minutes: int
    owner: ReservationOwner = ReservationOwner.CHECKOUT
    reference: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseReservation:
    reservation_id: UUID


async def reserve_stock(
    session: Session, command: ReserveStock, /, *, actor: Principal, now: datetime
) -> UUID:
    """Hold the stock, all of it or (InsufficientStock) nothing; returns the reservation's id."""
    _check(command)
    channel = await load_channel(session, command.channel_id, actor)
    units: dict[str, int] = {}
    for line in command.lines:
        units[line.sku] = units.get(line.sku, 0) + line.quantity
    products = await _products(session, list(units))
    unknown: list[UserError] = [
        NotFound(
            message=f"There is no product with the SKU {line.sku!r}.",
            field=("lines", str(index), "sku"),
            id=line.sku,
        )
        for index, line in enumerate(command.lines)
        if line.sku not in products
    ]
    if unknown:
        raise Refused(*unknown)
    supply = await promises.lock_supply(
        session, ((channel.id, product_id) for product_id in products.values())
    )
    promise = await promises.promise(
        session,
        supply,
        channel_id=channel.id,
        buffer=channel.stock_buffer,
        demand=[
            promises.Wanted(product_id=products[sku], sku=sku, quantity=quantity, backorderable=False)
            for sku, quantity in units.items()
        ],
    )
    reservation_id = new_id()
    await session.execute(
        sa.insert(Reservation).values(
            id=reservation_id,
            channel_id=channel.id,
            owner=command.owner,
            reference=command.reference,
            status=ReservationStatus.ACTIVE,
            expires_at=now + timedelta(minutes=command.minutes),
            version=1,
            created_at=now,
            updated_at=now,
        )
    )
    await session.execute(
        sa.insert(ReservationLine),
        [
            {
                "id": new_id(),
                "reservation_id": reservation_id,
                "stock_level_id": taken.level_id,
                "product_id": promise.levels[taken.level_id].product_id,
                "quantity": taken.quantity,
            }
            for taken in promise.allocations
        ],
    )
    await stock_changes.apply(
        session,
        supply.levels,
        claims=[Claim(level_id=taken.level_id, reserved=taken.quantity) for taken in promise.allocations],
        actor=actor.account,
        now=now,
    )
    await events.record(
        session,
        _aggregate(reservation_id, channel.id, version=0),
        [
            Event(
                type=EventType.RESERVATION_MADE,
                subject_kind="RESERVATION",
                subject_id=reservation_id,
                to_status=ReservationStatus.ACTIVE,
                details={"units": sum(units.values())},
            )
        ],
        actor=actor.account,
        now=now,
    )
    return reservation_id


def _check(command: ReserveStock) -> None:
    found: list[UserError] = []
    if not 1 <= len(command.lines) <= MAX_RESERVED_LINES:
        message = f"A reservation has 1 to {MAX_RESERVED_LINES} lines."
        found.append(InvalidInput(message=message, field=("lines",)))
    for index, line in enumerate(command.lines):
        if not 1 <= line.quantity <= MAX_QUANTITY:
            message = f"A quantity is between 1 and {MAX_QUANTITY} units."
            found.append(InvalidInput(message=message, field=("lines", str(index), "quantity")))
    if not 1 <= command.minutes <= MAX_MINUTES:
        message = f"A reservation lasts 1 to {MAX_MINUTES} minutes."
        found.append(InvalidInput(message=message, field=("minutes",)))
    if command.reference is not None and not 1 <= len(command.reference) <= 128:
        found.append(InvalidInput(message="A reference has 1 to 128 characters.", field=("reference",)))
    if found:
        raise Refused(*found)


async def _products(session: Session, skus: Sequence[str]) -> dict[str, UUID]:
    rows = await session.execute(
        sa.select(Product.sku, Product.id).where(Product.sku.in_(skus), Product.active)
    )
    return {row.sku: row.id for row in rows}


@lru_cache(maxsize=256)
def _lock_statement(caller: VisibilityClass) -> sa.Select[Any]:
    table = Reservation.__table__
    return (
        sa.select(table)
        .where(
            table.c.id == sa.bindparam("id", type_=sa.Uuid()),
            visibility.predicate("reservation", table, caller),
        )
        .with_for_update(of=table)
    )


async def _lock(session: Session, reservation_id: UUID, actor: Principal) -> Row[Any]:
    statement = _lock_statement(VisibilityClass.of(actor))
    parameters = {"id": reservation_id, **visibility.values(actor)}
    row: Row[Any] | None = (await session.execute(statement, parameters)).one_or_none()
    if row is None:
        raise not_found("res", reservation_id, "reservationId")
    return row


async def consume(
    session: Session,
    reservation_id: UUID | None,
    *,
    channel_id: UUID,
    order_id: UUID,
    actor: Principal,
    now: datetime,
) -> tuple[promises.Held, ...]:
    """End the reservation in favour of an order; returns what it held, which is still counted as reserved.

    Its claims pass to the order when the order's promise is kept. Refused when it
    is not the caller's, of another channel, or not active any more.
    """
    if reservation_id is None:
        return ()
    row = await _lock(session, reservation_id, actor)
    if row.channel_id != channel_id:
        raise not_found("res", reservation_id, "reservationId")
    if row.status is ReservationStatus.ACTIVE and row.expires_at <= now:
        message = "The reservation has run out of time: place the order without it, or reserve anew."
        raise Refused(InvalidInput(message=message, field=("reservationId",)))
    await _end(session, row, ReservationStatus.CONSUMED, actor=actor, now=now, order_id=order_id)
    return await _lines(session, reservation_id)


async def _lines(session: Session, reservation_id: UUID) -> tuple[promises.Held, ...]:
    rows = await session.execute(
        sa.select(
            ReservationLine.stock_level_id,
            sa.func.sum(ReservationLine.quantity).label("quantity"),
        )
        .where(ReservationLine.reservation_id == reservation_id)
        .group_by(ReservationLine.stock_level_id)
        .order_by(ReservationLine.stock_level_id)
    )
    return tuple(promises.Held(level_id=row.stock_level_id, quantity=row.quantity) for row in rows)


_EVENTS = {
    ReservationStatus.CONSUMED: EventType.RESERVATION_CONSUMED,
    ReservationStatus.RELEASED: EventType.RESERVATION_RELEASED,
    ReservationStatus.EXPIRED: EventType.RESERVATION_EXPIRED,
}


def _aggregate(reservation_id: UUID, channel_id: UUID, *, version: int) -> events.Aggregate:
    return events.Aggregate(
        kind=AggregateKind.RESERVATION, id=reservation_id, version=version, channel_id=channel_id
    )


async def _end(
    session: Session,
    row: Row[Any],
    target: ReservationStatus,
    *,
    actor: Principal,
    now: datetime,
    order_id: UUID | None = None,
) -> None:
    status = transition(RESERVATION, row.status, target, field=("reservationId",))
    version = await events.record(
        session,
        _aggregate(row.id, row.channel_id, version=row.version),
        [
            Event(
                type=_EVENTS[status],
                subject_kind="RESERVATION",
                subject_id=row.id,
                from_status=row.status,
                to_status=status,
            )
        ],
        actor=actor.account,
        now=now,
    )
    await session.execute(
        sa.update(Reservation)
        .where(Reservation.id == row.id)
        .values(status=status, order_id=order_id, version=version, updated_at=now)
    )


async def release_reservation(
    session: Session, command: ReleaseReservation, /, *, actor: Principal, now: datetime
) -> UUID:
    """Give back what a reservation holds. Releasing a released one changes nothing."""
    row = await _lock(session, command.reservation_id, actor)
    if row.status is ReservationStatus.RELEASED:
        return command.reservation_id
    await _give_back(session, row, ReservationStatus.RELEASED, actor=actor, now=now)
    return command.reservation_id


async def _give_back(
    session: Session, row: Row[Any], target: ReservationStatus, *, actor: Principal, now: datetime
) -> None:
    await _end(session, row, target, actor=actor, now=now)
    held = await _lines(session, row.id)
    levels = await stock_changes.lock_levels(session, (line.level_id for line in held))
    await stock_changes.apply(
        session,
        levels,
        claims=[Claim(level_id=line.level_id, reserved=-line.quantity) for line in held],
        actor=actor.account,
        now=now,
    )


async def expire_reservations(
    session: Session, limit: int, /, *, actor: Principal = SYSTEM, now: datetime
) -> int:
    """Expire up to `limit` reservations whose time has run out, skipping a rival's; returns how many."""
    rows = (
        await session.execute(
            sa.select(Reservation.__table__)
            .where(Reservation.status == ReservationStatus.ACTIVE, Reservation.expires_at <= now)
            .order_by(Reservation.id)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
    ).all()
    if not rows:
        return 0
    by_level: dict[UUID, int] = {}
    for row in rows:
        await _end(session, row, ReservationStatus.EXPIRED, actor=actor, now=now)
        for line in await _lines(session, row.id):
            by_level[line.level_id] = by_level.get(line.level_id, 0) + line.quantity
    levels = await stock_changes.lock_levels(session, by_level)
    await stock_changes.apply(
        session,
        levels,
        claims=[Claim(level_id=level_id, reserved=-quantity) for level_id, quantity in by_level.items()],
        actor=actor.account,
        now=now,
    )
    return len(rows)
