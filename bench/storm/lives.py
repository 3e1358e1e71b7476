"""What may come next in an order's life: the mutations that its state invites."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

APPROVED = "4242424242424242"

Arguments = Callable[[str], dict[str, Any]]
Step = tuple[str, Arguments, bool]
"""A root field, its arguments by the call's key, and whether the row it makes carries the key."""


def steps_of(order: Mapping[str, Any]) -> Iterator[Step]:
    """Every step that the order, as read by `documents.ORDER`, invites."""
    for found in order["fulfillmentOrders"]:
        yield from _at_the_warehouse(found)
    for shipment in order["shipments"]:
        yield from _of_shipment(shipment)
    for payment in order["payments"]:
        yield from _of_payment(payment)
    if order["status"] == "PENDING":
        yield "paymentRequest", lambda _: _card(order["id"]), False
    if order["shipments"] and not order["returns"]:
        line = order["lines"][0]["id"]
        yield "returnRequest", lambda key: _return(order["id"], line, key), True
    for found in order["returns"]:
        yield from _of_return(found)


def _at_the_warehouse(found: Mapping[str, Any]) -> Iterator[Step]:
    named = found["id"]
    if found["status"] == "OPEN":
        yield "fulfillmentOrderAccept", lambda _: {"id": named}, False
    elif found["requestStatus"] == "CANCELLATION_REQUESTED":
        yield "fulfillmentOrderAcceptCancellation", lambda _: {"id": named}, False
    elif found["status"] == "IN_PROGRESS":
        yield "shipmentCreate", lambda _: {"input": {"fulfillmentOrderId": named}}, False
        yield "shipmentDispatch", lambda key: _departure(key, fulfillmentOrderId=named), True


def _of_shipment(shipment: Mapping[str, Any]) -> Iterator[Step]:
    named = shipment["id"]
    if shipment["status"] == "PENDING":
        yield "shipmentStartPicking", lambda _: {"id": named}, False
    if shipment["status"] in ("PENDING", "PICKING"):
        yield "shipmentDispatch", lambda key: _departure(key, shipmentId=named), True
    if shipment["status"] == "SHIPPED" and shipment["packages"]:
        package = shipment["packages"][0]["id"]
        yield "carrierEventsRecord", lambda key: _delivered(package, key), False


def _of_payment(payment: Mapping[str, Any]) -> Iterator[Step]:
    named = payment["id"]
    if payment["status"] in ("AUTHORIZED", "PARTIALLY_CAPTURED"):
        yield "paymentCapture", lambda _: {"input": {"paymentId": named}}, False
    if payment["status"] in ("CAPTURED", "PARTIALLY_CAPTURED"):
        yield "refundCreate", lambda key: _refund(named, key), True


def _of_return(found: Mapping[str, Any]) -> Iterator[Step]:
    named = found["id"]
    if found["status"] == "REQUESTED":
        yield "returnApprove", lambda _: {"input": {"returnId": named}}, False
    elif found["status"] == "OPEN":
        line = found["lines"][0]
        if line["quantityReceived"]:
            yield "returnInspect", lambda _: _inspection(named, line["id"]), False
            yield "returnClose", lambda _: {"id": named}, False
        else:
            yield "returnReceive", lambda _: _receipt(named, line["id"]), False


def _departure(key: str, **of: str) -> dict[str, Any]:
    return {"input": {**of, "carrier": "DHL", "trackingNumber": key}}


def _delivered(package: str, key: str) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat()
    report = {"partnerEventId": key, "kind": "DELIVERED", "occurredAt": now, "packageId": package}
    return {"events": [report, report]}


def _refund(payment: str, key: str) -> dict[str, Any]:
    amount = {"amount": "1.00", "currencyCode": "EUR"}
    return {"input": {"paymentId": payment, "amount": amount, "reason": key}}


def _card(order: str) -> dict[str, Any]:
    return {"input": {"orderId": order, "payment": {"method": "CARD", "token": APPROVED}}}


def _return(order: str, line: str, key: str) -> dict[str, Any]:
    lines = [{"orderLineId": line, "quantity": 1, "reason": "NO_LONGER_WANTED"}]
    return {"input": {"orderId": order, "lines": lines, "note": key}}


def _receipt(found: str, line: str) -> dict[str, Any]:
    return {"input": {"returnId": found, "lines": [{"returnLineId": line, "quantity": 1}]}}


def _inspection(found: str, line: str) -> dict[str, Any]:
    judged = {"returnLineId": line, "accepted": 1, "disposition": "RESTOCK"}
    return {"input": {"returnId": found, "lines": [judged]}}
