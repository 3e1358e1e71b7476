"""Orders from files: history as it was, open orders with stock as far as it goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import Row

from db.channels import Channel, ChannelLocation
from db.customers import Customer
from db.engine import Session
from db.locations import Location
from db.orders import Order
from db.products import Product
from db.stock import StockLevel
from domain import allocation
from domain.allocation import Demand
from domain.errors import Refused
from domain.imports import RecordOutcome
from domain.order_commands import Address, ExternalId, PlaceLine, PlaceOrder, check_place_order
from domain.orders import Origin
from domain.pricing import Charge, Discount, LineToPrice, price_order
from domain.stock import StockOwner
from domain.upserts import ExternalName
from services import external_ids, stock_changes
from services.channels import order_number_sequence
from services.imports.customers import find_customers
from services.imports.history import write
from services.imports.imported import Claimed, Imported, Rows
from services.imports.outcomes import CREATED, UNCHANGED, Target, part_of, refused, rejected
from services.imports.reading import Record
from services.stock_changes import Claim, LockedLevel

ORDER_KIND = "ORDER"


async def import_orders(
    session: Session, target: Target, records: Sequence[Record]
) -> dict[int, RecordOutcome]:
    """Import the orders that are not there yet; the outcomes are by record number."""
    channel = await _channel(session, target)
    outcomes: dict[int, RecordOutcome] = {}
    fresh = await _fresh(session, target, records, outcomes)
    orders = await _understand(session, target, channel, fresh, outcomes)
    orders = await _claim_names(session, target, orders, outcomes)
    open_orders = [order for order in orders.values() if order.is_open]
    stock = await _Stock.lock(session, channel.id, open_orders)
    rows = Rows()
    for number, order in orders.items():
        allocated, backordered = stock.promise(order) if order.is_open else ((), ())
        write(
            rows,
            order,
            channel,
            location_id=_needed(target.location_id),
            allocated=allocated,
            backordered=backordered,
            actor=target.actor.account,
            now=target.now,
        )
        outcomes[number] = CREATED
    await rows.insert(session)
    await stock.keep(session, target)
    await _count_on(session, channel, [order.number for order in orders.values()])
    return outcomes


def _needed(value: UUID | None) -> UUID:
    if value is None:
        raise RuntimeError("a map of orders names its channel and location: they were made before")
    return value


async def _channel(session: Session, target: Target) -> Row[Any]:
    table = Channel.metadata.tables["channel"]
    return (await session.execute(sa.select(table).where(table.c.id == target.channel_id))).one()


def _name(target: Target, record: Record) -> ExternalName:
    return ExternalName(system=target.system, id=record.values["external_id"], channel_id=target.channel_id)


async def _fresh(
    session: Session, target: Target, records: Sequence[Record], outcomes: dict[int, RecordOutcome]
) -> list[Record]:
    """Records of orders that are not here yet."""
    named: dict[str, Record] = {}
    for record in records:
        external_id = record.values.get("external_id")
        if external_id is None:
            outcomes[record.number] = rejected("external_id: it must not be empty")
        elif "placed_at" not in record.values:
            outcomes[record.number] = rejected("placed_at: it must not be empty")
        elif external_id in named:
            outcomes[record.number] = rejected(f"the file names the order {external_id} twice")
        else:
            named[external_id] = record
    found = await external_ids.find(session, ORDER_KIND, [_name(target, record) for record in named.values()])
    here = {name.id for name in found}
    for external_id, record in named.items():
        if external_id in here:
            outcomes[record.number] = UNCHANGED
    return [record for external_id, record in named.items() if external_id not in here]


async def _understand(
    session: Session,
    target: Target,
    channel: Row[Any],
    records: Sequence[Record],
    outcomes: dict[int, RecordOutcome],
) -> dict[int, Imported]:
    """Orders by record number; what cannot be one is rejected."""
    customers = await _customers(session, target, records)
    products = await _products(session, records)
    taken = await _taken_numbers(session, channel.id, records)
    numbers = await _new_numbers(session, channel, sum("number" not in record.values for record in records))
    orders: dict[int, Imported] = {}
    for record in records:
        number = record.values.get("number") or numbers.pop()
        if number in taken:
            outcomes[record.number] = rejected(f"number: the channel has an order {number} already")
            continue
        try:
            orders[record.number] = _order(target, channel, record, number, customers, products)
            taken.add(number)
        except Refused as refusal:
            outcomes[record.number] = refused(refusal.errors)
        except LookupError as error:
            outcomes[record.number] = rejected(str(error.args[0]))
    return orders


async def _customers(session: Session, target: Target, records: Sequence[Record]) -> dict[str, Row[Any]]:
    names = [record.values["customer"] for record in records if "customer" in record.values]
    found = await find_customers(session, target, names)
    table = Customer.metadata.tables["customer"]
    rows = await session.execute(sa.select(table).where(table.c.id.in_(set(found.values()))))
    by_id: dict[UUID, Row[Any]] = {row.id: row for row in rows.all()}
    return {name: by_id[customer_id] for name, customer_id in found.items()}


async def _products(session: Session, records: Sequence[Record]) -> dict[str, Row[Any]]:
    skus = {line["sku"] for record in records for line in record.lines if "sku" in line}
    table = Product.metadata.tables["product"]
    rows = await session.execute(sa.select(table).where(table.c.sku.in_(skus)))
    return {row.sku: row for row in rows.all()}


async def _taken_numbers(session: Session, channel_id: UUID, records: Sequence[Record]) -> set[str]:
    numbers = {record.values["number"] for record in records if "number" in record.values}
    rows = await session.execute(
        sa.select(Order.number).where(Order.channel_id == channel_id, Order.number.in_(numbers))
    )
    return set(rows.scalars())


async def _new_numbers(session: Session, channel: Row[Any], count: int) -> list[str]:
    """So many numbers of the channel's own, the last to be given first."""
    if not count:
        return []
    sequence = order_number_sequence(channel.id)
    rows = await session.execute(
        sa.select(sa.func.nextval(sequence)).select_from(sa.func.generate_series(1, count).table_valued("n"))
    )
    return [f"{channel.order_number_prefix}{value}" for value in reversed(list(rows.scalars()))]


def _order(
    target: Target,
    channel: Row[Any],
    record: Record,
    number: str,
    customers: Mapping[str, Row[Any]],
    products: Mapping[str, Row[Any]],
) -> Imported:
    """Raises Refused for what no order may hold, LookupError with a sentence for what is not here."""
    values: dict[str, Any] = record.values
    customer = None
    if "customer" in values:
        customer = customers.get(values["customer"])
        if customer is None:
            raise LookupError(f"customer: there is none that {target.system} calls {values['customer']}")
    if not record.lines:
        raise LookupError("it has no lines")
    lines = tuple(_line(line, index) for index, line in enumerate(record.lines, start=1))
    billing: dict[str, Any] = part_of(values, "billing_address")
    shipping: dict[str, Any] = part_of(values, "shipping_address")
    command = PlaceOrder(
        channel_id=channel.id,
        lines=lines,
        currency=target.currency or channel.currency,
        number=number,
        external_ids=(ExternalId(system=target.system, id=values["external_id"]),),
        customer_id=customer.id if customer is not None else None,
        sales_representative=values.get("sales_representative"),
        email=values.get("email") or (customer.email if customer is not None else None),
        phone=values.get("phone") or (customer.phone if customer is not None else None),
        shipping_address=Address(**shipping),
        billing_address=Address(**billing) if billing else None,
        note=values.get("note"),
        shipping=_charge(values.get("shipping"), "Shipping"),
        fees=_charge(values.get("fee"), "Fee"),
        placed_at=values["placed_at"],
        metadata=part_of(values, "metadata"),
    )
    check_place_order(command)
    if unknown := sorted({line.sku for line in lines} - products.keys()):
        raise LookupError(f"there is no product with the SKU {', '.join(unknown)}")
    priced = price_order(
        [
            LineToPrice(unit_price=line.unit_price or 0, quantity=line.quantity, discounts=line.discounts)
            for line in lines
        ],
        shipping=command.shipping,
        fees=command.fees,
    )
    return Imported(
        command=command,
        priced=priced,
        products=[products[line.sku] for line in lines],
        number=number,
        company_id=customer.company_id if customer is not None else None,
        placed_at=values["placed_at"],
        shipped_at=values.get("shipped_at"),
        delivered_at=values.get("delivered_at"),
        cancelled_at=values.get("cancelled_at"),
        carrier=values.get("carrier"),
        tracking_number=values.get("tracking_number"),
    )


def _line(values: Mapping[str, Any], index: int) -> PlaceLine:
    for name in ("sku", "quantity", "unit_price"):
        if name not in values:
            raise LookupError(f"line {index}: {name} must not be empty")
    fraction: Decimal | None = values.get("discount")
    amount: int | None = values.get("discount_amount")
    discounts = [
        *([Discount(fraction=fraction)] if fraction else []),
        *([Discount(amount=amount)] if amount else []),
    ]
    return PlaceLine(
        sku=values["sku"],
        quantity=values["quantity"],
        unit_price=values["unit_price"],
        discounts=tuple(discounts),
        external_id=values.get("external_id"),
        name=values.get("name"),
    )


def _charge(amount: int | None, label: str) -> tuple[Charge, ...]:
    return (Charge(amount=amount, label=label),) if amount else ()


async def _claim_names(
    session: Session,
    target: Target,
    orders: Mapping[int, Imported],
    outcomes: dict[int, RecordOutcome],
) -> dict[int, Imported]:
    """Take the orders' external ids; one that a rival has taken meanwhile is there already."""
    names = {
        number: ExternalName(
            system=target.system, id=order.command.external_ids[0].id, channel_id=target.channel_id
        )
        for number, order in orders.items()
    }
    taken = await external_ids.claim(
        session, ORDER_KIND, [(names[number], order.id) for number, order in orders.items()], now=target.now
    )
    for number in orders:
        if names[number] not in taken:
            outcomes[number] = UNCHANGED
    return {number: order for number, order in orders.items() if names[number] in taken}


class _Stock:
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
    async def lock(cls, session: Session, channel_id: UUID, orders: Sequence[Imported]) -> _Stock:
        """Lock the own stock of everything the orders ask for, at the locations that serve the channel."""
        skus = {product.id: product.sku for order in orders for product in order.products}
        rows = await session.execute(
            sa.select(ChannelLocation.location_id, ChannelLocation.rank)
            .join(Location, sa.and_(Location.id == ChannelLocation.location_id, Location.active))
            .where(ChannelLocation.channel_id == channel_id)
        )
        ranks = {row.location_id: row.rank for row in rows}
        if not ranks or not skus:
            return cls({}, ranks, skus)
        best = min(ranks, key=lambda location: (ranks[location], location))
        await stock_changes.ensure_levels(session, ((product_id, best) for product_id in skus))
        found = await session.execute(
            sa.select(StockLevel.id).where(
                StockLevel.product_id.in_(skus),
                StockLevel.location_id.in_(ranks),
                StockLevel.owner == StockOwner.OWN,
            )
        )
        return cls(await stock_changes.lock_levels(session, found.scalars()), ranks, skus)

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


async def _count_on(session: Session, channel: Row[Any], numbers: Sequence[str]) -> None:
    """Let the channel's own numbers go on after imported ones that look like them."""
    prefix = channel.order_number_prefix
    digits = [number.removeprefix(prefix) for number in numbers if number.startswith(prefix)]
    highest = max((int(text) for text in digits if text.isascii() and text.isdigit()), default=0)
    if 0 < highest < 10**15:
        sequence = sa.literal(order_number_sequence(channel.id))
        await session.execute(
            sa.select(
                sa.func.setval(
                    sequence, sa.func.greatest(sa.func.nextval(sequence), sa.cast(highest, sa.BigInteger()))
                )
            )
        )
