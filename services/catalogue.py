"""What an order is placed with, read in one statement: who sells, who buys, what each line names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, REGCLASS
from sqlalchemy.sql import visitors

from db import visibility
from db.channels import Channel
from db.customers import Company, Customer
from db.engine import Session
from db.orders import Order
from db.products import Price, PriceList, Product
from domain.access import VisibilityClass
from domain.errors import InvalidInput, NotFound, Refused, UserError
from domain.ids import Prefix
from domain.order_commands import PlaceOrder
from domain.orders import CollectedBy, PricingAuthority, ReleaseGate
from services.channels import order_number_sequence
from services.idempotency import ALONG, Taking
from services.joint import Asking
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


_UUIDS = ARRAY(sa.Uuid())
_asking = (
    sa.func.json_to_recordset(sa.bindparam("asking", type_=sa.JSON()))
    .table_valued(
        sa.column("place", sa.Integer()),
        sa.column("skus", ARRAY(sa.Text())),
        sa.column("quantities", ARRAY(sa.Integer())),
        sa.column("channel_id", sa.Uuid()),
        sa.column("customer_id", sa.Uuid()),
        sa.column("company_id", sa.Uuid()),
        sa.column("number", sa.Text()),
        sa.column("sequence", sa.Text()),
        sa.column("principal_channels", _UUIDS),
        sa.column("principal_locations", _UUIDS),
        sa.column("principal_customer", sa.Uuid()),
        sa.column("principal_company", sa.Uuid()),
        sa.column("principal_order", sa.Uuid()),
    )
    .render_derived(name="asking", with_types=True)
)
_channel, _customer, _company, _product = (table.__table__ for table in (Channel, Customer, Company, Product))


@lru_cache(maxsize=256)
def _statement(caller: VisibilityClass, *along: sa.Label[Any]) -> sa.Select[Any]:
    """One row a line; channel, customer and company are in every row, null where they may not be seen.

    An order that is given no number asks its channel's sequence, once.
    """

    def visible(table: Any, asking: Any, name: str) -> sa.ColumnElement[bool]:
        def given(element: Any, **_: Any) -> Any:
            """Several callers of one class ask at once: each its own values. A column by its text belongs
            to no FROM, so that it may stand in a predicate's own subqueries."""
            if isinstance(element, sa.BindParameter) and element.key in asking.c:
                return sa.literal_column(f"{asking.name}.{element.key}", element.type)
            return None

        predicate = visibility.predicate(table.name, table, caller)
        return sa.and_(table.c.id == asking.c[name], visitors.replacement_traverse(predicate, {}, given))

    own_number = _channel.c.order_number_prefix + sa.cast(
        sa.func.nextval(sa.cast(_asking.c.sequence, REGCLASS())), sa.Text()
    )
    numbered = (
        sa.select(
            *(column for column in _asking.c if column.key != "number"),
            sa.case((_channel.c.active, sa.func.coalesce(_asking.c.number, own_number))).label("number"),
        )
        .select_from(_asking.outerjoin(_channel, visible(_channel, _asking, "channel_id")))
        .cte("numbered")
        .prefix_with("MATERIALIZED")
    )
    wanted = (
        sa.func.unnest(numbered.c.skus, numbered.c.quantities)
        .table_valued(
            sa.column("sku", sa.Text()), sa.column("quantity", sa.Integer()), with_ordinality="position"
        )
        .render_derived(name="wanted")
    )
    listed = (
        sa.select(Price.amount)
        .join(PriceList, PriceList.id == Price.price_list_id)
        .where(
            Price.product_id == _product.c.id,
            Price.minimum_quantity <= wanted.c.quantity,
            PriceList.active,
            PriceList.currency == _channel.c.currency,
            sa.or_(PriceList.channel_id.is_(None), PriceList.channel_id == numbered.c.channel_id),
            sa.or_(PriceList.valid_from.is_(None), PriceList.valid_from <= sa.func.now()),
            sa.or_(PriceList.valid_until.is_(None), PriceList.valid_until > sa.func.now()),
        )
        # The channel's own list counts before a general one, a larger quantity's price before a smaller's.
        .order_by(PriceList.channel_id.is_(None), Price.minimum_quantity.desc(), PriceList.id)
        .limit(1)
        .correlate_except(Price, PriceList)
        .scalar_subquery()
    )
    taken = sa.exists().where(Order.channel_id == numbered.c.channel_id, Order.number == numbered.c.number)
    # The order of an order's own lines keeps each order's part apart: few rows, found by their keys.
    read = (
        sa.select(
            wanted.c.position,
            *(_channel.c[name].label(f"channel_{name}") for name in Seller._fields),
            *(_customer.c[name].label(f"customer_{name}") for name in Buyer._fields),
            _company.c.id.label("buying_company_id"),
            *(_product.c[name].label(f"product_{name}") for name in Listed._fields[:-1]),
            listed.label("listed_price"),
            taken.correlate_except(Order).label("number_is_taken"),
        )
        .select_from(wanted)
        .outerjoin(_product, _product.c.sku == wanted.c.sku)
        .outerjoin(_channel, visible(_channel, numbered, "channel_id"))
        .outerjoin(_customer, visible(_customer, numbered, "customer_id"))
        .outerjoin(_company, visible(_company, numbered, "company_id"))
        .order_by(wanted.c.position)
        .lateral("read")
    )
    return (
        sa.select(
            numbered.c.place,
            *(column for column in read.c if column.key != "position"),
            numbered.c.number,
            *along,
        )
        .select_from(numbered.join(read, sa.true()))
        .order_by(numbered.c.place, read.c.position)
    )


_SELLER = slice(1, 1 + len(Seller._fields))
_BUYER = slice(_SELLER.stop, _SELLER.stop + len(Buyer._fields))
_COMPANY = _BUYER.stop
_LISTED = slice(_COMPANY + 1, _COMPANY + 1 + len(Listed._fields))
_NUMBER_IS_TAKEN = _LISTED.stop
_NUMBER = _NUMBER_IS_TAKEN + 1
_ALONG = slice(_NUMBER + 1, None)


async def load_offers(
    session: Session, asking: Sequence[Asking[PlaceOrder]], taking: Taking | None = None
) -> list[Offer | Refused]:
    """What each is offered, or why nothing is: NotFound for what the actor may not see or no product is
    called, InvalidInput for a channel that takes no orders or sells in another currency."""
    of_class: dict[VisibilityClass, list[int]] = {}
    for place, (_, actor) in enumerate(asking):
        of_class.setdefault(VisibilityClass.of(actor), []).append(place)
    rows: dict[int, list[tuple[Any, ...]]] = {}
    for caller, places in of_class.items():
        asked = {"asking": [_row(place, asking[place]) for place in places]}
        if taking is None or taking.done:
            found = await session.fetch(_statement(caller), asked)
        else:
            found = await session.fetch(_statement(caller, *ALONG), asked | taking.parameters)
            taking.note(*found[0][_ALONG])
        for row in found:
            rows.setdefault(row[0], []).append(row)
    offers: list[Offer | Refused] = []
    for place, (command, _) in enumerate(asking):
        try:
            offers.append(_offer(command, rows[place]))
        except Refused as refused:
            offers.append(refused)
    return offers


def _row(place: int, asking: Asking[PlaceOrder]) -> dict[str, Any]:
    command, actor = asking
    return {
        "place": place,
        "skus": [line.sku for line in command.lines],
        "quantities": [line.quantity for line in command.lines],
        "channel_id": command.channel_id,
        "customer_id": command.customer_id,
        "company_id": command.company_id,
        "number": command.number,
        "sequence": order_number_sequence(command.channel_id),
        **visibility.values(actor),
    }


def _offer(command: PlaceOrder, rows: Sequence[tuple[Any, ...]]) -> Offer:
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
    return Offer(
        seller=seller,
        buyer=None if command.customer_id is None else buyer,
        company_id=first[_COMPANY],
        products=products,
        number=first[_NUMBER],
        number_is_taken=first[_NUMBER_IS_TAKEN],
    )
