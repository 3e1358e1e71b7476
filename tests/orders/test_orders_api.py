"""Orders through the served schema."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from app.auth import guest
from domain.ids import format_id
from domain.order_commands import ExternalId
from tests.serving import Api, served
from tests.world import STAFF, World, make_world

PLACE = """
mutation Place($input: OrderPlaceInput!, $key: String!) {
  orderPlace(input: $input, idempotencyKey: $key) {
    order {
      id number status paymentStatus availableActions version
      channel { code } customer { name }
      originalTotal { amount currencyCode } balance { amount } balanceStatus
      externalIds { system externalId }
      lines { lineNumber sku quantity quantityAllocated quantityUnallocated unitPrice { amount } product { name } }
      timeline(first: 20) { nodes { version type fromStatus toStatus } totalCount }
    }
    userErrors { __typename code message field ... on InsufficientStock { sku requested available } }
  }
}
"""


@pytest.fixture
async def world(engine: AsyncEngine) -> World:
    return await make_world(engine, {"a": 10, "b": 2})


@pytest.fixture
async def api(database_url: str, world: World) -> AsyncIterator[Api]:
    async with served(database_url) as running:
        yield running


def place(world: World, *lines: tuple[str, int], **more: Any) -> dict[str, Any]:
    return {
        "channelId": format_id("chn", world.channel_id),
        "currencyCode": "EUR",
        "customerId": format_id("cus", world.customer_id),
        "lines": [{"sku": sku, "quantity": quantity, "unitPrice": "10.00"} for sku, quantity in lines],
        "payment": {"method": "EXTERNAL"},
        **more,
    }


async def test_a_partner_places_an_order_and_reads_it_in_the_payload(api: Api, world: World) -> None:
    sent = place(world, ("a", 2), ("b", 1), ("a", 1), externalIds=[{"system": "market", "id": "M-7"}])
    order = (await api.did(world.partner, PLACE, {"input": sent, "key": "k-1"}))["order"]
    assert order["status"] == "CONFIRMED"
    assert order["originalTotal"] == {"amount": "40.00", "currencyCode": "EUR"}
    assert order["externalIds"] == [{"system": "market", "externalId": "M-7"}]
    assert [line["quantityAllocated"] for line in order["lines"]] == [2, 1, 1]
    assert order["customer"] == {"name": "Ada Lovelace"}
    assert order["timeline"]["nodes"][0] == {
        "version": 1,
        "type": "ORDER_PLACED",
        "fromStatus": None,
        "toStatus": "PENDING",
    }
    assert order["version"] == order["timeline"]["totalCount"]
    assert "orderCancel" in order["availableActions"]
    again = await api.did(world.partner, PLACE, {"input": sent, "key": "k-1"})
    assert again["order"]["id"] == order["id"]


async def test_too_little_stock_is_a_typed_user_error(api: Api, world: World) -> None:
    body = await api.data(world.partner, PLACE, {"input": place(world, ("b", 3)), "key": "k-2"})
    payload = body["orderPlace"]
    assert payload["order"] is None
    (error,) = payload["userErrors"]
    assert error["__typename"] == "InsufficientStock"
    assert (error["sku"], error["requested"], error["available"]) == ("b", 3, 2)
    assert error["field"] == ["lines", "0", "quantity"]


async def test_orders_are_found_by_what_partners_and_people_call_them(api: Api, world: World) -> None:
    sent = place(world, ("a", 1), externalIds=[{"system": "market", "id": "M-8"}], email="grace@example.com")
    placed = (await api.did(world.partner, PLACE, {"input": sent, "key": "k-3"}))["order"]
    found = await api.data(
        STAFF,
        """query Find($filter: OrderFilter!, $channel: ID!, $number: String!) {
          orders(first: 5, filter: $filter, sort: TOTAL) { nodes { id } totalCount }
          byExternalId: order(externalId: {system: "market", id: "M-8"}) { id }
          byNumber: order(channelId: $channel, number: $number) { id }
          bySearch: orders(filter: {search: "grac"}) { nodes { id } }
          none: orders(filter: {search: "M-9"}) { nodes { id } }
          availability(skus: ["a", "b"], channel: $channel) { sku available }
        }""",
        {
            "filter": {"status": ["CONFIRMED"], "externalId": {"system": "market", "id": "M-8"}},
            "channel": format_id("chn", world.channel_id),
            "number": placed["number"],
        },
    )
    only = [{"id": placed["id"]}]
    assert found["orders"] == {"nodes": only, "totalCount": 1}
    assert found["byExternalId"] == found["byNumber"] == only[0]
    assert found["bySearch"]["nodes"] == only
    assert found["none"]["nodes"] == []
    assert found["availability"] == [{"sku": "a", "available": 9}, {"sku": "b", "available": 2}]


async def test_a_guest_sees_its_order_and_no_other(api: Api, world: World) -> None:
    mine, other = await world.place(("a", 1)), await world.place(("a", 1))
    seen = await api.data(
        guest(mine),
        "query($mine: ID!, $other: ID!) { orders { nodes { id } } mine: order(id: $mine) { id } "
        "other: order(id: $other) { id } node(id: $other) { id } }",
        {"mine": format_id("ord", mine), "other": format_id("ord", other)},
    )
    assert seen["orders"]["nodes"] == [{"id": format_id("ord", mine)}]
    assert seen["mine"] == {"id": format_id("ord", mine)}
    assert seen["other"] is None
    assert seen["node"] is None
    refused = await api.answer(guest(mine), PLACE, {"input": place(world, ("a", 1)), "key": "k"})
    assert refused["errors"][0]["extensions"]["code"] == "FORBIDDEN"


async def test_an_update_names_its_version_and_changes_what_was_sent(api: Api, world: World) -> None:
    order_id = await world.place(("a", 1))
    version = (await world.order(order_id)).version
    update = """mutation($input: OrderUpdateInput!) { orderUpdate(input: $input) {
      order { note email shippingAddress { city postalCode } metadata } userErrors { code } } }"""
    sent = {
        "orderId": format_id("ord", order_id),
        "note": "ring twice",
        "shippingAddress": {"city": "Berlin", "postalCode": "10115", "countryCode": "DE"},
        "metadata": {"gift": True},
        "expectedVersion": version,
    }
    changed = await api.did(STAFF, update, {"input": sent})
    assert changed["order"] == {
        "note": "ring twice",
        "email": "ada@example.com",
        "shippingAddress": {"city": "Berlin", "postalCode": "10115"},
        "metadata": {"gift": True},
    }
    body = await api.data(STAFF, update, {"input": sent})
    assert body["orderUpdate"]["userErrors"] == [{"code": "VERSION_CONFLICT"}]


async def test_stock_is_reserved_through_the_api(api: Api, world: World) -> None:
    reserve = """mutation($input: StockReserveInput!) { stockReserve(input: $input, idempotencyKey: "r") {
      reservation { id status lines { quantity product { sku } } } userErrors { code } } }"""
    sent = {
        "channelId": format_id("chn", world.channel_id),
        "lines": [{"sku": "a", "quantity": 4}],
        "minutes": 10,
    }
    made = (await api.did(world.partner, reserve, {"input": sent}))["reservation"]
    assert made["lines"] == [{"quantity": 4, "product": {"sku": "a"}}]
    levels = await api.data(
        STAFF, '{ stockLevels(filter: {skus: ["a"]}) { nodes { sellable reserved available } } }'
    )
    assert levels["stockLevels"]["nodes"] == [{"sellable": 10, "reserved": 4, "available": 6}]
    release = "mutation($id: ID!) { stockRelease(reservationId: $id) { reservation { status } userErrors { code } } }"
    released = await api.did(world.partner, release, {"id": made["id"]})
    assert released["reservation"] == {"status": "RELEASED"}


async def test_an_external_id_that_fits_two_orders_asks_for_the_channel(
    api: Api, world: World, engine: AsyncEngine
) -> None:
    names = (ExternalId(system="market", id="M-7"),)
    await world.place(("a", 1), external_ids=names)
    other = await world.place(("a", 1))
    async with engine.begin() as connection:
        await connection.execute(
            sa.text(
                "insert into external_id (id, entity_kind, entity_id, system, external_id) "
                "values (gen_random_uuid(), 'ORDER', :other, 'market', 'M-7')"
            ),
            {"other": other},
        )
    asked = '{ order(externalId: {system: "market", id: "M-7"%s}) { number } }'
    (error,) = (await api.answer(STAFF, asked % ""))["errors"]
    assert (error["extensions"]["code"], error["path"]) == ("BAD_USER_INPUT", ["order"])
    in_channel = f', channelId: "{format_id("chn", world.channel_id)}"'
    assert (await api.data(STAFF, asked % in_channel))["order"] is not None
