"""The demo shop before it has sold anything: channels, locations, products with prices, stock, customers."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from app.demo import catalogue
from db.engine import Session
from domain.access import Principal
from domain.channels import ServingLocation, UpsertChannel
from domain.customers import UpsertCompany, UpsertCustomer
from domain.locations import UpsertLocation
from domain.money import Money
from domain.order_commands import Address, PlaceLine, PlaceOrder
from domain.prices import SetPrice, UpsertPriceList
from domain.pricing import Charge, Discount
from domain.products import UpsertProduct
from domain.stock import MovementKind
from domain.stock_commands import ReceiveStock, StockPlace
from domain.upserts import ABSENT, ExternalName
from services.channels import upsert_channel
from services.customers import upsert_companies, upsert_customers
from services.locations import upsert_location
from services.prices import set_prices, upsert_price_list
from services.products import upsert_products
from services.stock_intake import receive_all

CUSTOMERS = 40
PENDING_MINUTES = 3 * 24 * 60
"""A web order waits three days for its money, so that there are always some that wait."""


@dataclass(frozen=True, slots=True)
class Buyer:
    id: UUID
    name: str
    email: str
    address: Address


@dataclass(slots=True)
class Shop:
    """Ids by code; prices in cents by SKU; who buys."""

    channels: dict[str, UUID] = field(default_factory=dict)
    locations: dict[str, UUID] = field(default_factory=dict)
    prices: dict[str, int] = field(default_factory=dict)
    buyers: list[Buyer] = field(default_factory=list)


async def open_shop(session: Session, chance: random.Random, *, actor: Principal, now: datetime) -> Shop:
    """Make all that a shop needs before its first order, as of `now`."""
    shop = Shop()
    await open_places(session, shop, actor=actor, now=now)
    await _fill_shelves(session, shop, chance, actor=actor, now=now)
    await _invite(session, shop, chance, actor=actor, now=now)
    return shop


async def open_places(session: Session, shop: Shop, *, actor: Principal, now: datetime) -> None:
    """The channels, and the locations that serve them."""
    for location in catalogue.LOCATIONS:
        shop.locations[location.code] = await upsert_location(
            session,
            UpsertLocation(
                code=location.code,
                name=location.name,
                kind=location.kind,
                address=Address(city=location.city, country_code=location.country_code),
                time_zone=location.time_zone,
            ),
            actor=actor,
            now=now,
        )
    for channel in catalogue.CHANNELS:
        shop.channels[channel.code] = await upsert_channel(
            session,
            UpsertChannel(
                code=channel.code,
                name=channel.name,
                kind=channel.kind,
                currency=channel.currency,
                prices_include_tax=channel.currency == "EUR",
                release_gate=channel.gate or ABSENT,
                payment_due_minutes=PENDING_MINUTES,
                order_number_prefix=channel.prefix,
                locations=tuple(
                    ServingLocation(location_id=shop.locations[code], rank=rank)
                    for rank, code in enumerate(channel.locations)
                ),
            ),
            actor=actor,
            now=now,
        )


async def _fill_shelves(
    session: Session, shop: Shop, chance: random.Random, *, actor: Principal, now: datetime
) -> None:
    products = [
        (f"{family}-{number:03d}", name, price, weight)
        for family, members in catalogue.FAMILIES
        for number, (name, price, weight) in enumerate(members, start=1)
    ]
    shop.prices = {sku: price for sku, _, price, _ in products}
    await upsert_products(
        session,
        tuple(
            UpsertProduct(
                sku=sku,
                name=name,
                barcode=f"40{index:010d}",
                weight_grams=weight,
                cost=Money(price * 6 // 10, "EUR"),
                backorderable=price >= 50_000,
                external_ids=(ExternalName(system="erp", id=f"{10_000 + index}"),),
            )
            for index, (sku, name, price, weight) in enumerate(products)
        ),
        actor=actor,
        now=now,
    )
    await upsert_price_list(
        session,
        UpsertPriceList(code="EUR", name="List prices, euro", currency="EUR"),
        actor=actor,
        now=now,
    )
    await set_prices(
        session,
        [
            SetPrice(price_list_code="EUR", sku=sku, minimum_quantity=minimum, price=Money(amount, "EUR"))
            for sku, price in shop.prices.items()
            for minimum, amount in ((1, price), *(((10, price * 9 // 10),) if price < 5_000 else ()))
        ],
        actor=actor,
        now=now,
    )
    await receive_all(
        session,
        [
            ReceiveStock(
                place=StockPlace(sku=sku, location_code=location.code),
                quantity=chance.randint(3, 9) if price >= 50_000 else chance.randint(40, 160),
                reference="opening balance",
            )
            for sku, price in shop.prices.items()
            for location in catalogue.LOCATIONS
        ],
        actor=actor,
        now=now,
        kind=MovementKind.OPENING_BALANCE,
    )


async def _invite(
    session: Session, shop: Shop, chance: random.Random, *, actor: Principal, now: datetime
) -> None:
    companies = await upsert_companies(
        session,
        tuple(
            UpsertCompany(
                name=name,
                tax_number=f"EU{100_000_000 + index * 7_919}",
                external_ids=(ExternalName(system="crm", id=f"K{index}"),),
            )
            for index, name in enumerate(catalogue.COMPANIES)
        ),
        actor=actor,
        now=now,
    )
    commands = []
    for index in range(CUSTOMERS):
        first = catalogue.FIRST_NAMES[index % len(catalogue.FIRST_NAMES)]
        last = catalogue.LAST_NAMES[(index * 7 + index // 20) % len(catalogue.LAST_NAMES)]
        city, postal_code, country = chance.choice(catalogue.CITIES)
        street = f"{chance.choice(('Harmony', 'Opera', 'Concert', 'Lyre'))} Street {chance.randint(1, 90)}"
        address = Address(
            name=f"{first} {last}", line1=street, city=city, postal_code=postal_code, country_code=country
        )
        commands.append(
            UpsertCustomer(
                name=f"{first} {last}",
                email=f"customer{index + 1}@example.com",
                phone=f"+49 30 5550{index:03d}",
                address=address,
                company_id=companies[index // 6].id or ABSENT if index % 6 == 0 and index < 36 else ABSENT,
                external_ids=(ExternalName(system="crm", id=f"C{index + 1:03d}"),),
            )
        )
        shop.buyers.append(Buyer(UUID(int=0), f"{first} {last}", f"customer{index + 1}@example.com", address))
    outcomes = await upsert_customers(session, tuple(commands), actor=actor, now=now)
    shop.buyers = [
        Buyer(outcome.id or UUID(int=0), buyer.name, buyer.email, buyer.address)
        for buyer, outcome in zip(shop.buyers, outcomes, strict=True)
    ]


def likely_order(
    shop: Shop, chance: random.Random, channel: str, buyer: Buyer, placed_at: datetime
) -> PlaceOrder:
    """A likely order: one to four lines, few of anything dear."""
    skus = chance.sample(sorted(shop.prices), chance.choice((1, 1, 2, 2, 3, 4)))
    lines = []
    for sku in skus:
        price = shop.prices[sku]
        lines.append(
            PlaceLine(
                sku=sku,
                quantity=chance.randint(1, 4) if price < 5_000 else 1,
                unit_price=price,
                discounts=(Discount(amount=price // 10, label="Season sale"),)
                if chance.random() < 0.1
                else (),
            )
        )
    dear = sum(shop.prices[line.sku] * line.quantity for line in lines) > 10_000
    return PlaceOrder(
        channel_id=shop.channels[channel],
        lines=tuple(lines),
        customer_id=buyer.id,
        email=buyer.email,
        shipping_address=buyer.address,
        sales_representative=chance.choice(catalogue.REPRESENTATIVES) if channel == "REPS" else None,
        shipping=() if dear else (Charge(amount=490, label="Parcel"),),
        placed_at=placed_at,
    )
