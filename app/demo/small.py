"""The small set: a shop of some two hundred orders, in every state that orders get into.

What is long done is written as history; what is under way has gone through the
same services as the orders of the API, each step at its own time.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Row

from app.demo import catalogue
from app.demo.shop import Shop, likely_order, open_shop
from app.demo.stories import STORIES
from app.demo.story import Story
from db.bulk import Rows
from db.channels import Channel
from db.engine import Session
from db.products import Product
from domain.access import ALL_SCOPES, Principal, PrincipalKind
from domain.order_commands import PlaceOrder
from domain.pricing import LineToPrice, price_order
from domain.upserts import ExternalName
from services import external_ids
from services.channels import order_number_sequence
from services.imports.forms import TABLES
from services.imports.history import History
from services.imports.imported import Imported, ImportedLine, KnownProduct

SEED = 1791
HISTORY = 120
ACTOR = Principal(kind=PrincipalKind.STAFF, account="demo", scopes=ALL_SCOPES)

Progress = Callable[[str, int, int], None]


async def load(session: Session, progress: Progress) -> None:
    """Load the set into an empty database."""
    chance = random.Random(SEED)  # noqa: S311 - the same shop every time
    now: datetime = (await session.execute(sa.select(sa.func.now()))).scalar_one()
    total = HISTORY + sum(count for _, count in STORIES)
    progress("demo data", 0, total)
    shop = await open_shop(session, chance, actor=ACTOR, now=now - timedelta(days=200))
    await _write_history(session, shop, chance, now)
    done = HISTORY
    progress("demo data", done, total)
    # The busiest story first, the oldest order first within it; what is still open is the youngest.
    for tell, count in STORIES:
        for number in range(count):
            placed_at = now - timedelta(hours=chance.randint(2, 10) + 9 * (count - number))
            story = Story(session, shop, chance, ACTOR, placed_at)
            await tell(story)
            done += 1
            progress("demo data", done, total)
    await session.execute(sa.text("analyze"))


async def _write_history(session: Session, shop: Shop, chance: random.Random, now: datetime) -> None:
    """Orders of half a year that were delivered or cancelled, as an import would have brought them."""
    channels = {row.code: row for row in await session.execute(sa.select(Channel.metadata.tables["channel"]))}
    known = await session.fetch(sa.select(Product.id, Product.sku, Product.name), {})
    products = {row[1]: KnownProduct._make(row) for row in known}
    rows = Rows()
    names = []
    days = sorted((chance.uniform(12, 180) for _ in range(HISTORY)), reverse=True)
    for index, days_ago in enumerate(days):
        channel = channels[chance.choice(catalogue.CHANNELS).code]
        order = await _past_order(session, shop, chance, channel, products, now - timedelta(days=days_ago))
        history = History(
            channel,
            location_id=shop.locations[chance.choice(catalogue.LOCATIONS).code],
            currency=channel.currency,
            actor=ACTOR.account,
        )
        history.write(rows, order, now=now)
        if channel.code.startswith("MARKET"):
            name = ExternalName(system="marketplace", id=f"H-{index:05d}", channel_id=channel.id)
            names.append((name, order.id))
    await rows.insert(session, TABLES)
    await external_ids.claim(session, "ORDER", names, now=now)


async def _past_order(
    session: Session,
    shop: Shop,
    chance: random.Random,
    channel: Row[Any],
    products: dict[str, KnownProduct],
    placed_at: datetime,
) -> Imported:
    buyer = chance.choice(shop.buyers)
    command = likely_order(shop, chance, channel.code, buyer, placed_at)
    number = await session.scalar(sa.select(sa.func.nextval(order_number_sequence(channel.id))))
    shipped_at = placed_at + timedelta(hours=chance.randint(4, 60))
    cancelled = chance.random() < 0.06
    command = PlaceOrder(
        channel_id=channel.id,
        lines=command.lines,
        currency=channel.currency,
        customer_id=buyer.id,
        sales_representative=command.sales_representative,
        email=buyer.email,
        shipping_address=buyer.address,
        shipping=command.shipping,
    )
    priced = price_order(
        [
            LineToPrice(unit_price=line.unit_price or 0, quantity=line.quantity, discounts=line.discounts)
            for line in command.lines
        ],
        shipping=command.shipping,
    )
    return Imported(
        command=command,
        priced=priced,
        lines=list(map(ImportedLine.of, command.lines, priced.lines)),
        products=[products[line.sku] for line in command.lines],
        number=f"{channel.order_number_prefix}{number}",
        company_id=None,
        placed_at=placed_at,
        shipped_at=None if cancelled else shipped_at,
        delivered_at=None if cancelled else shipped_at + timedelta(hours=chance.randint(20, 90)),
        cancelled_at=placed_at + timedelta(hours=2) if cancelled else None,
        carrier=chance.choice(catalogue.CARRIERS),
        tracking_number=f"1Z{chance.randrange(10**10):010d}",
    )
