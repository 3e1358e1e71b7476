"""Products: made and changed one by one or a hundred at once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from db.engine import Session
from db.products import Product
from domain.access import Principal
from domain.events import AggregateKind, EventType
from domain.ids import Prefix
from domain.products import UpsertProduct, check_product
from services.master_data import check_batch, upsert, upsert_one
from services.master_items import Item, Kind
from services.outcomes import ItemOutcome


def _permits(actor: Principal, item: Item) -> str | None:
    if actor.channels is not None or actor.locations is not None:
        return "All channels share the products: your access, which is bounded, may not write them."
    return None


def _about(item: Item) -> dict[str, UUID | None]:
    return {"product_id": item.id}


PRODUCT = Kind(
    name=AggregateKind.PRODUCT,
    table=Product.metadata.tables["product"],
    prefix=Prefix.PRODUCT,
    natural_key="sku",
    created=EventType.PRODUCT_CREATED,
    updated=EventType.PRODUCT_UPDATED,
    check=check_product,
    permits=_permits,
    about=_about,
)


async def upsert_product(
    session: Session, command: UpsertProduct, /, *, actor: Principal, now: datetime
) -> UUID:
    """Make the product or change the fields that were sent; returns its id."""
    return await upsert_one(session, PRODUCT, command, actor=actor, now=now)


async def upsert_products(
    session: Session, commands: Sequence[UpsertProduct], /, *, actor: Principal, now: datetime
) -> tuple[ItemOutcome, ...]:
    """The same for up to 100, each answered for itself."""
    check_batch(commands)
    return await upsert(session, PRODUCT, commands, actor=actor, now=now)
