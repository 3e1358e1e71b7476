"""What an order is placed with, read in one statement: who sells, who buys, what each line names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, REGCLASS

from db import visibility
from db.channels import Channel
from db.customers import Company, Customer
from db.engine import Session
from db.orders import Order
from db.products import Price, PriceList, Product
from domain.access import Principal, VisibilityClass
from domain.errors import InvalidInput, NotFound, Refused, UserError
from domain.ids import Prefix
from domain.order_commands import PlaceOrder
from domain.orders import CollectedBy, PricingAuthority, ReleaseGate
from services.channels import order_number_sequence
from services.order_changes import not_found


class Seller(NamedTuple):
    """The channel, with the rules it sets for its orders."""

    id: UUID
    code: str
    active: bool
    currency: str
    pricing_authority: PricingAuthority
    collected_by: CollectedBy
    release_gate: ReleaseGate
    payment_due_minutes: int
    completes_after_days: int
    stock_buffer: int


class Buyer(NamedTuple):
    """The customer, where the order names one."""

    id: UUID
    company_id: UUID | None
    email: str | None
    phone: str | None


class Listed(NamedTuple):
    """The product of a line, and what a price list asks for that many units of it."""

    id: UUID
    name: str
    backorderable: bool
    active: bool
    listed_price: int | None


@dataclass(frozen=True, slots=True)
class Offer:
    """`products`: one a line. `number` is the caller's, or the channel's next; `number_is_taken` as of now."""

    seller: Seller
    buyer: Buyer | None
    company_id: UUID | None
    products: Sequence[Listed]
    number: str
    number_is_taken: bool


_wanted = (
    sa.func.unnest(
        sa.bindparam("skus", type_=ARRAY(sa.Text())), sa.bindparam("quantities", type_=ARRAY(sa.Integer()))
    )
    .table_valued(
        sa.column("sku", sa.Text()), sa.column("quantity", sa.Integer()), with_ordinality="position"
    )
    .render_derived(name="wanted")
)
_channel, _customer, _company = Channel.__table__, Customer.__table__, Company.__table__
_CHANNEL_ID = sa.bindparam("channel_id", type_=sa.Uuid())
_NOW = sa.bindparam("now", type_=PriceList.valid_from.type)
_listed = (
    sa.select(Price.amount)
    .join(PriceList, PriceList.id == Price.price_list_id)
    .where(
        Price.product_id == Product.id,
        Price.minimum_quantity <= _wanted.c.quantity,
        PriceList.active,
        PriceList.currency == _channel.c.currency,
        sa.or_(PriceList.channel_id.is_(None), PriceList.channel_id == _CHANNEL_ID),
        sa.or_(PriceList.valid_from.is_(None), PriceList.valid_from <= _NOW),
        sa.or_(PriceList.valid_until.is_(None), PriceList.valid_until > _NOW),
    )
    # The channel's own list counts before a general one, a larger quantity's price before a smaller's.
    .order_by(PriceList.channel_id.is_(None), Price.minimum_quantity.desc(), PriceList.id)
    .limit(1)
    .correlate(Product, _wanted, _channel)
    .scalar_subquery()
)


@lru_cache(maxsize=256)
def _statement(caller: VisibilityClass, *, numbered: bool) -> sa.Select[Any]:
    """One row a line; channel, customer and company are in every row, null where they may not be seen.

    `numbered`: the caller gives the order's number. Else the channel's sequence is asked, once.
    """

    def visible(table: Any, name: str) -> sa.ColumnElement[bool]:
        return sa.and_(
            table.c.id == sa.bindparam(name, type_=sa.Uuid()),
            visibility.predicate(table.name, table, caller),
        )

    number: sa.ColumnElement[str] = sa.bindparam("number", type_=sa.Text())
    if not numbered:
        sequence = sa.cast(sa.bindparam("sequence", type_=sa.Text()), REGCLASS())
        number = _channel.c.order_number_prefix + sa.cast(sa.func.nextval(sequence), sa.Text())
    numbers = (
        sa.select(number.label("number"))
        .where(visible(_channel, "channel_id"), _channel.c.active)
        .cte("numbers")
        .prefix_with("MATERIALIZED")
    )
    taken = sa.exists().where(Order.channel_id == _CHANNEL_ID, Order.number == numbers.c.number)
    return (
        sa.select(
            *(_channel.c[name] for name in Seller._fields),
            *(_customer.c[name] for name in Buyer._fields),
            _company.c.id,
            *(Product.__table__.c[name] for name in Listed._fields[:-1]),
            _listed.label("listed_price"),
            numbers.c.number,
            taken.label("number_is_taken"),
        )
        .select_from(_wanted)
        .outerjoin(Product, Product.sku == _wanted.c.sku)
        .outerjoin(_channel, visible(_channel, "channel_id"))
        .outerjoin(_customer, visible(_customer, "customer_id"))
        .outerjoin(_company, visible(_company, "company_id"))
        .outerjoin(numbers, sa.true())
        .order_by(sa.column("position"))
    )


_SELLER = slice(0, len(Seller._fields))
_BUYER = slice(_SELLER.stop, _SELLER.stop + len(Buyer._fields))
_COMPANY = _BUYER.stop
_LISTED = slice(_COMPANY + 1, _COMPANY + 1 + len(Listed._fields))


async def load_offer(session: Session, command: PlaceOrder, *, actor: Principal, now: datetime) -> Offer:
    """Refused with NotFound for what the actor may not see or no product is called, InvalidInput for a
    channel that takes no orders or sells in another currency."""
    statement = _statement(VisibilityClass.of(actor), numbered=command.number is not None)
    rows = await session.fetch(
        statement,
        {
            "skus": [line.sku for line in command.lines],
            "quantities": [line.quantity for line in command.lines],
            "channel_id": command.channel_id,
            "customer_id": command.customer_id,
            "company_id": command.company_id,
            "number": command.number,
            "sequence": order_number_sequence(command.channel_id),
            "now": now,
            **visibility.values(actor),
        },
    )
    first = rows[0]
    seller, buyer = Seller._make(first[_SELLER]), Buyer._make(first[_BUYER])
    if seller.id is None:
        raise not_found(Prefix.CHANNEL, command.channel_id, "channelId")
    if not seller.active:
        message = f"The channel {seller.code} is not active: it takes no new orders."
        raise Refused(InvalidInput(message=message, field=("channelId",)))
    if command.currency not in (None, seller.currency):
        message = f"The channel {seller.code} sells in {seller.currency}, not in {command.currency}."
        raise Refused(InvalidInput(message=message, field=("currencyCode",)))
    if command.customer_id is not None and buyer.id is None:
        raise not_found(Prefix.CUSTOMER, command.customer_id, "customerId")
    if command.company_id is not None and first[_COMPANY] is None:
        raise not_found(Prefix.COMPANY, command.company_id, "companyId")
    products = [Listed._make(row[_LISTED]) for row in rows]
    _refuse_unknown(command, products)
    return Offer(
        seller=seller,
        buyer=None if command.customer_id is None else buyer,
        company_id=first[_COMPANY],
        products=products,
        number=first[-2],
        number_is_taken=first[-1],
    )


def _refuse_unknown(command: PlaceOrder, products: Sequence[Listed]) -> None:
    unknown: list[UserError] = [
        NotFound(
            message=f"There is no product with the SKU {line.sku!r}.",
            field=("lines", str(index), "sku"),
            id=line.sku,
        )
        for index, (line, product) in enumerate(zip(command.lines, products, strict=True))
        if product.id is None or not product.active
    ]
    if unknown:
        raise Refused(*unknown)
