"""What open orders of a file can be promised of the stock there is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from db.channels import ChannelLocation
from db.engine import Session
from db.locations import Location
from db.stock import StockLevel
from domain import allocation
from domain.allocation import Demand
from domain.orders import Origin
from domain.stock import StockOwner
from services import stock_changes
from services.imports.imported import Claimed, Imported
from services.imports.outcomes import Target
from services.stock_changes import Claim, LockedLevel

_UUIDS = ARRAY(sa.Uuid())
_SERVING = (
    sa.select(ChannelLocation.location_id, ChannelLocation.rank)
    .join(Location, sa.and_(Location.id == ChannelLocation.location_id, Location.active))
    .where(ChannelLocation.channel_id == sa.bindparam("channel_id", type_=sa.Uuid()))
)
_LEVELS = sa.select(StockLevel.id).where(
    StockLevel.product_id == sa.any_(sa.bindparam("product_ids", type_=_UUIDS)),
    StockLevel.location_id == sa.any_(sa.bindparam("location_ids", type_=_UUIDS)),
    StockLevel.owner == StockOwner.OWN,
)


class Stock:
    """What open orders of a batch can still be promised, counted down order by order."""

    def __init__(
        self,
        levels: dict[UUID, LockedLevel],
        ranks: dict[UUID, int],
        skus: Mapping[UUID, str],
    ) -> None:
        self._levels = levels
        self._ranks = ranks
        self._by_place = {(skus[level.product_id], level.location_id): level for level in levels.values()}
        self._left = {place: level.available for place, level in self._by_place.items()}
        self._claims: list[Claim] = []

    @classmethod
    async def lock(cls, session: Session, channel_id: UUID, orders: Sequence[Imported]) -> Stock:
        """Lock the own stock of everything the orders ask for, at the locations that serve the channel."""
        skus = {product.id: product.sku for order in orders for product in order.products}
        if not skus:
            return cls({}, {}, skus)
        ranks = dict(await session.fetch(_SERVING, {"channel_id": channel_id}))
        if not ranks:
            return cls({}, ranks, skus)
        best = min(ranks, key=lambda location: (ranks[location], location))
        await stock_changes.ensure_levels(session, ((product_id, best) for product_id in skus))
        found = await session.fetch(_LEVELS, {"product_ids": sorted(skus), "location_ids": sorted(ranks)})
        return cls(await stock_changes.lock_levels(session, (level_id for (level_id,) in found)), ranks, skus)

    def promise(self, order: Imported) -> tuple[list[Claimed], list[Claimed]]:
        """Allocations and backorders of one order; units that nobody serves stay without a promise."""
        if not self._ranks:
            return [], []
        lines = order.command.lines
        placement = allocation.allocate(
            [Demand(index, line.sku, line.quantity) for index, line in enumerate(lines)],
            self._left,
            self._ranks,
            backorderable={line.sku for line in lines},
        )
        for part in placement.allocations:
            self._left[part.sku, part.location] -= part.quantity
        allocated = [self._claimed(part) for part in placement.allocations]
        backordered = [self._claimed(part) for part in placement.backorders]
        self._claims += [Claim(level_id=c.level_id, allocated=c.quantity) for c in allocated]
        self._claims += [Claim(level_id=c.level_id, backordered=c.quantity) for c in backordered]
        return allocated, backordered

    def _claimed(self, part: allocation.Promise) -> Claimed:
        level = self._by_place[part.sku, part.location]
        return Claimed(part.line, level.id, part.location, part.quantity)

    async def keep(self, session: Session, target: Target) -> None:
        await stock_changes.apply(
            session,
            self._levels,
            claims=self._claims,
            actor=target.actor.account,
            now=target.now,
            origin=Origin.IMPORTED,
        )
