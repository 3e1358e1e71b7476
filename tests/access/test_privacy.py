"""A customer's personal data: all of it exported, all of it erased, and none of it in events or in the audit."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa

from app.auth import customer, guest
from db.orders import OrderLine
from domain.access import Principal
from domain.ids import format_id
from domain.order_commands import Address
from domain.return_commands import DeclineReturn, RequestReturn, ReturnUnits
from domain.returns import ReturnReason
from domain.shipments import CarrierEventKind
from services.return_requests import request_return
from services.returns import decline_return
from tests.fulfillment.steps import accepted, ship
from tests.invariants import assert_invariants
from tests.returns.steps import requested
from tests.serving import Api, served
from tests.shipments.test_deliveries import report, scan
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


ERASE_ORDER = """
mutation ($id: ID!, $key: String!) {
  orderErasePersonalData(id: $id, idempotencyKey: $key) {
    order { id email phone shippingAddress { name line1 city countryCode } note }
    userErrors { code message field }
  }
}
"""
EXPORT_ORDER = """
mutation ($id: ID!) { orderExportPersonalData(id: $id) { export { document } userErrors { code field } } }
"""


async def bought_as_guest(world: World, tracking: str = MARK) -> Any:
    """An order without a customer that was delivered, partly sent back and declined, with texts everywhere."""
    address = Address(name=MARK, line1=f"{MARK} Street 1", city=MARK, postal_code="1", country_code="BR")
    order_id = await world.place(
        (next(iter(world.products)), 2), customer_id=None, email=f"{MARK}@example.com", phone=f"+1 {MARK}",
        note=f"for {MARK}", shipping_address=address, billing_address=address, metadata={"gift": MARK},
    )  # fmt: skip
    async with world.engine.begin() as session:
        engraved = sa.update(OrderLine).where(OrderLine.order_id == order_id)
        await session.execute(engraved.values(metadata_={"engraved": MARK}))
    here = next(iter(world.locations))
    await ship(world, await accepted(world, order_id, here), location=here, tracking=tracking)
    await report(
        world,
        *(
            replace(
                scan(f"{order_id}-{number}", kind, number, tracking=tracking),
                place=MARK,
                description=f"to {MARK}",
            )
            for number, kind in enumerate((CarrierEventKind.PICKED_UP, CarrierEventKind.DELIVERED))
        ),
    )
    line = (await world.lines(order_id))[0]
    units = (ReturnUnits(order_line_id=line.id, quantity=1, reason=ReturnReason.DOES_NOT_FIT, note=MARK),)
    return_id = await world.run(request_return, RequestReturn(order_id=order_id, lines=units, note=MARK))
    await world.run(decline_return, DeclineReturn(return_id=return_id, reason=f"not from {MARK}"))
    return order_id


async def test_whoever_bought_as_a_guest_is_exported_and_goes_from_every_table(
    api: Api, world: World
) -> None:
    order_id = await bought_as_guest(world)
    other = await bought_as_guest(
        await make_world(world.engine, {"b": 10}, locations=("b",), prices="b"), f"another {MARK}"
    )
    id = {"id": f"ord_{order_id}"}
    held = {
        "carrier_event", "order_line", "orders", "package", "return_line", "returns",
    }  # fmt: skip
    assert set(await marked(world)) == held
    document = (await api.did(STAFF, EXPORT_ORDER, id))["export"]["document"]
    assert (len(document["orders"]), len(document["returns"])) == (1, 1)
    assert json.dumps(document).count(MARK) >= 15
    assert str(other) not in json.dumps(document)
    shown = f'{{ order(id: "ord_{order_id}") {{ number status currentTotal {{ amount }} timeline {{ totalCount }} }} }}'
    before = await api.data(STAFF, shown)
    payload = await api.did(STAFF, ERASE_ORDER, {**id, "key": "erase"})
    assert payload["order"] == {
        **id, "email": None, "phone": None, "note": None,
        "shippingAddress": {"name": None, "line1": None, "city": None, "countryCode": "BR"},
    }  # fmt: skip
    assert set(await marked(world)) == held  # the other order's
    await api.did(STAFF, ERASE_ORDER, {"id": f"ord_{other}", "key": "other"})
    assert await marked(world) == []
    before["order"]["timeline"]["totalCount"] += 1
    assert await api.data(STAFF, shown) == before
    assert (await world.event_types(order_id))[-1] == "ORDER_UPDATED"
    found = await api.data(STAFF, f'{{ orders(filter: {{search: "{MARK}"}}) {{ totalCount }} }}')
    assert found == {"orders": {"totalCount": 0}}
    await assert_invariants(world.engine)
    assert await api.did(STAFF, ERASE_ORDER, {**id, "key": "erase"}) == payload
    entries = await api.data(STAFF, "{ auditEntries { nodes { action entityId } } }")
    assert [entry["action"] for entry in entries["auditEntries"]["nodes"][:3]] == [
        "orderErasePersonalData", "orderErasePersonalData", "orderExportPersonalData",
    ]  # fmt: skip


async def test_no_order_is_erased_while_it_is_open_or_a_return_of_it(api: Api, world: World) -> None:
    placed = await world.place(("a", 1), customer_id=None, email="a@example.com")
    delivered = await world.place(("a", 1), customer_id=None, email="a@example.com")
    await ship(world, await accepted(world, delivered))
    await report(world, scan("1", CarrierEventKind.DELIVERED, 1))
    asked = await requested(world, delivered, 1)
    for order_id, named in ((placed, None), (delivered, format_id("ret", asked))):
        answer = await api.data(STAFF, ERASE_ORDER, {"id": f"ord_{order_id}", "key": str(order_id)})
        payload = answer["orderErasePersonalData"]
        assert payload["order"] is None
        assert [(error["code"], error["field"]) for error in payload["userErrors"]] == [
            ("INVALID_INPUT", ["id"])
        ]
        assert (named or (await world.order(order_id)).number) in payload["userErrors"][0]["message"]
        assert (await world.order(order_id)).email == "a@example.com"


async def test_only_unbounded_staff_export_and_erase_orders(api: Api, world: World) -> None:
    order_id = await bought_as_guest(world)
    bounded = Principal(kind=STAFF.kind, account="staff:b", scopes=STAFF.scopes, channels=(world.channel_id,))
    for mutation, variables in ((EXPORT_ORDER, {}), (ERASE_ORDER, {"key": "e"})):
        for caller in (world.partner, guest(order_id)):
            answer = await api.answer(caller, mutation, {"id": f"ord_{order_id}", **variables})
            assert answer["errors"][0]["extensions"]["code"] == "FORBIDDEN"
        (payload,) = (await api.data(bounded, mutation, {"id": f"ord_{order_id}", **variables})).values()
        assert len(payload["userErrors"]) == 1
        (never,) = (await api.data(STAFF, mutation, {"id": f"ord_{uuid4()}", **variables})).values()
        assert [error["code"] for error in never["userErrors"]] == ["NOT_FOUND"]
    assert (await world.order(order_id)).email == f"{MARK}@example.com"


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
