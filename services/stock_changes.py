"""Changing stock levels: locked in one order, changed in one statement, recorded in the ledger.

Every use case that moves or claims stock goes through `lock_levels` (always by
primary key, so that opposed orders cannot deadlock) and `apply`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, insert

from db.base import new_id
from db.channels import ChannelLocation
from db.engine import Session
from db.events import Outbox
from db.locations import Location
from db.stock import StockLevel, StockMovement
from domain.events import AggregateKind, EventType
from domain.orders import Origin
from domain.stock import Bucket, MovementKind, StockOwner
from services import events


class LockedLevel(NamedTuple):
    """A stock level as read under its lock."""

    id: UUID
    product_id: UUID
    location_id: UUID
    sellable: int
    damaged: int
    quarantine: int
    display: int
    allocated: int
    reserved: int
    backordered: int
    safety_stock: int
    version: int

    @property
    def available(self) -> int:
        """Units that may still be promised."""
        claimed = self.allocated + self.reserved + self.backordered + self.safety_stock
        return max(0, self.sellable - claimed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Movement:
    """A row for the ledger: units into (negative: out of) a bucket of a level."""

    level_id: UUID
    bucket: Bucket
    quantity: int
    kind: MovementKind
    order_id: UUID | None = None
    reference: str | None = None
    note: str | None = None
    occurred_at: datetime | None = None


class Claim(NamedTuple):
    """A change of what is promised from a level, in units; any sign."""

    level_id: UUID
    allocated: int = 0
    reserved: int = 0
    backordered: int = 0


_LEVEL = [
    StockLevel.id,
    StockLevel.product_id,
    StockLevel.location_id,
    StockLevel.sellable,
    StockLevel.damaged,
    StockLevel.quarantine,
    StockLevel.display,
    StockLevel.allocated,
    StockLevel.reserved,
    StockLevel.backordered,
    StockLevel.safety_stock,
    StockLevel.version,
]
_UUIDS = ARRAY(sa.Uuid())
_INTEGERS = ARRAY(sa.Integer())

_READ = (
    sa.select(*_LEVEL)
    .where(StockLevel.id == sa.any_(sa.bindparam("ids", type_=_UUIDS)))
    .order_by(StockLevel.id)
)
_BY_ID = _READ.with_for_update()
_wanted = (
    sa.func.unnest(
        sa.bindparam("channel_ids", type_=_UUIDS),
        sa.bindparam("product_ids", type_=_UUIDS),
    )
    .table_valued(sa.column("channel_id", sa.Uuid()), sa.column("product_id", sa.Uuid()))
    .render_derived(name="wanted")
)
_SUPPLY = (
    sa.select(*_LEVEL, ChannelLocation.channel_id, ChannelLocation.rank)
    .select_from(_wanted)
    .join(ChannelLocation, ChannelLocation.channel_id == _wanted.c.channel_id)
    .join(Location, sa.and_(Location.id == ChannelLocation.location_id, Location.active))
    .join(
        StockLevel,
        sa.and_(
            StockLevel.product_id == _wanted.c.product_id,
            StockLevel.location_id == ChannelLocation.location_id,
        ),
    )
    .order_by(StockLevel.id)
    .with_for_update(of=StockLevel)
)


async def lock_levels(session: Session, level_ids: Iterable[UUID]) -> dict[UUID, LockedLevel]:
    """Lock these levels, in the one order everybody locks in."""
    wanted = sorted(set(level_ids))
    if not wanted:
        return {}
    rows = await session.fetch(_BY_ID, {"ids": wanted})
    return {row[0]: LockedLevel._make(row) for row in rows}


async def read_levels(session: Session, level_ids: Iterable[UUID]) -> dict[UUID, LockedLevel]:
    """The levels as they are at this moment, which is no more than a guess of what a lock will find."""
    rows = await session.fetch(_READ, {"ids": sorted(set(level_ids))})
    return {row[0]: LockedLevel._make(row) for row in rows}


async def lock_supply(
    session: Session, wanted: Iterable[tuple[UUID, UUID]]
) -> list[tuple[LockedLevel, UUID, int]]:
    """Lock every level that may serve these (channel, product) pairs, each with the channel and its rank there."""
    pairs = sorted(set(wanted))
    rows = await session.fetch(
        _SUPPLY,
        {
            "channel_ids": [channel_id for channel_id, _ in pairs],
            "product_ids": [product_id for _, product_id in pairs],
        },
    )
    return [(LockedLevel._make(row[:-2]), row[-2], row[-1]) for row in rows]


async def ensure_levels(
    session: Session, places: Iterable[tuple[UUID, UUID]], owner: StockOwner = StockOwner.OWN
) -> dict[tuple[UUID, UUID], UUID]:
    """Level ids of (product, location) pairs, made empty where there are none yet."""
    wanted = sorted(set(places))
    if not wanted:
        return {}
    await session.execute(
        insert(StockLevel).on_conflict_do_nothing(),
        [
            {"id": new_id(), "product_id": product_id, "location_id": location_id, "owner": owner}
            for product_id, location_id in wanted
        ],
    )
    found = await session.execute(
        sa.select(StockLevel.product_id, StockLevel.location_id, StockLevel.id).where(
            StockLevel.owner == owner,
            sa.tuple_(StockLevel.product_id, StockLevel.location_id).in_(wanted),
        )
    )
    return {(row.product_id, row.location_id): row.id for row in found}


_DELTAS = ("sellable", "damaged", "quarantine", "display", "allocated", "reserved", "backordered")


@cache
def _apply(names: tuple[str, ...]) -> sa.Update:
    """Add to these columns of many levels; most changes are of one column."""
    change = (
        sa.func.unnest(
            sa.bindparam("ids", type_=_UUIDS),
            sa.bindparam("steps", type_=_INTEGERS),
            *(sa.bindparam(name, type_=_INTEGERS) for name in names),
        )
        .table_valued(
            sa.column("level_id", sa.Uuid()),
            sa.column("steps", sa.Integer()),
            *(sa.column(name, sa.Integer()) for name in names),
        )
        .render_derived(name="change")
    )
    return (
        sa.update(StockLevel)
        .where(StockLevel.id == change.c.level_id)
        .values(
            {
                **{getattr(StockLevel, name): getattr(StockLevel, name) + change.c[name] for name in names},
                StockLevel.version: StockLevel.version + change.c.steps,
                StockLevel.updated_at: sa.bindparam("now", type_=StockLevel.updated_at.type),
            }
        )
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What one actor does to levels: rows for the ledger, and claims."""

    movements: Sequence[Movement] = ()
    claims: Sequence[Claim] = ()
    actor: str
    origin: Origin = Origin.PLACED

    def deltas(self) -> dict[UUID, dict[str, int]]:
        """By level and column; levels of which nothing changes are left out."""
        deltas: dict[UUID, dict[str, int]] = {}
        for movement in self.movements:
            _add(deltas.setdefault(movement.level_id, {}), movement.bucket.lower(), movement.quantity)
        for claim in self.claims:
            delta = deltas.setdefault(claim.level_id, {})
            if claim.allocated:
                _add(delta, "allocated", claim.allocated)
            if claim.reserved:
                _add(delta, "reserved", claim.reserved)
            if claim.backordered:
                _add(delta, "backordered", claim.backordered)
        # Movements that cancel out still belong in the ledger: a reconciliation and its departure.
        moved = {movement.level_id for movement in self.movements}
        return {
            level_id: delta
            for level_id, delta in sorted(deltas.items())
            if level_id in moved or any(delta.values())
        }


async def apply(
    session: Session,
    levels: dict[UUID, LockedLevel],
    *,
    movements: Sequence[Movement] = (),
    claims: Sequence[Claim] = (),
    actor: str,
    now: datetime,
    origin: Origin = Origin.PLACED,
) -> dict[UUID, LockedLevel]:
    """One change of locked levels; see `apply_all`."""
    change = Change(movements=movements, claims=claims, actor=actor, origin=origin)
    return await apply_all(session, levels, [change], now=now)


async def apply_all(
    session: Session, levels: dict[UUID, LockedLevel], changes: Sequence[Change], *, now: datetime
) -> dict[UUID, LockedLevel]:
    """Change locked levels, one change after the other: post the movements, add the claims, record one
    STOCK_CHANGED per level and change.

    `levels` are as they were when they were locked, or as the last call returned them: what
    they come to follows from that, and nobody else can change them.
    Returns the levels as they are now. Changes that would break a promise together
    violate a CHECK and fail the transaction: callers decide before they apply.
    """
    after = dict(levels)
    sums: dict[UUID, dict[str, int]] = {}
    ledger: list[dict[str, Any]] = []
    outbox: list[dict[str, Any]] = []
    for change in changes:
        for level_id, delta in change.deltas().items():
            before = after[level_id]
            after[level_id] = level = _changed_by(before, delta)
            total = sums.setdefault(level_id, {})
            for name, units in delta.items():
                _add(total, name, units)
            aggregate = events.Aggregate(kind=AggregateKind.STOCK_LEVEL, id=level_id, version=before.version)
            outbox += events.rows(
                aggregate, [_changed(level, delta)], actor=change.actor, now=now, origin=change.origin
            )
        ledger += [
            _movement_row(movement, after[movement.level_id], change.actor, now)
            for movement in change.movements
        ]
    if not sums:
        return levels
    ids = sorted(sums)
    names = tuple([name for name in _DELTAS if any(total.get(name) for total in sums.values())])
    await session.execute(
        _apply(names),
        {
            "ids": ids,
            "steps": [after[level_id].version - levels[level_id].version for level_id in ids],
            **{name: [sums[level_id].get(name, 0) for level_id in ids] for name in names},
            "now": now,
        },
    )
    await session.add(StockMovement, ledger)
    await session.add(Outbox, outbox)
    return after


def _add(sums: dict[str, int], name: str, units: int) -> None:
    sums[name] = sums.get(name, 0) + units


def _changed_by(level: LockedLevel, delta: dict[str, int]) -> LockedLevel:
    changed = {name: getattr(level, name) + units for name, units in delta.items() if units}
    return level._replace(version=level.version + 1, **changed)


def _movement_row(movement: Movement, level: LockedLevel, actor: str, now: datetime) -> dict[str, Any]:
    return {
        "id": new_id(),
        "stock_level_id": level.id,
        "product_id": level.product_id,
        "location_id": level.location_id,
        "bucket": movement.bucket,
        "quantity": movement.quantity,
        "kind": movement.kind,
        "order_id": movement.order_id,
        "reference": movement.reference,
        "note": movement.note,
        "actor": actor,
        "occurred_at": movement.occurred_at or now,
    }


def _changed(level: LockedLevel, delta: dict[str, int]) -> events.Event:
    return events.Event(
        type=EventType.STOCK_CHANGED,
        subject_kind="STOCK_LEVEL",
        subject_id=level.id,
        location_id=level.location_id,
        product_id=level.product_id,
        details={
            "change": {name: value for name, value in delta.items() if value},
            "sellable": level.sellable,
            "allocated": level.allocated,
            "reserved": level.reserved,
            "backordered": level.backordered,
            "available": level.available,
        },
    )
