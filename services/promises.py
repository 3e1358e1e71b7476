"""Promising stock: supply locked, locations chosen by the domain's rule, claims written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple
from uuid import UUID

import sqlalchemy as sa

from db.base import new_id
from db.channels import ChannelLocation
from db.engine import Session
from db.locations import Location
from db.stock import Allocation, Backorder
from domain import allocation
from domain.allocation import Demand
from services import stock_changes
from services.order_changes import OrderChange
from services.stock_changes import Claim, LockedLevel


class Wanted(NamedTuple):
    """What one line asks for."""

    product_id: UUID
    sku: str
    quantity: int
    backorderable: bool


class Held(NamedTuple):
    """Units of a level that a reservation already holds for whoever asks."""

    level_id: UUID
    quantity: int


class Taken(NamedTuple):
    """Units of a level promised to (or owed to) the line with index `line`."""

    line: int
    level_id: UUID
    quantity: int


@dataclass(frozen=True)
class Promise:
    """What can be promised, with the levels locked that keep it; nothing is written yet."""

    levels: dict[UUID, LockedLevel]
    allocations: tuple[Taken, ...]
    backorders: tuple[Taken, ...]
    held: tuple[Held, ...]

    @cached_property
    def claims(self) -> list[Claim]:
        return [
            *[Claim(level_id=taken.level_id, allocated=taken.quantity) for taken in self.allocations],
            *[Claim(level_id=taken.level_id, backordered=taken.quantity) for taken in self.backorders],
            *[Claim(level_id=line.level_id, reserved=-line.quantity) for line in self.held],
        ]

    def by_location(self) -> dict[tuple[UUID, int], int]:
        """Allocated units by location and line, in this order."""
        units: dict[tuple[UUID, int], int] = {}
        for taken in self.allocations:
            place = self.levels[taken.level_id].location_id, taken.line
            units[place] = units.get(place, 0) + taken.quantity
        return dict(sorted(units.items()))


class Supply:
    """Locked levels of some channels' products, and what is left of them after the promises made so far."""

    def __init__(self, rows: Iterable[tuple[LockedLevel, UUID, int]]) -> None:
        self.levels: dict[UUID, LockedLevel] = {}
        """As they were locked."""
        self._left: dict[UUID, LockedLevel] = {}
        self._serving: dict[tuple[UUID, UUID], dict[UUID, int]] = {}
        for level, channel_id, rank in rows:
            self.add(level, channel_id, rank)

    def add(self, level: LockedLevel, channel_id: UUID | None = None, rank: int = 0) -> None:
        """A level, and where a channel it may serve is named, how early it is chosen there."""
        self.levels.setdefault(level.id, level)
        self._left.setdefault(level.id, level)
        if channel_id is not None:
            self._serving.setdefault((channel_id, level.product_id), {})[level.id] = rank

    def of(self, channel_id: UUID, product_ids: Iterable[UUID]) -> list[tuple[LockedLevel, int]]:
        """What is left for the channel of these products, with the levels' ranks."""
        return [
            (self._left[level_id], rank)
            for product_id in product_ids
            for level_id, rank in self._serving.get((channel_id, product_id), {}).items()
        ]

    def take(self, claims: Iterable[Claim]) -> None:
        for claim in claims:
            level = self._left[claim.level_id]
            self._left[claim.level_id] = level._replace(
                allocated=level.allocated + claim.allocated,
                reserved=level.reserved + claim.reserved,
                backordered=level.backordered + claim.backordered,
            )


async def lock_supply(session: Session, wanted: Iterable[tuple[UUID, UUID]]) -> Supply:
    """Lock what may serve these (channel, product) pairs."""
    return Supply(await stock_changes.lock_supply(session, wanted))


async def promise(
    session: Session,
    supply: Supply,
    *,
    channel_id: UUID,
    buffer: int,
    demand: Sequence[Wanted],
    held: Sequence[Held] = (),
) -> Promise:
    """Decide where what is wanted comes from, and take it from the supply.

    `buffer` units of each SKU are kept from this channel. Raises Refused with one
    InsufficientStock per SKU that falls short and may not be backordered.
    """
    if elsewhere := [line.level_id for line in held if line.level_id not in supply.levels]:
        for level in (await stock_changes.lock_levels(session, elsewhere)).values():
            supply.add(level)
    skus = {wanted.product_id: wanted.sku for wanted in demand}
    found = supply.of(channel_id, skus)
    shelves = _shelves(found, held, skus, buffer)
    ranks = {level.location_id: rank for level, rank in found}
    backorderable = {wanted.sku for wanted in demand if wanted.backorderable}
    if backorderable and (short := _owed(demand, shelves)):
        owed = {product_id: skus[product_id] for product_id in short}
        await _where_to_owe(session, supply, channel_id, owed, shelves, ranks)
    placement = allocation.allocate(
        [Demand(index, wanted.sku, wanted.quantity) for index, wanted in enumerate(demand)],
        {key: sum([units for _, units in shelf]) for key, shelf in shelves.items()},
        ranks,
        backorderable,
    )
    promised = Promise(
        levels=supply.levels,
        allocations=_take(placement.allocations, shelves),
        backorders=tuple(
            Taken(part.line, shelves[part.sku, part.location][0][0], part.quantity)
            for part in placement.backorders
        ),
        held=tuple(held),
    )
    supply.take(promised.claims)
    return promised


async def _where_to_owe(
    session: Session,
    supply: Supply,
    channel_id: UUID,
    short: Mapping[UUID, str],
    shelves: dict[tuple[str, UUID], Shelf],
    ranks: dict[UUID, int],
) -> None:
    """See to it that the channel's first location has a level of every product of which units will be owed."""
    best = await _best_location(session, channel_id)
    if best is None:
        return
    location_id, rank = best
    ranks[location_id] = rank
    missing = {product_id: sku for product_id, sku in short.items() if (sku, location_id) not in shelves}
    made = await stock_changes.ensure_levels(session, ((product_id, location_id) for product_id in missing))
    for level in (await stock_changes.lock_levels(session, made.values())).values():
        supply.add(level, channel_id, rank)
        shelves[missing[level.product_id], location_id] = [(level.id, 0)]


Shelf = list[tuple[UUID, int]]
"""The levels of one SKU at one location (our own stock, consignment), each with its free units."""


def _shelves(
    supply: Sequence[tuple[LockedLevel, int]],
    held: Sequence[Held],
    skus: Mapping[UUID, str],
    buffer: int,
) -> dict[tuple[str, UUID], Shelf]:
    """What may be promised, by SKU and location.

    What the caller's own reservation holds is free for it, whatever else is owed.
    The buffer is kept at the locations that would be chosen last.
    """
    mine: dict[UUID, int] = {}
    for line in held:
        mine[line.level_id] = mine.get(line.level_id, 0) + line.quantity
    kept = dict.fromkeys(skus.values(), buffer)
    shelves: dict[tuple[str, UUID], Shelf] = {}
    for level, _ in sorted(supply, key=lambda found: (-found[1], found[0].location_id, found[0].id)):
        sku = skus[level.product_id]
        claimed = level.allocated + level.reserved + level.backordered + level.safety_stock
        own = mine.get(level.id, 0)
        free = max(0, level.sellable - claimed + own)
        back = min(free, kept[sku])
        kept[sku] -= back
        shelves.setdefault((sku, level.location_id), []).append((level.id, max(own, free - back)))
    return shelves


def _owed(demand: Sequence[Wanted], shelves: Mapping[tuple[str, UUID], Shelf]) -> set[UUID]:
    """Products of which some units will be backordered."""
    free: dict[str, int] = {}
    for (sku, _), shelf in shelves.items():
        free[sku] = free.get(sku, 0) + sum(units for _, units in shelf)
    wanted: dict[str, int] = {}
    for line in demand:
        wanted[line.sku] = wanted.get(line.sku, 0) + line.quantity
    return {
        line.product_id for line in demand if line.backorderable and wanted[line.sku] > free.get(line.sku, 0)
    }


_BEST = (
    sa.select(ChannelLocation.location_id, ChannelLocation.rank)
    .join(Location, sa.and_(Location.id == ChannelLocation.location_id, Location.active))
    .where(ChannelLocation.channel_id == sa.bindparam("channel_id", type_=sa.Uuid()))
    .order_by(ChannelLocation.rank, ChannelLocation.location_id)
    .limit(1)
)


async def _best_location(session: Session, channel_id: UUID) -> tuple[UUID, int] | None:
    row = (await session.execute(_BEST, {"channel_id": channel_id})).one_or_none()
    return None if row is None else (row.location_id, row.rank)


def _take(
    parts: Sequence[allocation.Promise], shelves: Mapping[tuple[str, UUID], Shelf]
) -> tuple[Taken, ...]:
    """Units of a location as units of its levels."""
    left = {(part.sku, part.location): list(shelves[part.sku, part.location]) for part in parts}
    taken: list[Taken] = []
    for part in parts:
        missing = part.quantity
        shelf = left[part.sku, part.location]
        for index, (level_id, units) in enumerate(shelf):
            quantity = min(units, missing)
            if quantity:
                shelf[index] = (level_id, units - quantity)
                taken.append(Taken(part.line, level_id, quantity))
                missing -= quantity
    return tuple(taken)


async def keep(session: Session, change: OrderChange, promised: Promise, line_ids: Sequence[UUID]) -> None:
    """Write what an order's lines were promised; the caller applies the promise's claims to the levels."""
    common = {"order_id": change.id, "created_at": change.now}
    await session.add(
        Allocation,
        [
            {
                **common,
                "id": new_id(),
                "order_line_id": line_ids[taken.line],
                "stock_level_id": taken.level_id,
                "location_id": promised.levels[taken.level_id].location_id,
                "quantity": taken.quantity,
            }
            for taken in promised.allocations
        ],
    )
    await session.add(
        Backorder,
        [
            {
                **common,
                "id": new_id(),
                "order_line_id": line_ids[taken.line],
                "stock_level_id": taken.level_id,
                "quantity": taken.quantity,
            }
            for taken in promised.backorders
        ],
    )
