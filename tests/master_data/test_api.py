"""Master data through the served schema: fed by an ERP, read by frontends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from app.auth import customer, partner
from domain.ids import format_id
from tests.invariants import assert_invariants
from tests.serving import Api, served
from tests.world import STAFF, World, make_world

UPSERT_CHANNEL = """
mutation ($input: ChannelUpsertInput!) { channelUpsert(input: $input) {
  channel { id code kind currencyCode pricingAuthority releaseGate active
            locations { rank location { code } } externalIds { system externalId channel { code } } }
  userErrors { __typename code field } } }
"""
UPSERT_LOCATION = """
mutation ($input: LocationUpsertInput!) { locationUpsert(input: $input) {
  location { id code kind timeZone address { city countryCode } stockLevels(first: 1) { totalCount } }
  userErrors { code field } } }
"""
UPSERT_PRODUCTS = """
mutation ($inputs: [ProductUpsertInput!]!) { productsUpsert(inputs: $inputs) {
  results { index product { sku name cost { amount currencyCode } metadata version }
            userErrors { __typename code field } }
  userErrors { code } } }
"""
UPSERT_CUSTOMER = """
mutation ($input: CustomerUpsertInput!, $key: String!) { customerUpsert(input: $input, idempotencyKey: $key) {
  customer { id name email company { name } address { line1 } orders(first: 1) { totalCount } }
  userErrors { code field } } }
"""
UPSERT_PRICES = """
mutation ($inputs: [PriceUpsertInput!]!) { pricesUpsert(inputs: $inputs) {
  results { index price { minimumQuantity price { amount currencyCode } product { sku } priceList { code } }
            userErrors { code field } } } }
"""
STOCK = """
mutation ($in: [StockReceiveInput!]!, $out: StockAdjustInput!, $a: String!, $b: String!) {
  stockReceiveMany(inputs: $in, idempotencyKey: $a) {
    results { index stockLevel { sellable damaged product { sku } } userErrors { code field } } }
  stockAdjust(input: $out, idempotencyKey: $b) {
    stockLevel { sellable movements(first: 1) { nodes { kind quantity note } } } userErrors { code } } }
"""


@pytest.fixture
async def world(engine: AsyncEngine) -> World:
    return await make_world(engine, {"a": 10, "b": 2})


@pytest.fixture
async def api(database_url: str, world: World) -> AsyncIterator[Api]:
    async with served(database_url) as running:
        yield running


async def test_a_channel_with_its_locations_is_fed_in_two_calls(api: Api, world: World) -> None:
    place = {
        "code": "OSLO",
        "name": "Oslo",
        "kind": "WAREHOUSE",
        "timeZone": "Europe/Oslo",
        "address": {"city": "Oslo", "countryCode": "NO"},
    }
    location = (await api.did(STAFF, UPSERT_LOCATION, {"input": place}))["location"]
    assert location["address"] == {"city": "Oslo", "countryCode": "NO"}
    sent = {
        "code": "NO",
        "name": "Norway",
        "kind": "ECOMMERCE",
        "currencyCode": "NOK",
        "externalIds": [{"system": "erp", "id": "4"}],
        "locations": [{"locationId": location["id"], "rank": 2}],
    }
    channel = (await api.did(STAFF, UPSERT_CHANNEL, {"input": sent}))["channel"]
    assert channel | {"id": ""} == {
        "id": "",
        "code": "NO",
        "kind": "ECOMMERCE",
        "currencyCode": "NOK",
        "pricingAuthority": "OMS",
        "releaseGate": "AUTHORIZED",
        "active": True,
        "locations": [{"rank": 2, "location": {"code": "OSLO"}}],
        "externalIds": [{"system": "erp", "externalId": "4", "channel": None}],
    }
    by_external_id = {"externalIds": [{"system": "erp", "id": "4"}], "active": False}
    again = (await api.did(STAFF, UPSERT_CHANNEL, {"input": by_external_id}))["channel"]
    assert again == channel | {"active": False}
    read = await api.data(
        STAFF,
        """{ channel(externalId: {system: "erp", id: "4"}) { code }
             channels(filter: {kind: [ECOMMERCE]}, sort: NAME) { nodes { code } totalCount }
             location(code: "OSLO") { name } locations(filter: {codes: ["OSLO"]}) { nodes { id } } }""",
    )
    assert read["channel"] == {"code": "NO"}
    assert read["channels"] == {"nodes": [{"code": "NO"}], "totalCount": 1}
    assert read["location"] == {"name": "Oslo"}


async def test_products_are_answered_one_by_one_and_null_clears(api: Api, world: World) -> None:
    first = [
        {"sku": "p1", "name": "One", "cost": {"amount": "1.50", "currencyCode": "EUR"}, "metadata": {"x": 1}},
        {"sku": "p2"},
        {"sku": "p3", "name": "Three", "cost": {"amount": "1.505", "currencyCode": "EUR"}},
        {"id": "nothing", "name": "Four"},
        {"sku": "p5", "name": "Five", "metadata": [1]},
    ]
    answer = (await api.data(STAFF, UPSERT_PRODUCTS, {"inputs": first}))["productsUpsert"]
    assert answer["userErrors"] == []
    assert [(item["index"], item["product"]) for item in answer["results"]] == [
        (
            0,
            {
                "sku": "p1",
                "name": "One",
                "cost": {"amount": "1.50", "currencyCode": "EUR"},
                "metadata": {"x": 1},
                "version": 1,
            },
        ),
        (1, None),
        (2, None),
        (3, None),
        (4, None),
    ]
    assert [[error["field"][-1] for error in item["userErrors"]] for item in answer["results"]] == [
        [],
        ["name"],
        ["amount"],
        ["id"],
        ["metadata"],
    ]
    cleared = [{"sku": "p1", "cost": None}]
    answer = (await api.data(STAFF, UPSERT_PRODUCTS, {"inputs": cleared}))["productsUpsert"]
    assert answer["results"][0]["product"] == {
        "sku": "p1",
        "name": "One",
        "cost": None,
        "metadata": {"x": 1},
        "version": 2,
    }
    read = await api.data(
        STAFF,
        """{ product(sku: "p1") { name backorderable stockLevels { id } }
             products(filter: {search: "on"}) { nodes { sku } }
             all: products(first: 2, sort: SKU, direction: DESC) { nodes { sku } pageInfo { hasNextPage } } }""",
    )
    assert read["product"] == {"name": "One", "backorderable": False, "stockLevels": []}
    assert read["products"]["nodes"] == [{"sku": "p1"}]
    assert read["all"] == {"nodes": [{"sku": "p1"}, {"sku": "b"}], "pageInfo": {"hasNextPage": True}}


async def test_a_batch_of_nothing_or_too_much_is_refused_as_a_whole(api: Api, world: World) -> None:
    for inputs in ([], [{"sku": f"s{n}", "name": "n"} for n in range(101)]):
        answer = (await api.data(STAFF, UPSERT_PRODUCTS, {"inputs": inputs}))["productsUpsert"]
        assert answer == {"results": None, "userErrors": [{"code": "INVALID_INPUT"}]}


async def test_a_customer_is_known_by_the_name_its_partner_gave(api: Api, world: World) -> None:
    sent = {
        "name": "Grace Hopper",
        "email": "grace@example.com",
        "address": {"line1": "1 Main Street"},
        "externalIds": [{"system": "shop", "id": "grace"}],
    }
    made = (await api.did(world.partner, UPSERT_CUSTOMER, {"input": sent, "key": "1"}))["customer"]
    assert made["address"] == {"line1": "1 Main Street"}
    changed = {"externalIds": [{"system": "shop", "id": "grace"}], "email": None}
    assert (await api.did(world.partner, UPSERT_CUSTOMER, {"input": changed, "key": "2"}))[
        "customer"
    ] == made | {"email": None}
    find = '{ customers(filter: {search: "gra hop"}) { nodes { name email } } }'
    assert (await api.data(world.partner, find))["customers"]["nodes"] == [
        {"name": "Grace Hopper", "email": None}
    ]
    assert (await api.data(customer(world.customer_id), find))["customers"]["nodes"] == []
    stranger = partner("partner:stranger", channels=())
    assert (await api.data(stranger, find))["customers"]["nodes"] == []


async def test_prices_show_in_the_currency_of_their_list(api: Api, world: World) -> None:
    inputs = [
        {"priceListCode": "list", "sku": "a", "price": {"amount": "9.50", "currencyCode": "EUR"}},
        {
            "priceListCode": "list",
            "sku": "a",
            "minimumQuantity": 10,
            "price": {"amount": "9", "currencyCode": "EUR"},
        },
        {"priceListCode": "list", "sku": "b"},
        {"priceListCode": "list", "sku": "b", "price": {"amount": "9", "currencyCode": "XXX"}},
    ]
    answer = (await api.data(STAFF, UPSERT_PRICES, {"inputs": inputs}))["pricesUpsert"]["results"]
    assert answer[0]["price"] == {
        "minimumQuantity": 1,
        "price": {"amount": "9.50", "currencyCode": "EUR"},
        "product": {"sku": "a"},
        "priceList": {"code": "list"},
    }
    assert [item["userErrors"] for item in answer[:3]] == [[], [], []]
    assert answer[3]["userErrors"] == [{"code": "INVALID_INPUT", "field": ["price", "currencyCode"]}]
    read = await api.data(
        STAFF,
        """{ priceList(code: "list") { currencyCode prices(first: 5) { totalCount } }
             product(sku: "a") { prices { minimumQuantity price { amount } } } }""",
    )
    assert read["priceList"] == {"currencyCode": "EUR", "prices": {"totalCount": 2}}
    assert read["product"]["prices"] == [
        {"minimumQuantity": 1, "price": {"amount": "9.50"}},
        {"minimumQuantity": 10, "price": {"amount": "9.00"}},
    ]


async def test_stock_comes_in_and_is_counted_once_however_often_it_is_sent(
    api: Api, world: World, engine: AsyncEngine
) -> None:
    variables: dict[str, Any] = {
        "in": [
            {"sku": "a", "locationCode": "main", "quantity": 5},
            {
                "sku": "a",
                "locationId": format_id("loc", world.locations["main"]),
                "quantity": 2,
                "bucket": "DAMAGED",
            },
            {"sku": "a", "locationCode": "main", "quantity": 0},
        ],
        "out": {"sku": "b", "locationCode": "main", "counted": 1, "reason": "one was broken"},
        "a": "k1",
        "b": "k2",
    }
    first = await api.data(STAFF, STOCK, variables)
    assert await api.data(STAFF, STOCK, variables) == first
    assert [item["stockLevel"] for item in first["stockReceiveMany"]["results"]] == [
        {"sellable": 15, "damaged": 2, "product": {"sku": "a"}},
        {"sellable": 15, "damaged": 2, "product": {"sku": "a"}},
        None,
    ]
    assert first["stockAdjust"]["stockLevel"] == {
        "sellable": 1,
        "movements": {"nodes": [{"kind": "COUNT", "quantity": -1, "note": "one was broken"}]},
    }
    await assert_invariants(engine)


async def test_a_caller_without_the_scope_changes_nothing(api: Api, world: World) -> None:
    sent = {"inputs": [{"sku": "new", "name": "New"}]}
    answer = await api.answer(customer(world.customer_id), UPSERT_PRODUCTS, sent)
    assert answer["errors"][0]["extensions"]["code"] == "FORBIDDEN"
    assert (await api.data(STAFF, '{ product(sku: "new") { id } }'))["product"] is None
