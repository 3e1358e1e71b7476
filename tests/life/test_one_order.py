"""One order's whole life, through a served process over HTTP and WebSocket, as its users live it.

The process is `oms up` on an empty data directory; everything from the first
channel to the closed return goes through its API.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
import websockets

from app.auth import customer, development_token, guest, partner, staff
from app.development import secret_of
from bench.ports import free_port
from domain.access import Principal
from domain.ids import parse_id

ROOT = Path(__file__).parents[2]
OMS = Path(sys.executable).parent / "oms"


@dataclass(slots=True)
class Process:
    """A running `oms up`, and clients of it."""

    base: str
    directory: Path
    http: httpx2.AsyncClient

    def token(self, caller: Principal) -> str:
        return development_token(secret_of(self.directory), caller)

    async def ask(self, caller: Principal, query: str, **variables: Any) -> dict[str, Any]:
        response = await self.http.post(
            "/graphql",
            json={"query": query, "variables": variables},
            headers={"authorization": f"Bearer {self.token(caller)}"},
        )
        body: dict[str, Any] = response.json()
        assert "errors" not in body, body["errors"]
        data: dict[str, Any] = body["data"]
        return data

    async def do(self, caller: Principal, name: str, selection: str, **arguments: Any) -> dict[str, Any]:
        """Call one mutation by name; its input type's name follows from it."""
        types = {
            "input": f"{name[0].upper()}{name[1:]}Input!",
            "id": "ID!",
            "events": "[CarrierEventInput!]!",
            "key": "String!",
        }
        given = {k: v for k, v in arguments.items() if k in types}
        header = ", ".join(f"${k}: {types[k]}" for k in given)
        called = ", ".join(f"{'idempotencyKey' if k == 'key' else k}: ${k}" for k in given)
        query = (
            f"mutation({header}) {{ {name}({called}) {{ {selection} "
            "userErrors { __typename code message field } } }"
        )
        payload: dict[str, Any] = (await self.ask(caller, query, **given))[name]
        assert payload["userErrors"] == [], payload["userErrors"]
        return payload

    async def until(
        self, caller: Principal, query: str, holds: Callable[[dict[str, Any]], bool], **variables: Any
    ) -> dict[str, Any]:
        """Ask until the answer holds: background work takes a moment."""
        for _ in range(200):
            data = await self.ask(caller, query, **variables)
            if holds(data):
                return data
            await asyncio.sleep(0.1)
        raise AssertionError(f"never came true; last: {data}")


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[str, Path]]:
    """`oms up` without demo data on a directory of its own."""
    with tempfile.TemporaryDirectory(prefix="oms-life-") as name:
        directory = Path(name) / "data"
        Path(name).chmod(0o755)
        port = free_port()
        environment = {k: v for k, v in os.environ.items() if not k.startswith("OMS_")}
        with (Path(name) / "log").open("wb") as log:
            process = subprocess.Popen(
                [OMS, "up", "--no-demo", "--data", directory, "--port", str(port)],
                cwd=ROOT,
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        base = f"http://127.0.0.1:{port}"
        try:
            for _ in range(600):
                assert process.poll() is None, (Path(name) / "log").read_text()[-4000:]
                try:
                    if httpx2.get(f"{base}/readyz", timeout=1).status_code == 200:
                        break
                except httpx2.HTTPError:
                    pass
                time.sleep(0.1)
            yield base, directory
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


@pytest.fixture
async def oms(running: tuple[str, Path]) -> AsyncIterator[Process]:
    base, directory = running
    async with httpx2.AsyncClient(base_url=base, timeout=30) as http:
        yield Process(base, directory, http)


@dataclass(slots=True)
class Portal:
    """What a customer's screen has been told."""

    events: list[dict[str, Any]] = field(default_factory=list)

    def statuses(self) -> list[str]:
        """The order's own statuses, in the order they came."""
        return [
            event["toStatus"]
            for event in self.events
            if event["subjectKind"] == "ORDER" and event["toStatus"]
        ]


@asynccontextmanager
async def portal(oms: Process, caller: Principal, order_id: str, after: str) -> AsyncIterator[Portal]:
    """A customer's portal that follows one order over graphql-transport-ws."""
    seen = Portal()
    url = oms.base.replace("http", "ws", 1) + "/graphql"
    async with websockets.connect(
        url, subprotocols=[websockets.Subprotocol("graphql-transport-ws")]
    ) as socket_:
        await socket_.send(
            json.dumps(
                {"type": "connection_init", "payload": {"authorization": f"Bearer {oms.token(caller)}"}}
            )
        )
        assert json.loads(await socket_.recv())["type"] == "connection_ack"
        query = (
            "subscription($id: ID!, $after: String) { orderEvents(orderId: $id, after: $after) "
            "{ cursor version type subjectKind fromStatus toStatus order { status } } }"
        )
        variables = {"id": order_id, "after": after}
        await socket_.send(
            json.dumps({"id": "1", "type": "subscribe", "payload": {"query": query, "variables": variables}})
        )

        async def listen() -> None:
            async for text in socket_:
                message = json.loads(text)
                assert message["type"] in ("next", "ping"), message
                if message["type"] == "next":
                    seen.events.append(message["payload"]["data"]["orderEvents"])
                else:
                    await socket_.send(json.dumps({"type": "pong"}))

        listening = asyncio.create_task(listen())
        try:
            yield seen
        finally:
            listening.cancel()


async def test_one_order_lives_from_a_partners_mutation_to_a_customers_screen(oms: Process) -> None:
    back_office = staff()

    # Master data, as an ERP and a shop feed it.
    location = (
        await oms.do(
            back_office,
            "locationUpsert",
            "location { id }",
            input={"code": "BER", "name": "Berlin", "kind": "WAREHOUSE"},
        )
    )["location"]["id"]
    channel = (
        await oms.do(
            back_office,
            "channelUpsert",
            "channel { id }",
            input={
                "code": "MARKET",
                "name": "The marketplace",
                "kind": "MARKETPLACE",
                "currencyCode": "EUR",
                "pricingAuthority": "PARTNER",
                "pricesIncludeTax": False,
                "collectedBy": "MERCHANT",
                "releaseGate": "AUTHORIZED",
                "locations": [{"locationId": location}],
            },
        )
    )["channel"]["id"]
    for sku, backorderable in (("TEA", False), ("CUP", True)):
        await oms.do(
            back_office,
            "productUpsert",
            "product { id }",
            input={"sku": sku, "name": sku.title(), "backorderable": backorderable},
        )
    for sku, quantity in (("TEA", 10), ("CUP", 1)):
        await oms.do(
            back_office,
            "stockReceive",
            "stockLevel { sellable }",
            input={"sku": sku, "locationCode": "BER", "quantity": quantity},
            key=f"receive-{sku}",
        )
    market = partner("partner:market", channels=(parse_id(channel),))
    warehouse = partner("partner:warehouse", locations=(parse_id(location),))
    carrier = partner("partner:carrier")
    buyer = (
        await oms.do(
            market,
            "customerUpsert",
            "customer { id }",
            input={
                "name": "Ada Lovelace",
                "email": "ada@example.com",
                "externalIds": [{"system": "market", "id": "ada"}],
            },
            key="ada",
        )
    )["customer"]["id"]
    head = (await oms.ask(back_office, "{ eventHead }"))["eventHead"]

    # 1. A marketplace partner places an order of three lines, one SKU on two of them.
    order = {
        "channelId": channel,
        "currencyCode": "EUR",
        "customerId": buyer,
        "externalIds": [{"system": "market", "id": "M-1001"}],
        "lines": [
            {"sku": "TEA", "quantity": 2, "unitPrice": "5.00"},
            {"sku": "CUP", "quantity": 2, "unitPrice": "8.00"},
            {"sku": "TEA", "quantity": 1, "unitPrice": "5.00"},
        ],
        "shipping": [{"amount": "4.00", "label": "Parcel"}],
        "stated": {"total": "35.00"},
        "payment": {"method": "CARD", "token": APPROVED},
    }
    shown = (
        "order { id status originalTotal { amount } lines { id sku quantityAllocated quantityBackordered } }"
    )
    placed = (await oms.do(market, "orderPlace", shown, input=order, key="M-1001"))["order"]
    assert placed["originalTotal"] == {"amount": "35.00"}
    units = [(one["sku"], one["quantityAllocated"], one["quantityBackordered"]) for one in placed["lines"]]
    assert units == [("TEA", 2, 0), ("CUP", 1, 1), ("TEA", 1, 0)]
    again = (await oms.do(market, "orderPlace", shown, input=order, key="M-1001"))["order"]
    assert again["id"] == placed["id"]
    order_id = placed["id"]
    short = await oms.ask(
        market,
        'mutation($input: OrderPlaceInput!) { orderPlace(input: $input, idempotencyKey: "short") { order { id } '
        "userErrors { code ... on InsufficientStock { sku requested available } } } }",
        input={
            **order,
            "externalIds": [],
            "stated": None,
            "lines": [{"sku": "TEA", "quantity": 9, "unitPrice": "5.00"}],
        },
    )
    assert short["orderPlace"] == {
        "order": None,
        "userErrors": [{"code": "INSUFFICIENT_STOCK", "sku": "TEA", "requested": 9, "available": 7}],
    }

    # 6. From now on the customer's portal follows, with a token for this order alone.
    async with portal(oms, guest(parse_id(order_id)), order_id, head) as screen:
        # 2. A job asks the provider; the authorisation meets the gate.
        state = (
            "query($id: ID!) { order(id: $id) { status paymentStatus payments { id status } "
            "fulfillmentOrders { id status lines { id quantity orderLine { id sku } } } "
            "shipments { id status packages { id deliveryStatus } } } }"
        )
        confirmed = (
            await oms.until(market, state, lambda d: d["order"]["fulfillmentOrders"] != [], id=order_id)
        )["order"]
        assert (confirmed["status"], confirmed["paymentStatus"]) == ("CONFIRMED", "AUTHORIZED")

        # 3. The warehouse accepts, picks, packs, ships; the backordered cup arrives and ships later.
        first = confirmed["fulfillmentOrders"][0]["id"]
        await oms.do(
            warehouse,
            "fulfillmentOrderAccept",
            "fulfillmentOrder { status }",
            id=first,
            key="accept-1",
        )
        shipment = (
            await oms.do(
                warehouse,
                "shipmentCreate",
                "shipment { id status }",
                input={"fulfillmentOrderId": first},
                key="create-1",
            )
        )["shipment"]["id"]
        await oms.do(
            warehouse,
            "shipmentStartPicking",
            "shipment { status }",
            id=shipment,
            key="pick-1",
        )
        await oms.do(
            warehouse,
            "shipmentPack",
            "shipment { status }",
            input={
                "shipmentId": shipment,
                "carrier": "DHL",
                "packages": [{"trackingNumber": "T1", "carrier": "DHL", "weightGrams": 900}],
            },
            key="pack-1",
        )
        await oms.do(
            warehouse, "shipmentDispatch", "shipment { status }", input={"shipmentId": shipment}, key="ship-1"
        )
        await oms.do(
            back_office,
            "stockReceive",
            "stockLevel { sellable }",
            input={"sku": "CUP", "locationCode": "BER", "quantity": 5},
            key="more-cups",
        )
        replenished = (
            await oms.until(market, state, lambda d: len(d["order"]["fulfillmentOrders"]) == 2, id=order_id)
        )["order"]
        second = next(one for one in replenished["fulfillmentOrders"] if one["id"] != first)["id"]
        await oms.do(
            warehouse,
            "shipmentDispatch",
            "shipment { status }",
            input={
                "fulfillmentOrderId": second,
                "carrier": "DHL",
                "packages": [{"trackingNumber": "T2", "carrier": "DHL"}],
            },
            key="ship-2",
        )
        captured = "query($id: ID!) { order(id: $id) { paymentStatus receivedTotal { amount } } }"
        await oms.until(
            market, captured, lambda d: d["order"]["receivedTotal"]["amount"] == "35.00", id=order_id
        )

        # 4. The carrier reports, twice and out of order.
        scans = [
            ("T1", "e3", "DELIVERED", "2026-01-03T10:00:00Z"),
            ("T1", "e1", "PICKED_UP", "2026-01-01T10:00:00Z"),
            ("T1", "e2", "OUT_FOR_DELIVERY", "2026-01-03T08:00:00Z"),
            ("T1", "e3", "DELIVERED", "2026-01-03T10:00:00Z"),
            ("T2", "f1", "DELIVERED", "2026-01-04T10:00:00Z"),
        ]
        for number in range(2):
            await oms.do(
                carrier,
                "carrierEventsRecord",
                "results { index userErrors { code message } }",
                events=[
                    {
                        "trackingNumber": tracking,
                        "carrier": "DHL",
                        "partnerEventId": event,
                        "kind": kind,
                        "occurredAt": at,
                    }
                    for tracking, event, kind, at in scans
                ],
                key=f"scans-{number}",
            )
        done = (await oms.ask(market, state, id=order_id))["order"]
        assert done["status"] == "COMPLETED"
        assert {one["packages"][0]["deliveryStatus"] for one in done["shipments"]} == {"DELIVERED"}

        # 5. One unit comes back: restocked, refunded, closed.
        tea = placed["lines"][0]["id"]
        me = customer(parse_id(buyer))
        asked = (
            await oms.do(
                me,
                "returnRequest",
                "return { id status lines { id } }",
                input={
                    "orderId": order_id,
                    "lines": [{"orderLineId": tea, "quantity": 1, "reason": "NO_LONGER_WANTED"}],
                },
                key="back-1",
            )
        )["return"]
        await oms.do(
            back_office,
            "returnApprove",
            "return { status }",
            input={"returnId": asked["id"]},
            key="approve-1",
        )
        line = asked["lines"][0]["id"]
        await oms.do(
            warehouse,
            "returnReceive",
            "return { status }",
            input={"returnId": asked["id"], "lines": [{"returnLineId": line, "quantity": 1}]},
            key="receive-1",
        )
        await oms.do(
            warehouse,
            "returnInspect",
            "return { status }",
            input={
                "returnId": asked["id"],
                "lines": [{"returnLineId": line, "accepted": 1, "rejected": 0, "disposition": "RESTOCK"}],
            },
            key="inspect-1",
        )
        closed = await oms.until(
            me,
            "query($id: ID!, $order: ID!) { return(id: $id) { status customerStatus } "
            "order(id: $order) { returnStatus paymentStatus refundedTotal { amount } balance { amount } } }",
            lambda d: d["return"]["status"] == "CLOSED",
            id=asked["id"],
            order=order_id,
        )
        assert closed["return"]["customerStatus"] == "REFUNDED"
        assert closed["order"]["refundedTotal"] == {"amount": "5.00"}
        assert closed["order"]["balance"] == {"amount": "0.00"}
        level = await oms.ask(
            back_office, '{ stockLevels(filter: {skus: ["TEA"]}) { nodes { sellable allocated } } }'
        )
        assert level["stockLevels"]["nodes"] == [{"sellable": 8, "allocated": 0}]

        # 6. The portal saw every status in order, and every event once.
        timeline = await oms.ask(
            guest(parse_id(order_id)),
            "query($id: ID!) { order(id: $id) { timeline(first: 100) { nodes { version } } } }",
            id=order_id,
        )
        versions = [node["version"] for node in timeline["order"]["timeline"]["nodes"]]
        for _ in range(100):
            if len(screen.events) >= len(versions):
                break
            await asyncio.sleep(0.05)
        assert [event["version"] for event in screen.events] == versions
        assert screen.statuses() == ["PENDING", "CONFIRMED", "PROCESSING", "COMPLETED"]

    checked = subprocess.run(  # noqa: ASYNC221 - the life is over
        [OMS, "check", "--data", oms.directory], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


APPROVED = "4242424242424242"
