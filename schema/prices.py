"""Price lists and prices, as the API shows and takes them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
import strawberry

from db import products as tables
from domain.access import Scope
from domain.ids import Prefix, parse_id
from domain.prices import SetPrice, UpsertPriceList
from schema.external_ids import ExternalIdInput, as_sent, global_id_of, to_names
from schema.money import MoneyInput
from schema.plan import BigInt, Connection, Money, Node, column, connection, money, one, planned

if TYPE_CHECKING:  # named by fields; resolved when the schema is built
    from schema.channels import Channel
    from schema.products import Product


@planned(
    tables.PriceList,
    node="prl",
    scope=Scope.CATALOG_READ,
    description=(
        "Prices of one currency. A channel's own list counts before a general one; of one list, the price for "
        "the largest quantity that a line reaches."
    ),
)
class PriceList(Node):
    code: str = column(tables.PriceList.code, "Its short name; unique.")
    name: str = column(tables.PriceList.name, "What people call it.")
    currency_code: str = column(tables.PriceList.currency, "ISO 4217; never changes.")
    channel: Channel | None = one(
        "Channel",
        lambda listed, channel: channel.id == listed.channel_id,
        "The channel it is for; null when it is for all.",
    )
    valid_from: datetime | None = column(tables.PriceList.valid_from, "From when on it counts.")
    valid_until: datetime | None = column(tables.PriceList.valid_until, "From when on it counts no more.")
    active: bool = column(tables.PriceList.active, "Whether it counts at all.")
    version: BigInt = column(tables.PriceList.version, "How often it, or a price of it, has changed.")
    created_at: datetime = column(tables.PriceList.created_at, "When we came to know of it.")
    updated_at: datetime = column(tables.PriceList.updated_at, "When it, or a price of it, last changed.")
    prices: Connection[Price] = connection(
        "Price",
        lambda listed, price: price.price_list_id == listed.id,
        order_by=lambda price: (price.product_id, price.minimum_quantity),
        description="Its prices.",
    )


def _currency(price: Any) -> sa.ColumnElement[str]:
    """The currency of a price is its list's."""
    listed = tables.PriceList.metadata.tables["price_list"].alias()
    return (
        sa.select(listed.c.currency)
        .where(listed.c.id == price.price_list_id)
        .correlate_except(listed)
        .scalar_subquery()
    )


@planned(
    tables.Price,
    node="prc",
    scope=Scope.CATALOG_READ,
    description="What one unit of a product costs from so many units of a line on.",
)
class Price(Node):
    minimum_quantity: int = column(
        tables.Price.minimum_quantity, "From how many units of one line on it counts."
    )
    price: Money = money(tables.Price.amount, _currency, "Of one unit, before discounts.")
    updated_at: datetime = column(tables.Price.updated_at, "When it was set.")
    product: Product = one(
        "Product",
        lambda price, product: product.id == price.product_id,
        "What it is the price of.",
        visible_with_parent=True,
    )
    price_list: PriceList = one(
        "PriceList",
        lambda price, listed: listed.id == price.price_list_id,
        "The list it stands on.",
        visible_with_parent=True,
    )


@strawberry.input(
    description=(
        "A price list to make or change, found by `id`, else by an external id, else by `code`. "
        "A field that is left out keeps its value; null clears it."
    )
)
class PriceListUpsertInput:
    id: strawberry.ID | None = None
    external_ids: list[ExternalIdInput] = strawberry.field(default_factory=list)
    code: str | None = strawberry.UNSET
    name: str | None = strawberry.UNSET
    currency_code: str | None = strawberry.field(
        default=strawberry.UNSET, description="ISO 4217; said once, when the list is made."
    )
    channel_id: strawberry.ID | None = strawberry.UNSET
    valid_from: datetime | None = strawberry.UNSET
    valid_until: datetime | None = strawberry.UNSET
    active: bool | None = strawberry.UNSET

    def to_command(self) -> UpsertPriceList:
        return UpsertPriceList(
            id=parse_id(self.id, Prefix.PRICE_LIST, field=("id",)) if self.id is not None else None,
            external_ids=to_names(self.external_ids),
            code=as_sent(self.code),
            name=as_sent(self.name),
            currency=as_sent(self.currency_code),
            channel_id=as_sent(self.channel_id, global_id_of(Prefix.CHANNEL, "channelId")),
            valid_from=as_sent(self.valid_from),
            valid_until=as_sent(self.valid_until),
            active=as_sent(self.active),
        )


@strawberry.input(
    description="A price to set, on a list named by id or code, of a product named by id or SKU."
)
class PriceUpsertInput:
    price_list_id: strawberry.ID | None = None
    price_list_code: str | None = None
    product_id: strawberry.ID | None = None
    sku: str | None = None
    minimum_quantity: int = strawberry.field(
        default=1, description="From how many units of one line on it counts; 1 to 1,000,000."
    )
    price: MoneyInput | None = strawberry.field(
        default=None, description="Of one unit, in the list's currency; null takes the price off the list."
    )

    def to_command(self) -> SetPrice:
        listed, product = self.price_list_id, self.product_id
        return SetPrice(
            price_list_id=(
                None if listed is None else parse_id(listed, Prefix.PRICE_LIST, field=("priceListId",))
            ),
            price_list_code=self.price_list_code,
            product_id=None if product is None else parse_id(product, Prefix.PRODUCT, field=("productId",)),
            sku=self.sku,
            minimum_quantity=self.minimum_quantity,
            price=self.price.to_money("price") if self.price is not None else None,
        )
