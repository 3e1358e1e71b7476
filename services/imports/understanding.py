"""Records of files as orders: read beside what is known of customers and products, checked and priced.

Nothing here writes or locks: it is done for a batch while the one before it is being written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Row
from sqlalchemy.dialects.postgresql import ARRAY

from db.bulk import Rows
from db.engine import Session
from db.products import Product
from domain.checks import Checks
from domain.errors import Refused
from domain.imports import RecordOutcome
from domain.order_commands import (
    Address,
    ExternalId,
    PlaceLine,
    PlaceOrder,
    check_place_line,
    check_place_order,
)
from domain.pricing import Charge, Discount, LineToPrice, price_order, sum_order
from domain.text import MAX_CODE, problem_with
from domain.upserts import ExternalName
from services import external_ids
from services.imports.customers import KnownCustomer, find_customers
from services.imports.history import History
from services.imports.imported import Imported, ImportedLine, KnownProduct
from services.imports.outcomes import UNCHANGED, Target, needed, part_of, refused, rejected
from services.imports.reading import Record

ORDER_KIND = "ORDER"

REMEMBERED = 16_384
"""Different lines that are at hand: files sell the same again and again."""

TURN = 8
"""Records after which what is being written goes on: a millisecond or so."""

_PRODUCTS = sa.select(Product.id, Product.sku, Product.name).where(
    Product.sku == sa.any_(sa.bindparam("skus", type_=ARRAY(sa.Text())))
)


@dataclass(slots=True)
class Understood:
    """The orders of a batch that may be written, and what is decided of the other records already."""

    history: History
    orders: list[Imported] = field(default_factory=list)
    rows: Rows = field(default_factory=Rows)
    """Those of the orders that are written."""
    outcomes: dict[int, RecordOutcome] = field(default_factory=dict)

    def is_apart_from(self, before: Understood) -> bool:
        """Whether nothing comes out otherwise when some of it is written before `before`.

        Of two orders of one number or external id the first in the file is taken, and the channel
        gives its own numbers in the file's order.
        """
        numbers = [order.number for order in (*before.orders, *self.orders)]
        names = {order.name for order in before.orders}
        return (
            None not in numbers
            and len(set(numbers)) == len(numbers)
            and not any(order.name in names for order in self.orders)
        )


async def understand_orders(session: Session, target: Target, records: Sequence[Record]) -> Understood:
    """Make orders of the records; what cannot be one, or is here already, is decided."""
    channel: Row[Any] = needed(target.channel)
    currency = target.currency or channel.currency
    understood = Understood(
        History(
            channel,
            location_id=needed(target.location_id),
            currency=currency,
            actor=target.actor.account,
        )
    )
    fresh = await _fresh(session, target, records, understood.outcomes)
    named = [record.values["customer"] for record in fresh if "customer" in record.values]
    customers = await find_customers(session, target.system, named)
    products = await _products(session, fresh)
    for number, record in enumerate(fresh):
        if number % TURN == 0:
            await asyncio.sleep(0)  # what is being written meanwhile goes on
        try:
            order = _order(target, channel, record, customers, products)
        except Refused as refusal:
            understood.outcomes[record.number] = refused(refusal.errors)
        except LookupError as error:
            understood.outcomes[record.number] = rejected(str(error.args[0]))
        else:
            understood.orders.append(order)
            # What stock or the channel's counter decides is decided when the batch is written.
            if not order.is_open and order.number is not None:
                understood.history.write(understood.rows, order, now=target.now)
                order.written = True
    return understood


async def _fresh(
    session: Session, target: Target, records: Sequence[Record], outcomes: dict[int, RecordOutcome]
) -> list[Record]:
    """Records of orders that are not here yet."""
    named: dict[ExternalName, Record] = {}
    for record in records:
        external_id = record.values.get("external_id")
        if external_id is None:
            outcomes[record.number] = rejected("external_id: it must not be empty")
            continue
        name = ExternalName(system=target.system, id=external_id, channel_id=target.channel_id)
        if problem := _unspeakable(record):
            outcomes[record.number] = rejected(problem)
        elif "placed_at" not in record.values:
            outcomes[record.number] = rejected("placed_at: it must not be empty")
        elif name in named:
            outcomes[record.number] = rejected(f"the file names the order {external_id} twice")
        else:
            named[name] = record
    here = await external_ids.find(session, ORDER_KIND, named)
    for name in here:
        outcomes[named[name].number] = UNCHANGED
    return [record for name, record in named.items() if name not in here]


def _unspeakable(record: Record) -> str | None:
    """What is wrong with a text that the database is asked for before the order is checked."""
    values: dict[str, Any] = record.values
    texts = [(name, values[name]) for name in ("external_id", "customer") if name in values]
    for name, text in (*texts, *(("sku", line["sku"]) for line in record.lines if "sku" in line)):
        if problem := problem_with(text, len(text), empty=True):
            return f"{name}: it {problem}"
    return None


async def _products(session: Session, records: Sequence[Record]) -> dict[str, KnownProduct]:
    skus = {line["sku"] for record in records for line in record.lines if "sku" in line}
    rows = await session.fetch(_PRODUCTS, {"skus": sorted(skus)})
    return {row[1]: KnownProduct._make(row) for row in rows}


def _order(
    target: Target,
    channel: Row[Any],
    record: Record,
    customers: Mapping[str, KnownCustomer],
    products: Mapping[str, KnownProduct],
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
    lines = [_line(line, index) for index, line in enumerate(record.lines, start=1)]
    known = [line for _, line in lines if line is not None]
    alone = len(known) == len(lines)
    billing: dict[str, Any] = part_of(values, "billing_address")
    shipping: dict[str, Any] = part_of(values, "shipping_address")
    command = PlaceOrder(
        channel_id=channel.id,
        lines=tuple(line for line, _ in lines),
        currency=target.currency or channel.currency,
        number=values.get("number"),
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
    check_place_order(command, lines_too=not alone)
    _check_parcel(values)
    if unknown := sorted({line.sku for line in command.lines if line.sku not in products}):
        raise LookupError(f"there is no product with the SKU {', '.join(unknown)}")
    if alone:
        priced = sum_order([line.amounts for line in known], shipping=command.shipping, fees=command.fees)
    else:
        to_price = [_to_price(line) for line in command.lines]
        priced = price_order(to_price, shipping=command.shipping, fees=command.fees)
        known = list(map(ImportedLine.of, command.lines, priced.lines))
    return Imported(
        command=command,
        priced=priced,
        lines=known,
        products=[products[line.sku] for line in command.lines],
        record_number=record.number,
        number=command.number,
        company_id=customer.company_id if customer is not None else None,
        placed_at=values["placed_at"],
        shipped_at=values.get("shipped_at"),
        delivered_at=values.get("delivered_at"),
        cancelled_at=values.get("cancelled_at"),
        carrier=values.get("carrier"),
        tracking_number=values.get("tracking_number"),
    )


def _check_parcel(values: Mapping[str, Any]) -> None:
    checks = Checks()
    checks.text(values.get("carrier"), MAX_CODE, "carrier")
    checks.text(values.get("tracking_number"), MAX_CODE, "trackingNumber")
    checks.refuse()


def _line(values: Mapping[str, Any], index: int) -> tuple[PlaceLine, ImportedLine | None]:
    for name in ("sku", "quantity", "unit_price"):
        if name not in values:
            raise LookupError(f"line {index}: {name} must not be empty")
    value = values.get
    return _understood(
        values["sku"],
        values["quantity"],
        values["unit_price"],
        value("discount"),
        value("discount_amount"),
        value("external_id"),
        value("name"),
    )


@lru_cache(REMEMBERED)
def _understood(
    sku: str,
    quantity: int,
    unit_price: int,
    fraction: Decimal | None,
    amount: int | None,
    external_id: str | None,
    name: str | None,
) -> tuple[PlaceLine, ImportedLine | None]:
    """A line, and what it comes to; None when it would be refused, which its order then tells."""
    discounts = [
        *([Discount(fraction=fraction)] if fraction else []),
        *([Discount(amount=amount)] if amount else []),
    ]
    line = PlaceLine(
        sku=sku,
        quantity=quantity,
        unit_price=unit_price,
        discounts=tuple(discounts),
        external_id=external_id,
        name=name,
    )
    try:
        check_place_line(line)
        priced = price_order([_to_price(line)])
    except Refused:
        return line, None
    return line, ImportedLine.of(line, priced.lines[0])


def _to_price(line: PlaceLine) -> LineToPrice:
    return LineToPrice(unit_price=line.unit_price or 0, quantity=line.quantity, discounts=line.discounts)


def _charge(amount: int | None, label: str) -> tuple[Charge, ...]:
    return (Charge(amount=amount, label=label),) if amount else ()
