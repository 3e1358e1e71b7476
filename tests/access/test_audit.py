"""The audit: every call of a mutation, written with what it did, never changed again."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import sqlalchemy as sa

from app.auth import customer
from db.audit import AuditEntry
from db.engine import asyncpg_dsn
from db.orders import Order
from domain.access import Principal, Scope
from tests.access.sockets import opened
from tests.serving import Api, served
from tests.world import STAFF, World, make_world

LIST = """
query ($filter: AuditFilter) {
  auditEntries(filter: $filter) {
    totalCount
    nodes { account kind credential action outcome error entityId address requestId }
  }
}
"""


@pytest.fixture
async def api(database_url: str) -> AsyncIterator[Api]:
    async with served(database_url, workers=False) as served_api:
        yield served_api


@pytest.fixture
async def world(engine: Any) -> World:
    return await make_world(engine, {"a": 10})


CANCEL = """
mutation ($id: ID!) { orderCancel(input: {orderId: $id}, idempotencyKey: "cancel") { userErrors { code } } }
"""


async def cancel(api: Api, caller: Principal, order_id: Any, **headers: str) -> list[str]:
    """The codes of its user errors."""
    response = await api.http.post(
        "/graphql",
        json={"query": CANCEL, "variables": {"id": f"ord_{order_id}"}},
        headers={"authorization": f"Bearer {api.token(caller)}", **headers},
    )
    return [error["code"] for error in response.json()["data"]["orderCancel"]["userErrors"]]


async def entries(world: World) -> list[Any]:
    return await world.all(sa.select(AuditEntry.__table__).order_by(AuditEntry.id))


async def test_a_call_is_recorded_with_who_what_where_when_and_which_request(api: Api, world: World) -> None:
    order_id = await world.place(("a", 1))
    assert await cancel(api, world.partner, order_id, **{"x-request-id": "request-7"}) == []
    (entry,) = await entries(world)
    assert (entry.account, entry.kind, entry.action, entry.outcome, entry.error) == (
        world.partner.account, "PARTNER", "orderCancel", "DONE", None,
    )  # fmt: skip
    assert (entry.entity_id, entry.address, entry.request_id) == (order_id, "127.0.0.1", "request-7")
    cancelled_at = await world.one(sa.select(Order.cancelled_at))
    assert entry.occurred_at == cancelled_at[0]


async def test_a_repeated_call_is_recorded_once(api: Api, world: World) -> None:
    order_id = await world.place(("a", 1))
    for _ in range(3):
        assert await cancel(api, STAFF, order_id) == []
    assert len(await entries(world)) == 1


async def test_a_refused_call_is_recorded_a_moment_later(api: Api, world: World) -> None:
    order_id = await world.place(("a", 1))
    assert await cancel(api, STAFF, order_id) == []
    payload = await api.data(
        STAFF,
        "mutation ($id: ID!) { orderHold(input: {orderId: $id, reason: FRAUD_REVIEW}) { userErrors { code } } }",
        {"id": f"ord_{order_id}"},
    )
    (error,) = payload["orderHold"]["userErrors"]
    for _ in range(50):
        if len(await entries(world)) == 2:
            break
        await asyncio.sleep(0.1)
    refused = (await entries(world))[1]
    assert (refused.action, refused.outcome, refused.error) == ("orderHold", "REFUSED", error["code"])
    assert refused.entity_id is None


async def refusals(world: World, count: int) -> list[Any]:
    """Once so many have been written."""
    for _ in range(50):
        found = [entry for entry in await entries(world) if entry.outcome == "REFUSED"]
        if len(found) >= count:
            break
        await asyncio.sleep(0.1)
    return found


@pytest.mark.parametrize("by_socket", [False, True])
async def test_a_call_without_the_scope_is_recorded_too(api: Api, world: World, by_socket: bool) -> None:
    query = """
    mutation ($id: ID!, $skip: Boolean! = true) {
      tokenRevoke(input: {subject: "staff:test"}) { userErrors { code } }
      orderCancel(input: {orderId: $id}, idempotencyKey: "c") { userErrors { code } }
      skipped: orderHold(input: {orderId: $id, reason: ADDRESS}) @skip(if: $skip) { userErrors { code } }
    }
    """
    variables = {"id": f"ord_{await world.place(('a', 1))}"}
    before = await world.one(sa.select(Order.__table__))
    if by_socket:
        async with opened(api, api.token(world.partner)) as socket:
            await socket.send(
                {"type": "subscribe", "id": "1", "payload": {"query": query, "variables": variables}}
            )
            (error,) = (await socket.receive())["payload"]
    else:
        (error,) = (await api.answer(world.partner, query, variables))["errors"]
    assert error["extensions"]["code"] == "FORBIDDEN"
    recorded = await refusals(world, 2)
    assert [(entry.action, entry.error) for entry in recorded] == [
        ("tokenRevoke", "FORBIDDEN"), ("orderCancel", "FORBIDDEN"),
    ]  # fmt: skip
    assert {(entry.account, entry.address) for entry in recorded} == {(world.partner.account, "127.0.0.1")}
    assert all(entry.request_id and entry.entity_id is None for entry in recorded)
    assert await world.one(sa.select(Order.__table__)) == before


async def test_a_payload_that_may_not_be_read_refuses_the_call_before_it_does_anything(
    api: Api, world: World
) -> None:
    caller = Principal(
        kind=STAFF.kind, account="staff:clerk", scopes=STAFF.scopes - {Scope.CUSTOMERS_CONTACT}
    )
    query = """
    mutation ($size: Int, $key: String! = "k") {
      customerUpsert(input: {name: "Zed"}, idempotencyKey: $key) {
        customer { ...shown orders(first: $size) { totalCount } } userErrors { code }
      }
    }
    fragment shown on Customer { %s }
    """
    for given in ({}, {"size": 20}):
        (error,) = (await api.answer(caller, query % "email", given))["errors"]
        assert (error["extensions"]["code"], error["message"]) == (
            "FORBIDDEN", "Customer.email needs the scope customers:contact.",
        )  # fmt: skip
    count = "{ customers { totalCount } }"
    for size in (-1, 101):
        (error,) = (await api.answer(STAFF, query % "name", {"size": size}))["errors"]
        assert error["extensions"]["code"] == "BAD_USER_INPUT"
        assert (await api.data(STAFF, count))["customers"]["totalCount"] == 1
    for size in range(1, 12):  # beyond eight sizes one plan serves any
        await api.did(STAFF, query % "name", {"size": size})
    (error,) = (await api.answer(STAFF, query % "name", {"size": 101, "key": "other"}))["errors"]
    assert error["extensions"]["code"] == "BAD_USER_INPUT"
    assert (await api.data(STAFF, count))["customers"]["totalCount"] == 2
    assert [(entry.action, entry.account) for entry in await refusals(world, 2)] == [
        ("customerUpsert", caller.account)
    ] * 2


async def test_a_query_without_the_scope_is_no_call(api: Api, world: World) -> None:
    answer = await api.answer(world.partner, "{ auditEntries { totalCount } }")
    assert answer["errors"][0]["extensions"]["code"] == "FORBIDDEN"
    await api.answer(world.partner, 'mutation { tokenRevoke(input: {subject: "x"}) { userErrors { code } } }')
    assert [entry.action for entry in await refusals(world, 1)] == ["tokenRevoke"]


async def test_staff_read_it_by_account_entity_action_outcome_and_time(api: Api, world: World) -> None:
    first, second = await world.place(("a", 1)), await world.place(("a", 1))
    assert await cancel(api, STAFF, first) == []
    assert await cancel(api, world.partner, second) == []
    for given, count in (
        (None, 2),
        ({"accounts": [STAFF.account]}, 1),
        ({"entities": [f"ord_{first}"]}, 1),
        ({"entities": [str(first), f"ord_{second}"]}, 2),
        ({"entities": ["x", "ord_x", ""]}, 0),
        ({"actions": ["orderCancel"]}, 2),
        ({"actions": ["orderPlace"]}, 0),
        ({"outcome": ["DONE"], "occurredFrom": "2020-01-01T00:00:00Z"}, 2),
        ({"occurredBefore": "2020-01-01T00:00:00Z"}, 0),
        ({"occurredFrom": "2020-01-01T00:00:00Z", "occurredBefore": "2200-01-01T00:00:00Z"}, 2),
    ):
        found = (await api.data(STAFF, LIST, {"filter": given}))["auditEntries"]
        assert found["totalCount"] == count, given
    assert found["nodes"][0]["account"] == world.partner.account


@pytest.mark.parametrize(
    "change", ["update audit_entry set account = 'nobody'", "delete from audit_entry", "truncate audit_entry"]
)
async def test_no_row_is_ever_changed(database_url: str, api: Api, world: World, change: str) -> None:
    assert await cancel(api, STAFF, await world.place(("a", 1))) == []
    connection = await asyncpg.connect(asyncpg_dsn(database_url))
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="only ever added"):
            await connection.execute(change)
        assert await connection.fetchval("select account from audit_entry") == STAFF.account
    finally:
        await connection.close()


async def test_of_customers_it_holds_their_id_and_nothing_else(api: Api, world: World) -> None:
    order_id = await world.place(("a", 1))
    await api.data(
        customer(world.customer_id),
        """
        mutation ($id: ID!) {
          returnRequest(input: {orderId: $id, lines: []}, idempotencyKey: "r") { userErrors { code } }
        }
        """,
        {"id": f"ord_{order_id}"},
    )
    for _ in range(50):
        if await entries(world):
            break
        await asyncio.sleep(0.1)
    (entry,) = await entries(world)
    assert (entry.account, entry.kind) == (f"customer:{world.customer_id}", "CUSTOMER")
    assert entry.address is None


async def test_when_the_process_is_killed_every_committed_change_has_its_entry(
    database_url: str, world: World
) -> None:
    """A process cancels orders as fast as it can and is killed in the middle, several times."""
    orders = [str(await world.place(("a", 1))) for _ in range(10)]
    for _ in range(3):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.access.cancelling", database_url, *orders,
            cwd=Path(__file__).parents[2], stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout is not None
        await process.stdout.readline()
        await asyncio.sleep(0.01)
        process.kill()
        await process.wait()
    cancelled = await world.all(sa.select(Order.id).where(Order.status == "CANCELLED"))
    done = [entry.entity_id for entry in await entries(world) if entry.outcome == "DONE"]
    assert cancelled
    assert sorted(row.id for row in cancelled) == sorted(done)
