"""A customer's personal data: all of it exported, all of it erased, and none of it in events or in the audit."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import sqlalchemy as sa

from app.auth import customer
from domain.access import Principal
from domain.order_commands import Address
from tests.invariants import assert_invariants
from tests.serving import Api, served
from tests.world import STAFF, World, make_world

MARK = "Zaphod"
"""Stands in every text that a person may write or be written about with."""

ERASE = """
mutation ($id: ID!, $key: String!) {
  customerErase(id: $id, idempotencyKey: $key) {
    customer { id name email phone erasedAt } userErrors { code message field }
  }
}
"""
EXPORT = "mutation ($id: ID!) { customerExport(id: $id) { export { document } userErrors { code field } } }"


@pytest.fixture
async def api(database_url: str) -> AsyncIterator[Api]:
    async with served(database_url, workers=False) as served_api:
        yield served_api


@pytest.fixture
async def world(engine: Any) -> World:
    return await make_world(engine, {"a": 10})


async def lived(world: World, api: Api) -> Any:
    """A customer full of texts, with an order full of texts that was cancelled; the order's id."""
    address = Address(
        name=f"{MARK} B.", line1=f"{MARK} Street 1", city=MARK, postal_code="1", country_code="BR"
    )
    order_id = await world.place(
        ("a", 2), customer_id=world.customer_id, email=f"{MARK}@example.com", phone=f"+1 {MARK}",
        note=f"for {MARK}", shipping_address=address, metadata={"gift": MARK},
    )  # fmt: skip
    await api.did(
        STAFF,
        """
        mutation ($input: CustomerUpsertInput!) {
          customerUpsert(input: $input, idempotencyKey: "full") { customer { id } userErrors { code message } }
        }
        """,
        {
            "input": {
                "id": f"cus_{world.customer_id}", "name": MARK, "email": f"{MARK}@example.com", "phone": MARK,
                "address": {"name": MARK, "line1": MARK, "city": MARK, "countryCode": "BR"},
                "metadata": {"about": MARK}, "privateMetadata": {"about": MARK},
                "externalIds": [{"system": "crm", "id": MARK}],
            }
        },
    )  # fmt: skip
    hold = (
        'mutation ($id: ID!) { orderHold(input: {orderId: $id, reason: ADDRESS, note: "%s"}) '
        "{ userErrors { code message } } }"
    )
    await api.did(STAFF, hold % MARK, {"id": f"ord_{order_id}"})
    cancel = (
        'mutation ($id: ID!) { orderCancel(input: {orderId: $id, reason: "%s"}, idempotencyKey: "c") '
        "{ userErrors { code message } } }"
    )
    await api.did(STAFF, cancel % MARK, {"id": f"ord_{order_id}"})
    return order_id


async def marked(world: World) -> list[str]:
    """The tables in which the mark stands."""
    async with world.engine.begin() as session:
        tables = (
            (
                await session.execute(
                    sa.text("select table_name from information_schema.tables where table_schema = 'public'")
                )
            )
            .scalars()
            .all()
        )
        found = []
        for table in tables:
            count = await session.scalar(
                sa.text(f'select count(*) from "{table}" t where t::text ilike :mark'), {"mark": f"%{MARK}%"}
            )
            if count:
                found.append(str(table))
        return sorted(found)


async def test_everything_that_is_kept_of_a_person_is_exported(api: Api, world: World) -> None:
    order_id = await lived(world, api)
    payload = await api.did(STAFF, EXPORT, {"id": f"cus_{world.customer_id}"})
    document = payload["export"]["document"]
    assert document["customer"]["email"] == f"{MARK}@example.com"
    assert {name["external_id"] for name in document["external_ids"]} == {"ada", MARK}
    (order,) = document["orders"]
    assert order["id"] == str(order_id)
    assert order["shipping_address"]["line1"] == f"{MARK} Street 1"
    assert [line["sku"] for line in order["lines"]] == ["a"]
    assert "token" not in order["payments"][0]
    entries = await api.data(STAFF, "{ auditEntries { nodes { action entityId } } }")
    assert entries["auditEntries"]["nodes"][0] == {
        "action": "customerExport", "entityId": str(world.customer_id),
    }  # fmt: skip


async def test_the_person_goes_from_every_table_and_the_order_stays(api: Api, world: World) -> None:
    order_id = await lived(world, api)
    assert {"customer", "orders", "order_hold", "external_id"} <= set(await marked(world))
    before = await api.data(
        STAFF, f'{{ order(id: "ord_{order_id}") {{ number status currentTotal {{ amount }} }} }}'
    )
    payload = await api.did(STAFF, ERASE, {"id": f"cus_{world.customer_id}", "key": "erase"})
    assert payload["customer"]["name"] == "Erased"
    assert payload["customer"]["erasedAt"] is not None
    assert payload["customer"]["email"] is payload["customer"]["phone"] is None
    assert await marked(world) == []
    after = await api.data(
        STAFF, f'{{ order(id: "ord_{order_id}") {{ number status currentTotal {{ amount }} }} }}'
    )
    assert after == before
    shown = await api.data(
        STAFF, f'{{ order(id: "ord_{order_id}") {{ shippingAddress {{ line1 countryCode }} }} }}'
    )
    assert shown["order"]["shippingAddress"] == {"line1": None, "countryCode": "BR"}
    await assert_invariants(world.engine)
    again = await api.did(STAFF, ERASE, {"id": f"cus_{world.customer_id}", "key": "erase"})
    assert again == payload
    twice = (await api.data(STAFF, ERASE, {"id": f"cus_{world.customer_id}", "key": "x"}))["customerErase"]
    assert [error["code"] for error in twice["userErrors"]] == ["INVALID_INPUT"]


async def test_neither_events_nor_the_audit_nor_keys_ever_held_the_person(api: Api, world: World) -> None:
    await lived(world, api)
    kept = set(await marked(world))
    assert not kept & {"outbox", "event_log", "audit_entry", "idempotency_key", "stock_movement"}


async def test_nobody_is_erased_while_an_order_is_open(api: Api, world: World) -> None:
    order_id = await world.place(("a", 1), customer_id=world.customer_id)
    payload = (await api.data(STAFF, ERASE, {"id": f"cus_{world.customer_id}", "key": "e"}))["customerErase"]
    assert payload["customer"] is None
    assert [(error["code"], error["field"]) for error in payload["userErrors"]] == [("INVALID_INPUT", ["id"])]
    shown = await api.data(STAFF, f'{{ order(id: "ord_{order_id}") {{ number customer {{ name }} }} }}')
    assert shown["order"]["number"] in payload["userErrors"][0]["message"]
    assert shown["order"]["customer"]["name"] == "Ada Lovelace"


async def test_only_unbounded_staff_export_and_erase(api: Api, world: World) -> None:
    for caller in (world.partner, customer(world.customer_id)):
        for mutation, variables in ((EXPORT, {}), (ERASE, {"key": "e"})):
            answer = await api.answer(caller, mutation, {"id": f"cus_{world.customer_id}", **variables})
            assert answer["errors"][0]["extensions"]["code"] == "FORBIDDEN"
    bounded = Principal(kind=STAFF.kind, account="staff:b", scopes=STAFF.scopes, channels=(world.channel_id,))
    payload = (await api.data(bounded, EXPORT, {"id": f"cus_{world.customer_id}"}))["customerExport"]
    assert (payload["export"], len(payload["userErrors"])) == (None, 1)
    assert json.dumps(payload).find("Ada") == -1
