"""Steps 3 to 5 of an order's life, all through the API as its partners call it."""

from __future__ import annotations

from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from domain.access import ALL_SCOPES, PORTAL_SCOPES, Principal, PrincipalKind, Scope
from tests.fulfillment.api import Api, serving
from tests.fulfillment.steps import CARD, settle_payments, warehouse
from tests.invariants import assert_invariants
from tests.world import STAFF, make_world

CARRIER = Principal(kind=PrincipalKind.PARTNER, account="carrier:dhl", scopes=ALL_SCOPES)

WORK = """query { fulfillmentOrders(filter: {status: [OPEN]}) { nodes {
    id status requestStatus availableActions location { code } order { number }
    lines { id quantity quantityOpen product { sku } } } } }"""
ACCEPT = """mutation ($id: ID!) { fulfillmentOrderAccept(id: $id) {
    fulfillmentOrder { status requestStatus availableActions } userErrors { code message field } } }"""
CREATE = """mutation ($input: ShipmentCreateInput!) { shipmentCreate(input: $input, idempotencyKey: "create") {
    shipment { id status lines { quantity } } userErrors { code message } } }"""
PACK = """mutation ($input: ShipmentPackInput!) { shipmentPack(input: $input) {
    shipment { status packages { weightGrams trackingNumber } } userErrors { code message } } }"""
DISPATCH = """mutation ($input: ShipmentDispatchInput!, $key: String!) {
    shipmentDispatch(input: $input, idempotencyKey: $key) {
        shipment { id status carrier shippedAt order { fulfillmentStatus } packages { id trackingNumber } }
        discrepancies { kind }
        userErrors { code message field } } }"""
RECORD = """mutation ($events: [CarrierEventInput!]!) { carrierEventsRecord(events: $events) {
    results { index carrierEvent { kind partnerEventId package { deliveryStatus shipment { deliveryStatus } } }
        userErrors { __typename code message field } }
    userErrors { code message } } }"""
REQUEST = """mutation ($input: ReturnRequestInput!) { returnRequest(input: $input, idempotencyKey: "return") {
    return { id status customerStatus availableActions lines { id quantityExpected orderLine { sku } } }
    userErrors { __typename code message field ... on QuantityExceeded { requested limit } } } }"""
APPROVE = """mutation ($input: ReturnApproveInput!) { returnApprove(input: $input) {
    return { status location { code } } userErrors { code message } } }"""
RECEIVE = """mutation ($input: ReturnReceiveInput!) { returnReceive(input: $input, idempotencyKey: "receive") {
    return { customerStatus lines { quantityReceived } } userErrors { code message } } }"""
INSPECT = """mutation ($input: ReturnInspectInput!) { returnInspect(input: $input, idempotencyKey: "inspect") {
    return { customerStatus refundAmount { amount currencyCode }
        lines { disposition quantityAccepted refundAmount { amount } } refunds { status amount { amount } } }
    userErrors { code message } } }"""
RETURN = """query ($id: ID!) { return(id: $id) { status customerStatus availableActions
    timeline { nodes { type } } order { returnStatus creditedTotal { amount } } } }"""


async def shipped(api: Api, order_id: str) -> dict[str, Any]:
    """Accepted, begun, packed and dispatched, as the warehouse of "main" does it."""
    work = warehouse(api.world)
    (todo,) = (await api.data(WORK, actor=work))["fulfillmentOrders"]["nodes"]
    assert todo["availableActions"] == [
        "fulfillmentOrderAccept",
        "fulfillmentOrderReject",
        "fulfillmentOrderHold",
        "shipmentCreate",
    ]
    assert [(line["quantity"], line["product"]["sku"]) for line in todo["lines"]] == [(3, "a")]
    accepted = await api.change(ACCEPT, {"id": todo["id"]}, work)
    assert accepted["fulfillmentOrder"]["status"] == "IN_PROGRESS"
    created = await api.change(CREATE, {"input": {"fulfillmentOrderId": todo["id"]}}, work)
    shipment_id = created["shipment"]["id"]
    packed = await api.change(
        PACK, {"input": {"shipmentId": shipment_id, "packages": [{"weightGrams": 700}]}}, work
    )
    assert packed["shipment"] == {
        "status": "PACKED",
        "packages": [{"weightGrams": 700, "trackingNumber": None}],
    }
    sent = {"shipmentId": shipment_id, "carrier": "DHL", "trackingNumber": "T1"}
    first = await api.change(DISPATCH, {"input": sent, "key": "d1"}, work)
    again = await api.change(DISPATCH, {"input": sent, "key": "d2"}, work)
    assert again == first
    assert first["discrepancies"] == []
    shipment: dict[str, Any] = first["shipment"]
    assert shipment["order"] == {"fulfillmentStatus": "FULFILLED"}
    return shipment


async def test_from_the_warehouse_to_the_refund(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 10})
    order_id = await world.place(("a", 3), payment=CARD)
    await settle_payments(world, order_id)
    async with serving(world) as api:
        await shipped(api, f"ord_{order_id}")
        await settle_payments(world, order_id)
        event = {"partnerEventId": "1", "kind": "DELIVERED", "occurredAt": "2026-11-01T10:00:00+02:00"}
        recorded = await api.change(
            RECORD,
            {
                "events": [
                    {**event, "carrier": "DHL", "trackingNumber": "T1"},
                    {**event, "carrier": "DHL", "trackingNumber": "OTHER"},
                    {**event, "packageId": "pkg_nonsense"},
                ]
            },
            CARRIER,
        )
        done, unknown, malformed = recorded["results"]
        assert done["carrierEvent"]["package"] == {
            "deliveryStatus": "DELIVERED",
            "shipment": {"deliveryStatus": "DELIVERED"},
        }
        assert [error["code"] for error in unknown["userErrors"]] == ["NOT_FOUND"]
        assert malformed["userErrors"][0]["field"] == ["events", "2", "packageId"]
        assert (await world.order(order_id)).status == "COMPLETED"

        portal = Principal(kind=PrincipalKind.GUEST, account="guest", scopes=PORTAL_SCOPES, order_id=order_id)
        (line,) = await world.lines(order_id)
        asked = {"orderLineId": f"oln_{line.id}", "quantity": 4, "reason": "DOES_NOT_FIT"}
        refused = await api.data(REQUEST, {"input": {"orderId": f"ord_{order_id}", "lines": [asked]}}, portal)
        assert refused["returnRequest"]["return"] is None
        (error,) = refused["returnRequest"]["userErrors"]
        assert (error["__typename"], error["requested"], error["limit"]) == ("QuantityExceeded", 4, 3)
        requested = await api.change(
            REQUEST, {"input": {"orderId": f"ord_{order_id}", "lines": [{**asked, "quantity": 1}]}}, portal
        )
        found = requested["return"]
        assert (found["status"], found["customerStatus"]) == ("REQUESTED", "REQUESTED")
        approved = await api.change(APPROVE, {"input": {"returnId": found["id"]}})
        assert approved["return"] == {"status": "OPEN", "location": {"code": "main"}}
        units = [{"returnLineId": found["lines"][0]["id"], "quantity": 1}]
        received = await api.change(
            RECEIVE, {"input": {"returnId": found["id"], "lines": units}}, warehouse(world)
        )
        assert received["return"] == {"customerStatus": "RECEIVED", "lines": [{"quantityReceived": 1}]}
        verdict = {"returnLineId": found["lines"][0]["id"], "accepted": 1, "disposition": "RESTOCK"}
        inspected = await api.change(INSPECT, {"input": {"returnId": found["id"], "lines": [verdict]}})
        assert inspected["return"] == {
            "customerStatus": "INSPECTED",
            "refundAmount": {"amount": "10.00", "currencyCode": "EUR"},
            "lines": [{"disposition": "RESTOCK", "quantityAccepted": 1, "refundAmount": {"amount": "10.00"}}],
            "refunds": [{"status": "PENDING", "amount": {"amount": "10.00"}}],
        }
        await settle_payments(world, order_id)
        closed = (await api.data(RETURN, {"id": found["id"]}, portal))["return"]
        assert (closed["status"], closed["customerStatus"], closed["availableActions"]) == (
            "CLOSED",
            "REFUNDED",
            [],
        )
        assert [event["type"] for event in closed["timeline"]["nodes"]] == [
            "RETURN_REQUESTED",
            "RETURN_APPROVED",
            "RETURN_RECEIVED",
            "RETURN_INSPECTED",
            "REFUND_REQUESTED",
            "REFUND_SUCCEEDED",
            "RETURN_CLOSED",
        ]
        assert closed["order"] == {
            "returnStatus": "PARTIALLY_RETURNED",
            "creditedTotal": {"amount": "10.00"},
        }
    await assert_invariants(engine)


LISTS = """query ($order: ID!, $location: ID!, $channel: ID!) {
    shipments(filter: {orders: [$order], locations: [$location], channels: [$channel], status: [SHIPPED],
        carrier: "DHL", trackingNumber: "T1", updatedFrom: "2020-01-01T00:00:00Z"}, sort: UPDATED_AT) {
        totalCount nodes { id deliveryStatus deliveredAt service metadata createdAt updatedAt availableActions
            location { code } fulfillmentOrder { id replaces { id } }
            lines { quantity orderLine { sku } fulfillmentOrderLine { quantityShipped } product { sku } }
            packages { carrier trackingUrl deliveredAt createdAt updatedAt carrierEvents { place description } } } }
    fulfillmentOrders(filter: {orders: [$order], channels: [$channel], requestStatus: [CLOSED],
        createdFrom: "2020-01-01T00:00:00Z"}) {
        nodes { status rejectReason fulfillAt createdAt updatedAt shipments { status }
            lines { quantityPicked quantityShort quantityCancelled orderLine { lineNumber } } } }
    returns(filter: {orders: [$order], channels: [$channel]}) { nodes { id channel { code } customer { name } } }
    discrepancies(filter: {status: [OPEN], kind: [EXCESS_DISPATCH], orders: [$order]}) { nodes {
        id kind report details subjectKind subject { id __typename } order { number } createdAt resolvedBy } } }"""


async def test_lists_filter_by_what_partners_know(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 10})
    order_id = await world.place(("a", 3))
    async with serving(world) as api:
        work = warehouse(world)
        (todo,) = (await api.data(WORK, actor=work))["fulfillmentOrders"]["nodes"]
        sent = {
            "fulfillmentOrderId": todo["id"],
            "lines": [{"fulfillmentOrderLineId": todo["lines"][0]["id"], "quantity": 4}],
            "carrier": "DHL",
            "trackingNumber": "T1",
        }
        left = await api.change(DISPATCH, {"input": sent, "key": "d1"}, work)
        assert left["discrepancies"] == [{"kind": "EXCESS_DISPATCH"}]
        wanted = {
            "order": f"ord_{order_id}",
            "location": f"loc_{world.locations['main']}",
            "channel": f"chn_{world.channel_id}",
        }
        lists = await api.data(LISTS, wanted)
        (shipment,) = lists["shipments"]["nodes"]
        assert lists["shipments"]["totalCount"] == 1
        assert shipment["id"] == left["shipment"]["id"]
        assert shipment["fulfillmentOrder"] == {"id": todo["id"], "replaces": None}
        assert [node["status"] for node in lists["fulfillmentOrders"]["nodes"]] == ["CLOSED"]
        (discrepancy,) = lists["discrepancies"]["nodes"]
        assert discrepancy["subject"] == {"id": shipment["id"], "__typename": "Shipment"}
        assert (await api.data(LISTS, wanted, work))["shipments"]["totalCount"] == 1
        resolved = await api.change(
            """mutation ($id: ID!) { discrepancyResolve(id: $id, resolution: "Asked for it back") {
                discrepancy { status resolution resolvedBy } userErrors { code } } }""",
            {"id": discrepancy["id"]},
        )
        assert resolved["discrepancy"] == {
            "status": "RESOLVED",
            "resolution": "Asked for it back",
            "resolvedBy": STAFF.account,
        }
    await assert_invariants(engine)


async def test_without_its_scope_nothing_is_shipped(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 10})
    order_id = await world.place(("a", 3))
    reader = Principal(
        kind=PrincipalKind.STAFF,
        account="reader",
        scopes=frozenset({Scope.ORDERS_READ, Scope.SHIPMENTS_READ}),
    )
    async with serving(world) as api:
        (todo,) = (await api.data(WORK.replace("location { code }", ""), actor=reader))["fulfillmentOrders"][
            "nodes"
        ]
        answer = await api.execute(
            DISPATCH, {"input": {"fulfillmentOrderId": todo["id"]}, "key": "d1"}, reader
        )
        assert [error["extensions"]["code"] for error in answer["errors"]] == ["FORBIDDEN"]
    assert (await world.order(order_id)).fulfillment_status == "UNFULFILLED"
