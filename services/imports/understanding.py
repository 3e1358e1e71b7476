"""Records of files as orders: read beside what is known of customers and products, checked and priced.

Nothing here writes or locks: it is done for a batch while the one before it is being written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Row
from sqlalchemy.dialects.postgresql import ARRAY

from db.engine import Session
from db.products import Product
from domain.errors import Refused
from domain.imports import RecordOutcome
from domain.order_commands import Address, ExternalId, PlaceLine, PlaceOrder, check_place_order
from domain.pricing import Charge, Discount, LineToPrice, price_order
from domain.upserts import ExternalName
from services import external_ids
from services.imports.customers import KnownCustomer, find_customers
from services.imports.history import write
from services.imports.imported import Imported, KnownProduct
from services.imports.outcomes import UNCHANGED, Target, needed, part_of, refused, rejected
from services.imports.reading import Record

ORDER_KIND = "ORDER"

_PRODUCTS = sa.select(Product.id, Product.sku, Product.name).where(
    Product.sku == sa.any_(sa.bindparam("skus", type_=ARRAY(sa.Text())))
)


@dataclass(slots=True)
class Understood:
    """The orders of a batch that may be written, and what is decided of the other records already."""

    orders: list[Imported] = field(default_factory=list)
    outcomes: dict[int, RecordOutcome] = field(default_factory=dict)


async def understand_orders(session: Session, target: Target, records: Sequence[Record]) -> Understood:
    """Make orders of the records; what cannot be one, or is here already, is decided."""
    understood = Understood()
    channel: Row[Any] = needed(target.channel)
    fresh = await _fresh(session, target, records, understood.outcomes)
    named = [record.values["customer"] for record in fresh if "customer" in record.values]
    customers = await find_customers(session, target.system, named)
    products = await _products(session, fresh)
    for record in fresh:
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
                write(
                    order,
                    channel,
                    location_id=needed(target.location_id),
                    actor=target.actor.account,
                    now=target.now,
                )
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
        if "placed_at" not in record.values:
            outcomes[record.number] = rejected("placed_at: it must not be empty")
        elif name in named:
            outcomes[record.number] = rejected(f"the file names the order {external_id} twice")
        else:
            named[name] = record
    here = await external_ids.find(session, ORDER_KIND, named)
    for name in here:
        outcomes[named[name].number] = UNCHANGED
    return [record for name, record in named.items() if name not in here]


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
    lines = tuple(_line(line, index) for index, line in enumerate(record.lines, start=1))
    billing: dict[str, Any] = part_of(values, "billing_address")
    shipping: dict[str, Any] = part_of(values, "shipping_address")
    command = PlaceOrder(
        channel_id=channel.id,
        lines=lines,
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
    check_place_order(command)
    if unknown := sorted({line.sku for line in lines if line.sku not in products}):
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
