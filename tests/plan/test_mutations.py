"""Mutations: functions called one after the other, their payloads read by plans after the write."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg

from db.engine import asyncpg_dsn
from domain.access import Principal
from tests.plan.conftest import PARTNER, STAFF, Shop, guest, order_id


async def test_a_payload_shows_what_was_just_written(shop: Shop) -> None:
    answer = await shop.data(
        """mutation ($input: OrderPlaceInput!, $deep: Boolean!) {
             placed: orderPlace(input: $input) { __typename
             order { number status lines { quantity } again: number note @include(if: $deep)
                     events(first: 1) { totalCount } }
             userErrors { code message } } }""",
        input={"number": "M1", "quantities": [3, 4]},
        deep=True,
    )
    assert answer == {
        "placed": {
            "__typename": "OrderPlacePayload",
            "order": {
                "number": "M1",
                "status": "OPEN",
                "lines": [{"quantity": 3}, {"quantity": 4}],
                "again": "M1",
                "note": None,
                "events": {"totalCount": 0},
            },
            "userErrors": [],
        }
    }
    assert len(shop.reads.statements) == 1


async def test_a_refusal_is_data_with_the_members_of_its_type(shop: Shop) -> None:
    answer = await shop.data(
        """mutation { orderRefuse { order { id } userErrors { __typename code message field
             ... on InsufficientStock { sku requested available } ... on NotFound { id } } } }"""
    )
    assert answer["orderRefuse"] == {
        "order": None,
        "userErrors": [
            {
                "__typename": "InsufficientStock",
                "code": "INSUFFICIENT_STOCK",
                "message": "Too few.",
                "field": ["input"],
                "sku": "A",
                "requested": 3,
                "available": 1,
            }
        ],
    }
    assert shop.reads.statements == []


async def test_many_entities_of_a_payload_are_one_statement_and_hidden_ones_are_null(shop: Shop) -> None:
    text = """mutation ($ids: [ID!]!) { ordersLook(ids: $ids) {
        results { index order { id number } userErrors { code field ... on NotFound { id } } }
        userErrors { code } } }"""
    ids = [order_id(1), "nothing", order_id(0), order_id(1), order_id(999)]
    answer = await shop.data(text, PARTNER, ids=ids)
    shown: list[dict[str, Any]] = answer["ordersLook"]["results"]
    assert [item["order"] and item["order"]["number"] for item in shown] == ["A001", None, None, "A001", None]
    assert shown[1]["userErrors"] == [{"code": "NOT_FOUND", "field": ["ids", "1"], "id": "nothing"}]
    assert len(shop.reads.statements) == 1


async def test_those_who_ask_at_once_share_a_statement_and_each_sees_its_own(shop: Shop) -> None:
    text = """mutation ($ids: [ID!]!, $deep: Boolean!) { ordersLook(ids: $ids) {
        results { order { number lines @include(if: $deep) { quantity } } } } }"""

    async def shown(caller: Principal, *orders: int, deep: bool = True) -> list[Any]:
        ids = [order_id(number) for number in orders]
        answer = await shop.data(text, caller, ids=ids, deep=deep)
        return [item["order"] for item in answer["ordersLook"]["results"]]

    one = {"number": "A001", "lines": [{"quantity": 2}]}
    two = {"number": "A002", "lines": [{"quantity": 2}, {"quantity": 3}]}
    answers = await asyncio.gather(
        shown(guest(1), 1, 2), shown(guest(2), 1, 2), shown(guest(2), 1), shown(guest(1), 1, 1, 999)
    )
    assert answers == [[one, None], [None, two], [None], [one, one, None]]
    assert len(shop.reads.statements) == 1
    # Another kind of caller, and another selection, are read by another.
    answers = await asyncio.gather(
        shown(guest(1), 1, 2), shown(STAFF, 1, 2), shown(guest(2), 1, 2, deep=False)
    )
    assert answers == [[one, None], [one, two], [None, {"number": "A002"}]]
    assert len(shop.reads.statements) == 4


async def test_those_who_ask_with_other_variables_are_read_for_by_another_statement(shop: Shop) -> None:
    text = """mutation ($ids: [ID!]!, $after: String) { ordersLook(ids: $ids) {
        results { order { events(first: 1, after: $after) { totalCount edges { cursor } } } } } }"""

    async def events(caller: Principal, after: str | None) -> Any:
        answer = await shop.data(text, caller, ids=[order_id(1), order_id(2)], after=after)
        return [item["order"] and item["order"]["events"] for item in answer["ordersLook"]["results"]]

    [(shown, hidden), (also_hidden, _)] = await asyncio.gather(events(guest(1), None), events(guest(2), None))
    assert (hidden, also_hidden) == (None, None)
    assert len(shop.reads.statements) == 1
    [edge] = shown["edges"]
    [(first, _), (next_, _)] = await asyncio.gather(events(guest(1), None), events(guest(1), edge["cursor"]))
    assert first == shown != next_
    assert len(shop.reads.statements) == 3


async def test_a_bug_is_masked_and_the_next_mutation_runs(shop: Shop) -> None:
    answer = await shop.ask(
        "mutation { a: orderExplode { order { id } } __typename b: orderRefuse { order { id } } }"
    )
    assert answer["data"] == {"a": None, "__typename": "Mutation", "b": {"order": None}}
    [error] = answer["errors"]
    assert error["path"] == ["a"]
    assert error["extensions"]["code"] == "INTERNAL"
    assert "secret" not in str(answer)


async def test_mutations_run_in_the_order_of_the_document(shop: Shop, toy_url: str) -> None:
    text = """mutation { b: orderPlace(input: {number: "S1", quantities: []}) { order { number } }
                         a: orderPlace(input: {number: "S2", quantities: []}) { order { number } } }"""
    answer = await shop.data(text)
    assert list(answer) == ["b", "a"]
    connection = await asyncpg.connect(asyncpg_dsn(toy_url))
    rows = await connection.fetch(
        "select number from toy_order where number in ('S1', 'S2') order by placed_at"
    )
    await connection.execute("delete from toy_order where channel = 'api'")
    await connection.close()
    assert [row["number"] for row in rows] == ["S1", "S2"]


async def test_a_payload_that_breaks_a_promise_fails_after_the_write_without_running_it_again(
    shop: Shop, toy_url: str
) -> None:
    text = 'mutation { orderPlace(input: {number: "B1", quantities: []}) { order { broken } } }'
    answer = await shop.ask(text)
    assert answer["data"] == {"orderPlace": None}
    assert answer["errors"][0]["message"] == "Cannot return null for non-nullable field Order.broken."
    connection = await asyncpg.connect(asyncpg_dsn(toy_url))
    count = await connection.fetchval("select count(*) from toy_order where number = 'B1'")
    await connection.execute("delete from toy_order where channel = 'api'")
    await connection.close()
    assert count == 1


async def test_a_client_that_leaves_does_not_stop_its_write(shop: Shop, toy_url: str) -> None:
    text = 'mutation { orderPlace(input: {number: "L1", quantities: []}) { order { number } } }'
    task = asyncio.create_task(shop.ask(text))
    await asyncio.sleep(0.001)
    task.cancel()
    connection = await asyncpg.connect(asyncpg_dsn(toy_url))
    for _ in range(100):
        if await connection.fetchval("select count(*) from toy_order where number = 'L1'"):
            break
        await asyncio.sleep(0.02)
    else:
        raise AssertionError("the write was lost")
    await asyncio.sleep(0.05)
    await connection.execute("delete from toy_order where channel = 'api'")
    await connection.close()
