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


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
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

_BY_ID = (
    sa.select(*_LEVEL)
    .where(StockLevel.id == sa.any_(sa.bindparam("ids", type_=_UUIDS)))
    .order_by(StockLevel.id)
    .with_for_update()
)
_OF_CHANNEL = (
    sa.select(*_LEVEL, ChannelLocation.rank)
    .join(ChannelLocation, ChannelLocation.location_id == StockLevel.location_id)
    .join(Location, sa.and_(Location.id == StockLevel.location_id, Location.active))
    .where(
        ChannelLocation.channel_id == sa.bindparam("channel_id", type_=sa.Uuid()),
        StockLevel.product_id == sa.any_(sa.bindparam("product_ids", type_=_UUIDS)),
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


async def lock_supply(
    session: Session, channel_id: UUID, product_ids: Iterable[UUID]
) -> list[tuple[LockedLevel, int]]:
    """Lock every level of these products at the locations that serve the channel, each with its rank."""
    rows = await session.fetch(
        _OF_CHANNEL, {"channel_id": channel_id, "product_ids": sorted(set(product_ids))}
    )
    return [(LockedLevel._make(row[:-1]), row[-1]) for row in rows]


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
            sa.bindparam("ids", type_=_UUIDS), *(sa.bindparam(name, type_=_INTEGERS) for name in names)
        )
        .table_valued(sa.column("level_id", sa.Uuid()), *(sa.column(name, sa.Integer()) for name in names))
        .render_derived(name="change")
    )
    return (
        sa.update(StockLevel)
        .where(StockLevel.id == change.c.level_id)
        .values(
            {
                **{getattr(StockLevel, name): getattr(StockLevel, name) + change.c[name] for name in names},
                StockLevel.version: StockLevel.version + 1,
                StockLevel.updated_at: sa.bindparam("now", type_=StockLevel.updated_at.type),
            }
        )
    )


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
    """Change locked levels: post the movements, add the claims, record one STOCK_CHANGED per level.

    `levels` are as they were when they were locked, or as the last `apply` returned them: what
    they come to follows from that, and nobody else can change them.
    Returns the levels as they are now. A change that would break a promise
    violates a CHECK and fails the transaction: callers decide before they apply.
    """
    deltas: dict[UUID, dict[str, int]] = {}
    for movement in movements:
        delta = deltas.setdefault(movement.level_id, dict.fromkeys(_DELTAS, 0))
        delta[movement.bucket.lower()] += movement.quantity
    for claim in claims:
        delta = deltas.setdefault(claim.level_id, dict.fromkeys(_DELTAS, 0))
        delta["allocated"] += claim.allocated
        delta["reserved"] += claim.reserved
        delta["backordered"] += claim.backordered
    # Movements that cancel out still belong in the ledger: a reconciliation and its departure.
    moved = {movement.level_id for movement in movements}
    ids = sorted(level_id for level_id, delta in deltas.items() if level_id in moved or any(delta.values()))
    if not ids:
        return levels
    names = tuple(name for name in _DELTAS if any(deltas[level_id][name] for level_id in ids))
    await session.execute(
        _apply(names),
        {
            "ids": ids,
            **{name: [deltas[level_id][name] for level_id in ids] for name in names},
            "now": now,
        },
    )
    after = {level_id: _changed_by(levels[level_id], deltas[level_id]) for level_id in ids}
    await session.add(
        StockMovement,
        [_movement_row(movement, after[movement.level_id], actor, now) for movement in movements],
    )
    outbox: list[dict[str, Any]] = []
    for level_id in ids:
        level = after[level_id]
        aggregate = events.Aggregate(kind=AggregateKind.STOCK_LEVEL, id=level_id, version=level.version - 1)
        outbox += events.rows(
            aggregate,
            [_changed(level, deltas[level_id])],
            actor=actor,
            now=now,
            origin=origin,
        )
    await session.add(Outbox, outbox)
    return {**levels, **after}


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
