"""Many orders in one request: each with a key and an answer of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from db.base import new_id
from db.orders import Order
from domain.access import ALL_SCOPES, Principal, PrincipalKind
from tests.invariants import assert_invariants
from tests.orders.test_orders_api import PLACE, place
from tests.serving import Api, served
from tests.world import World, make_world

MANY = """
mutation Many($inputs: [OrdersPlaceInput!]!) {
  ordersPlace(inputs: $inputs) {
    results {
      index
      order { id status lines { sku quantityAllocated } }
      userErrors { __typename code field ... on InsufficientStock { sku available } }
    }
    userErrors { code field }
  }
}
"""


@pytest.fixture
async def world(engine: AsyncEngine) -> World:
    return await make_world(engine, {"a": 200, "b": 2})


@pytest.fixture
async def api(database_url: str, world: World) -> AsyncIterator[Api]:
    async with served(database_url) as running:
        yield running


def item(key: str, order: dict[str, Any]) -> dict[str, Any]:
    return {"order": order, "idempotencyKey": key}


async def sent(api: Api, world: World, *items: dict[str, Any]) -> list[dict[str, Any]]:
    payload = await api.did(world.partner, MANY, {"inputs": list(items)})
    results: list[dict[str, Any]] = payload["results"]
    assert [result["index"] for result in results] == list(range(len(items)))
    return results


async def count(world: World) -> int:
    found: int = (await world.one(sa.select(sa.func.count()).select_from(Order)))[0]
    return found


def codes(results: list[dict[str, Any]]) -> list[list[str]]:
    return [[error["code"] for error in result["userErrors"]] for result in results]


async def test_one_orders_refusal_touches_no_other(api: Api, world: World) -> None:
    results = await sent(
        api,
        world,
        item("1", place(world, ("a", 1))),
        item("2", place(world, ("b", 3))),
        item("3", place(world, ("nothing", 1))),
        item("4", place(world, ("b", 2))),
        item("5", {**place(world, ("a", 1)), "channelId": "chn_no"}),
        item("", place(world, ("a", 1))),
    )
    assert codes(results) == [
        [],
        ["INSUFFICIENT_STOCK"],
        ["NOT_FOUND"],
        [],
        ["INVALID_INPUT"],
        ["INVALID_INPUT"],
    ]
    assert [result["order"] is not None for result in results] == [True, False, False, True, False, False]
    assert results[1]["userErrors"][0]["field"] == ["lines", "0", "quantity"]
    assert results[5]["userErrors"][0]["field"] == ["idempotencyKey"]
    assert results[3]["order"]["lines"] == [{"sku": "b", "quantityAllocated": 2}]
    assert await count(world) == 2
    await assert_invariants(world.engine)


async def test_sent_again_the_placed_are_answered_and_the_refused_are_tried(api: Api, world: World) -> None:
    items = [item("1", place(world, ("a", 1))), item("2", place(world, ("b", 3)))]
    first = await sent(api, world, *items)
    await world.place(("b", 1))  # somebody else; what was refused stays refused
    again = await sent(api, world, *items)
    assert again[0]["order"]["id"] == first[0]["order"]["id"]
    assert codes(again) == [[], ["INSUFFICIENT_STOCK"]]
    mended = await sent(api, world, items[0], item("2", place(world, ("b", 1))))
    assert codes(mended) == [[], []]
    assert await count(world) == 3


async def test_an_order_of_a_batch_may_be_sent_again_alone_and_the_other_way_round(
    api: Api, world: World
) -> None:
    order = place(world, ("a", 1))
    (result,) = await sent(api, world, item("same", order))
    alone = await api.did(world.partner, PLACE, {"input": order, "key": "same"})
    assert alone["order"]["id"] == result["order"]["id"]
    alone = await api.did(world.partner, PLACE, {"input": order, "key": "other"})
    (result,) = await sent(api, world, item("other", order))
    assert alone["order"]["id"] == result["order"]["id"]
    assert await count(world) == 2


async def test_orders_under_one_key_in_one_batch_are_one_order(api: Api, world: World) -> None:
    one, other = place(world, ("a", 1)), place(world, ("a", 2))
    results = await sent(api, world, item("k", one), item("k", one), item("k", other))
    assert results[0]["order"]["id"] == results[1]["order"]["id"]
    assert codes(results) == [[], [], ["IDEMPOTENCY_CONFLICT"]]
    assert await count(world) == 1


async def test_a_hundred_orders_sent_three_times_at_once_are_a_hundred_orders(api: Api, world: World) -> None:
    items = [item(f"k{number}", place(world, ("a", 1))) for number in range(100)]
    batches = await asyncio.gather(*(sent(api, world, *items) for _ in range(3)))
    answers = [[result["order"]["id"] for result in batch] for batch in batches]
    assert answers[0] == answers[1] == answers[2]
    assert len(set(answers[0])) == 100
    assert await count(world) == 100
    assert (await world.level("a")).allocated == 100
    await assert_invariants(world.engine)


@pytest.mark.parametrize("size", [0, 101])
async def test_a_batch_has_one_to_a_hundred_orders(api: Api, world: World, size: int) -> None:
    inputs = [item(str(number), place(world, ("a", 1))) for number in range(size)]
    payload = (await api.data(world.partner, MANY, {"inputs": inputs}))["ordersPlace"]
    assert payload["results"] is None
    assert [(error["code"], error["field"]) for error in payload["userErrors"]] == [
        ("INVALID_INPUT", ["inputs"])
    ]
    assert await count(world) == 0


async def test_a_caller_places_nothing_in_a_channel_that_is_not_theirs(api: Api, world: World) -> None:
    stranger = Principal(
        kind=PrincipalKind.PARTNER, account="partner:other", scopes=ALL_SCOPES, channels=(new_id(),)
    )
    inputs = [item("1", place(world, ("a", 1))), item("2", place(world, ("a", 1)))]
    results = (await api.did(stranger, MANY, {"inputs": inputs}))["results"]
    assert codes(results) == [["NOT_FOUND"], ["NOT_FOUND"]]
    assert await count(world) == 0
