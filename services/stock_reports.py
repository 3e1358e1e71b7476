"""Reports of stock on their way in: each finds its product, its location and its level, or why it cannot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from db import visibility
from db.engine import Session
from db.locations import Location
from db.products import Product
from domain import ids
from domain.access import Principal, VisibilityClass
from domain.checks import Checks
from domain.errors import NotFound, UserError
from domain.ids import Prefix
from domain.stock_commands import StockPlace
from services import stock_changes
from services.outcomes import ItemOutcome
from services.stock_changes import Movement


@dataclass(slots=True)
class Item:
    """One report on its way: the level it is about once that is found, and the ledger row it becomes."""

    place: StockPlace
    errors: list[UserError]
    product_id: UUID | None = None
    location_id: UUID | None = None
    level_id: UUID | None = None
    movement: Movement | None = None


def begin(place: StockPlace, check: Callable[[Checks, Any], None], command: object) -> Item:
    checks = Checks()
    check(checks, command)
    return Item(place=place, errors=checks.errors)


def level_ids(items: Sequence[Item]) -> set[UUID]:
    return {item.level_id for item in items if item.level_id is not None}


def answers(items: Sequence[Item]) -> tuple[ItemOutcome, ...]:
    return tuple(ItemOutcome(None if item.errors else item.level_id, tuple(item.errors)) for item in items)


async def find_levels(session: Session, items: Sequence[Item], actor: Principal) -> None:
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


async def _find_products(session: Session, items: Sequence[Item]) -> None:
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


async def _find_locations(session: Session, items: Sequence[Item], actor: Principal) -> None:
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
