"""Root fields of products."""

from __future__ import annotations

from datetime import datetime

import strawberry

from db.search import CANDIDATES, matches, matches_external_id
from domain.access import Scope
from resolvers.batches import write_each
from resolvers.context import write
from schema.external_ids import ExternalIdFilter
from schema.plan import (
    Connection,
    Info,
    UserError,
    among,
    by,
    by_id,
    filter_input,
    mutation,
    no_errors,
    query_connection,
    query_one,
    ref,
    sort_enum,
    value_type,
    where,
)
from schema.products import Product, ProductUpsertInput
from services.products import upsert_product, upsert_products


@filter_input(description="Which products: each field that is given must hold.")
class ProductFilter:
    ids: list[strawberry.ID] | None = among(lambda row: row.id, "One of these.", node="prd")
    skus: list[str] | None = among(lambda row: row.sku, "With one of these SKUs.")
    active: bool | None = where(lambda row, v: row.active == v, "Active, or not.")
    backorderable: bool | None = where(lambda row, v: row.backorderable == v, "Backorderable, or not.")
    external_id: ExternalIdFilter | None = where(
        lambda row, v: matches_external_id("PRODUCT", row.id, v), "That a partner's system calls so."
    )
    updated_from: datetime | None = where(lambda row, v: row.updated_at >= v, "Changed at or after.")
    updated_before: datetime | None = where(lambda row, v: row.updated_at < v, "Changed before.")
    search: str | None = where(
        lambda row, v: matches(row.search, v),
        "Whose SKU or name holds words that begin so.",
        candidates=CANDIDATES,
    )


ProductSort = sort_enum(
    "ProductSort",
    "What products can be sorted by.",
    default="NAME",
    NAME=lambda row: (row.name,),
    SKU=lambda row: (row.sku,),
    CREATED_AT=lambda row: (row.created_at,),
    UPDATED_AT=lambda row: (row.updated_at,),
)


class ProductQueries:
    product: Product | None = query_one(
        Product,
        by=[
            by_id(),
            by(lambda row, sku: row.sku == sku, sku=str),
            by(
                lambda row, external_id: matches_external_id("PRODUCT", row.id, external_id),
                external_id=ExternalIdFilter,
            ),
        ],
        scope=Scope.CATALOG_READ,
        description="One product by id, by SKU or by a partner's id; null when there is none that you may see.",
    )
    products: Connection[Product] = query_connection(
        Product,
        scope=Scope.CATALOG_READ,
        filter=ProductFilter,
        sort=ProductSort,
        description="The products that you may see.",
    )


@value_type(description="The product, or why not.")
class ProductUpsertPayload:
    product: Product | None
    user_errors: list[UserError] = no_errors()


@value_type(description="The answer for one item of a batch.")
class ProductUpsertResult:
    index: int
    product: Product | None
    user_errors: list[UserError] = no_errors()


@value_type(description="One result an item, in their order; userErrors are those of the batch as a whole.")
class ProductsUpsertPayload:
    results: list[ProductUpsertResult] | None
    user_errors: list[UserError] = no_errors()


@mutation(
    scope=Scope.CATALOG_WRITE,
    description="Makes a product or changes the fields that are sent. Sent twice, it changes nothing the second time.",
)
async def product_upsert(
    info: Info, input: ProductUpsertInput, idempotency_key: str | None = None
) -> ProductUpsertPayload:
    product_id = await write(info, upsert_product, input.to_command(), key=idempotency_key)
    return ProductUpsertPayload(product=ref(Product, product_id))


@mutation(
    scope=Scope.CATALOG_WRITE,
    description="Makes or changes up to 100 products. Each is answered for itself: one bad item stops no other.",
)
async def products_upsert(
    info: Info, inputs: list[ProductUpsertInput], idempotency_key: str | None = None
) -> ProductsUpsertPayload:
    return ProductsUpsertPayload(
        results=[
            ProductUpsertResult(
                index=index, product=ref(Product, found) if found is not None else None, user_errors=errors
            )
            for index, found, errors in await write_each(info, upsert_products, inputs, idempotency_key)
        ]
    )
