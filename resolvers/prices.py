"""Root fields of price lists and prices."""

from __future__ import annotations

from datetime import datetime

import strawberry

from db.search import matches_external_id
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
from schema.prices import Price, PriceList, PriceListUpsertInput, PriceUpsertInput
from services.prices import upsert_price, upsert_price_list, upsert_price_lists, upsert_prices


@filter_input(description="Which price lists: each field that is given must hold.")
class PriceListFilter:
    codes: list[str] | None = among(lambda row: row.code, "With one of these codes.")
    channels: list[strawberry.ID] | None = among(
        lambda row: row.channel_id, "Of one of these channels.", node="chn"
    )
    active: bool | None = where(lambda row, v: row.active == v, "Active, or not.")
    external_id: ExternalIdFilter | None = where(
        lambda row, v: matches_external_id("PRICE_LIST", row.id, v), "That a partner's system calls so."
    )
    updated_from: datetime | None = where(lambda row, v: row.updated_at >= v, "Changed at or after.")
    updated_before: datetime | None = where(lambda row, v: row.updated_at < v, "Changed before.")


PriceListSort = sort_enum(
    "PriceListSort",
    "What price lists can be sorted by.",
    default="CODE",
    CODE=lambda row: (row.code,),
    UPDATED_AT=lambda row: (row.updated_at,),
)


class PriceListQueries:
    price_list: PriceList | None = query_one(
        PriceList,
        by=[
            by_id(),
            by(lambda row, code: row.code == code, code=str),
            by(
                lambda row, external_id: matches_external_id("PRICE_LIST", row.id, external_id),
                external_id=ExternalIdFilter,
            ),
        ],
        scope=Scope.CATALOG_READ,
        description="One price list by id, by code or by a partner's id; null when there is none that you may see.",
    )
    price_lists: Connection[PriceList] = query_connection(
        PriceList,
        scope=Scope.CATALOG_READ,
        filter=PriceListFilter,
        sort=PriceListSort,
        description="The price lists that you may see.",
    )


@value_type(description="The price list, or why not.")
class PriceListUpsertPayload:
    price_list: PriceList | None
    user_errors: list[UserError] = no_errors()


@value_type(description="The answer for one item of a batch.")
class PriceListUpsertResult:
    index: int
    price_list: PriceList | None
    user_errors: list[UserError] = no_errors()


@value_type(description="One result an item, in their order; userErrors are those of the batch as a whole.")
class PriceListsUpsertPayload:
    results: list[PriceListUpsertResult] | None
    user_errors: list[UserError] = no_errors()


@mutation(
    scope=Scope.CATALOG_WRITE,
    description="Makes a price list or changes the fields that are sent. Sent twice, it changes nothing more.",
)
async def price_list_upsert(
    info: Info, input: PriceListUpsertInput, idempotency_key: str | None = None
) -> PriceListUpsertPayload:
    price_list_id = await write(info, upsert_price_list, input.to_command(), key=idempotency_key)
    return PriceListUpsertPayload(price_list=ref(PriceList, price_list_id))


@mutation(
    scope=Scope.CATALOG_WRITE,
    description="Makes or changes up to 100 price lists. Each is answered for itself: one bad item stops no other.",
)
async def price_lists_upsert(
    info: Info, inputs: list[PriceListUpsertInput], idempotency_key: str | None = None
) -> PriceListsUpsertPayload:
    return PriceListsUpsertPayload(
        results=[
            PriceListUpsertResult(
                index=index,
                price_list=ref(PriceList, found) if found is not None else None,
                user_errors=errors,
            )
            for index, found, errors in await write_each(info, upsert_price_lists, inputs, idempotency_key)
        ]
    )


@value_type(description="The price (null when it was taken off its list), or why not.")
class PriceUpsertPayload:
    price: Price | None
    user_errors: list[UserError] = no_errors()


@value_type(description="The answer for one item of a batch.")
class PriceUpsertResult:
    index: int
    price: Price | None
    user_errors: list[UserError] = no_errors()


@value_type(description="One result an item, in their order; userErrors are those of the batch as a whole.")
class PricesUpsertPayload:
    results: list[PriceUpsertResult] | None
    user_errors: list[UserError] = no_errors()


@mutation(
    scope=Scope.CATALOG_WRITE,
    description="Sets a price, or takes it off its list. Sent twice, it changes nothing the second time.",
)
async def price_upsert(
    info: Info, input: PriceUpsertInput, idempotency_key: str | None = None
) -> PriceUpsertPayload:
    price_id = await write(info, upsert_price, input.to_command(), key=idempotency_key)
    return PriceUpsertPayload(price=ref(Price, price_id) if price_id is not None else None)


@mutation(
    scope=Scope.CATALOG_WRITE,
    description="Sets up to 100 prices. Each is answered for itself: one bad item stops no other.",
)
async def prices_upsert(
    info: Info, inputs: list[PriceUpsertInput], idempotency_key: str | None = None
) -> PricesUpsertPayload:
    return PricesUpsertPayload(
        results=[
            PriceUpsertResult(
                index=index, price=ref(Price, found) if found is not None else None, user_errors=errors
            )
            for index, found, errors in await write_each(info, upsert_prices, inputs, idempotency_key)
        ]
    )
