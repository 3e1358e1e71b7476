"""Products, as the API shows and takes them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import strawberry
from strawberry.scalars import JSON

from db import products as tables
from domain.access import Scope
from domain.ids import Prefix, parse_id
from domain.products import UpsertProduct
from schema.external_ids import ExternalIdInput, as_sent, json_object, to_names
from schema.money import MoneyInput
from schema.plan import BigInt, Money, Node, column, many, money, planned

if TYPE_CHECKING:  # named by fields; resolved when the schema is built
    from schema.external_ids import ExternalId
    from schema.prices import Price
    from schema.stock import StockLevel


@planned(
    tables.Product,
    node="prd",
    scope=Scope.CATALOG_READ,
    description="What is sold: one product a SKU. All channels share it.",
)
class Product(Node):
    sku: str = column(tables.Product.sku, "The stock keeping unit; unique.")
    name: str = column(tables.Product.name, "What people call it.")
    description: str = column(tables.Product.description, "A text about it; may be empty.")
    barcode: str | None = column(tables.Product.barcode, "GTIN or any other code on its package.")
    tax_class: str | None = column(tables.Product.tax_class, "What tax providers go by.")
    weight_grams: int | None = column(tables.Product.weight_grams, "Of one unit with its package, in grams.")
    cost: Money | None = money(
        tables.Product.cost_amount,
        tables.Product.cost_currency,
        "What one unit costs us.",
        scope=Scope.COSTS_READ,
    )
    backorderable: bool = column(
        tables.Product.backorderable,
        "Whether more may be ordered than there is, to be sent when stock arrives.",
    )
    active: bool = column(tables.Product.active, "Whether it may be ordered.")
    version: BigInt = column(tables.Product.version, "How often it has changed.")
    created_at: datetime = column(tables.Product.created_at, "When we came to know of it.")
    updated_at: datetime = column(tables.Product.updated_at, "When it last changed.")
    metadata: JSON = column(tables.Product.metadata_, "Whatever its partners keep on it; not interpreted.")
    private_metadata: JSON = column(
        tables.Product.private_metadata, "The same, for staff.", scope=Scope.METADATA_PRIVATE
    )
    external_ids: list[ExternalId] = many(
        "ExternalId",
        lambda product, external: external.entity_id == product.id,
        order_by=lambda external: (external.system, external.external_id),
        description="What partners' systems call it.",
        visible_with_parent=False,
        size=2,
    )
    prices: list[Price] = many(
        "Price",
        lambda product, price: price.product_id == product.id,
        order_by=lambda price: (price.price_list_id, price.minimum_quantity),
        description="What one unit costs on the price lists that you may see.",
        visible_with_parent=False,
        size=3,
    )
    stock_levels: list[StockLevel] = many(
        "StockLevel",
        lambda product, level: level.product_id == product.id,
        order_by=lambda level: (level.location_id,),
        description="Where it lies, and how much of it.",
        visible_with_parent=False,
        scope=Scope.STOCK_READ,
        size=3,
    )


@strawberry.input(
    description=(
        "A product to make or change. It is found by `id`, else by an external id, else by `sku`. "
        "A field that is left out keeps its value; null clears it."
    )
)
class ProductUpsertInput:
    id: strawberry.ID | None = None
    external_ids: list[ExternalIdInput] = strawberry.field(default_factory=list)
    sku: str | None = strawberry.field(
        default=strawberry.UNSET, description="A new one needs it; at most 64 characters."
    )
    name: str | None = strawberry.field(
        default=strawberry.UNSET, description="A new one needs it; at most 200 characters."
    )
    description: str | None = strawberry.UNSET
    barcode: str | None = strawberry.UNSET
    tax_class: str | None = strawberry.UNSET
    weight_grams: int | None = strawberry.UNSET
    cost: MoneyInput | None = strawberry.UNSET
    backorderable: bool | None = strawberry.field(default=strawberry.UNSET, description="false at first.")
    active: bool | None = strawberry.field(default=strawberry.UNSET, description="true at first.")
    metadata: JSON | None = strawberry.UNSET
    private_metadata: JSON | None = strawberry.UNSET

    def to_command(self) -> UpsertProduct:
        return UpsertProduct(
            id=parse_id(self.id, Prefix.PRODUCT, field=("id",)) if self.id is not None else None,
            external_ids=to_names(self.external_ids),
            sku=as_sent(self.sku),
            name=as_sent(self.name),
            description=as_sent(self.description),
            barcode=as_sent(self.barcode),
            tax_class=as_sent(self.tax_class),
            weight_grams=as_sent(self.weight_grams),
            cost=as_sent(self.cost, lambda cost: cost.to_money("cost")),
            backorderable=as_sent(self.backorderable),
            active=as_sent(self.active),
            metadata_=as_sent(self.metadata, json_object("metadata")),
            private_metadata=as_sent(self.private_metadata, json_object("privateMetadata")),
        )
