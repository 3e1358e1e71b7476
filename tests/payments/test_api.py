"""Payments and refunds through the served schema, with the workers running inside."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from app.auth import guest, partner
from db.base import new_id
from domain.ids import format_id
from domain.payments import PaymentMethod
from tests.payments.shop import Shop
from tests.serving import Api, served
from tests.world import STAFF

PAYMENT = """
fragment P on Payment {
  id method provider status collectedBy amount { amount currencyCode } authorizedAmount { amount }
  capturedAmount { amount } voidedAmount { amount } refundedAmount { amount } chargedBackAmount { amount }
  providerReference instructions failure authorizationExpiresAt availableActions
  order { number paymentStatus }
  transactions { id kind status amount { amount } failure attempts settledAt payment { id } refund { id } }
  refunds { id status amount { amount currencyCode } reason forReturn { id } }
}
"""
READ = PAYMENT + "query Read($id: ID!) { order(id: $id) { status payments { ...P } refunds { id } } }"


def mutation(name: str, selection: str = "payment { ...P }") -> str:
    kind = name[0].upper() + name[1:]
    return (
        f"{PAYMENT if '...P' in selection else ''}"
        f"mutation Do($input: {kind}Input!, $key: String!) {{ {name}(input: $input, idempotencyKey: $key) "
        f"{{ {selection} userErrors {{ __typename code message field "
        "... on AmountExceeded { requested limit currency } ... on InvalidTransition { fromStatus allowed } } } }"
    )


REFUND = mutation(
    "refundCreate", "refunds { id status amount { amount currencyCode } reason payment { id } }"
)


@pytest.fixture
async def api(database_url: str, shop: Shop) -> AsyncIterator[Api]:
    async with served(database_url) as running:
        yield running


async def until(api: Api, order_id: str, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The order's newest payment, once it is as wanted."""
    for _ in range(150):
        payment: dict[str, Any] = (await api.data(STAFF, READ, {"id": order_id}))["order"]["payments"][-1]
        if holds(payment):
            return payment
        await asyncio.sleep(0.1)
    raise AssertionError(f"never came true; last: {payment}")


async def test_a_card_is_authorised_captured_and_refunded_by_api(api: Api, shop: Shop) -> None:
    order_id = format_id("ord", await shop.order(token="4242424242424242"))
    payment = await until(api, order_id, lambda p: p["status"] == "AUTHORIZED")
    assert payment["amount"] == {"amount": "100.00", "currencyCode": "EUR"}
    assert payment["authorizedAmount"] == {"amount": "100.00"}
    assert payment["availableActions"] == ["paymentCapture", "paymentVoid"]
    assert payment["provider"] == "sandbox"
    assert [(t["kind"], t["status"]) for t in payment["transactions"]] == [("AUTHORIZATION", "SUCCEEDED")]
    too_much = {"paymentId": payment["id"], "amount": {"amount": "100.01", "currencyCode": "EUR"}}
    refused = await api.data(STAFF, mutation("paymentCapture"), {"input": too_much, "key": "c-0"})
    assert refused["paymentCapture"] == {
        "payment": None,
        "userErrors": [
            {
                "__typename": "AmountExceeded",
                "code": "AMOUNT_EXCEEDED",
                "message": "At most 100.00 EUR can be captured, not 100.01.",
                "field": ["amount"],
                "requested": "100.01",
                "limit": "100.00",
                "currency": "EUR",
            }
        ],
    }
    capture = {"input": {"paymentId": payment["id"]}, "key": "c-1"}
    for _ in range(2):
        await api.did(STAFF, mutation("paymentCapture"), capture)
    payment = await until(api, order_id, lambda p: p["status"] == "CAPTURED")
    assert payment["availableActions"] == ["refundCreate"]
    refund = {
        "orderId": order_id,
        "amount": {"amount": "12.50", "currencyCode": "EUR"},
        "reason": "Scratched.",
    }
    for _ in range(3):
        made = await api.did(STAFF, REFUND, {"input": refund, "key": "r-1"})
        assert [one["amount"] for one in made["refunds"]] == [{"amount": "12.50", "currencyCode": "EUR"}]
    payment = await until(api, order_id, lambda p: p["refundedAmount"]["amount"] == "12.50")
    assert [(one["status"], one["reason"]) for one in payment["refunds"]] == [("SUCCEEDED", "Scratched.")]
    assert [(t["kind"], t["status"]) for t in payment["transactions"]] == [
        ("AUTHORIZATION", "SUCCEEDED"),
        ("CAPTURE", "SUCCEEDED"),
        ("REFUND", "SUCCEEDED"),
    ]


async def test_a_customer_who_must_act_is_told_how_and_the_payment_resumes(api: Api, shop: Shop) -> None:
    order_id = format_id("ord", await shop.order(token="4000000000003220"))
    payment = await until(api, order_id, lambda p: p["status"] == "ACTION_REQUIRED")
    assert payment["instructions"]["kind"] == "CARD"
    assert payment["availableActions"] == ["paymentResume", "paymentVoid"]
    resume = {"input": {"paymentId": payment["id"], "answer": "approve"}, "key": "a-1"}
    await api.did(STAFF, mutation("paymentResume"), resume)
    await until(api, order_id, lambda p: p["status"] == "AUTHORIZED")


async def test_a_declined_order_is_paid_by_transfer_in_the_end(api: Api, shop: Shop) -> None:
    order_id = format_id("ord", await shop.order(token="4000000000000002"))
    await until(api, order_id, lambda p: p["status"] == "FAILED")
    again = {"input": {"orderId": order_id, "payment": {"method": "BANK_TRANSFER"}}, "key": "again"}
    await api.did(STAFF, mutation("paymentRequest"), again)
    payment = await until(api, order_id, lambda p: p["status"] == "ACTION_REQUIRED")
    assert payment["instructions"]["amount"] == "100.00"
    assert payment["availableActions"] == ["paymentRecord", "paymentVoid"]
    money = {
        "paymentId": payment["id"],
        "amount": {"amount": "100.00", "currencyCode": "USD"},
        "reference": "s",
    }
    refused = await api.data(STAFF, mutation("paymentRecord"), {"input": money, "key": "m-0"})
    assert [error["field"] for error in refused["paymentRecord"]["userErrors"]] == [
        ["amount", "currencyCode"]
    ]
    money["amount"]["currencyCode"] = "EUR"
    paid = await api.did(STAFF, mutation("paymentRecord"), {"input": money, "key": "m-1"})
    assert paid["payment"]["status"] == "CAPTURED"
    assert paid["payment"]["order"]["paymentStatus"] == "PAID"


async def test_a_report_delivered_ten_times_at_once_has_one_effect(api: Api, shop: Shop) -> None:
    ours = await shop.order(PaymentMethod.EXTERNAL)
    payment_id = format_id("pay", (await shop.payment(ours)).id)
    report = {
        "paymentId": payment_id,
        "kind": "CHARGED_BACK",
        "reference": "cb-9",
        "amount": {"amount": "100.00", "currencyCode": "EUR"},
    }
    market = partner("partner:test", channels=(shop.channel_id,))
    answers = await asyncio.gather(
        *(
            api.did(market, mutation("paymentReport"), {"input": report, "key": f"hook-{number}"})
            for number in range(10)
        )
    )
    assert {answer["payment"]["chargedBackAmount"]["amount"] for answer in answers} == {"100.00"}
    assert await shop.transactions(ours) == [
        ("SALE", "SUCCEEDED", 10_000),
        ("CHARGEBACK", "SUCCEEDED", 10_000),
    ]


async def test_a_payment_that_the_caller_may_not_see_is_not_there_and_does_not_change(
    api: Api, shop: Shop
) -> None:
    ours = await shop.order(PaymentMethod.BANK_TRANSFER)
    payment_id = format_id("pay", (await shop.payment(ours)).id)
    version = (await shop.the_order(ours)).version
    stranger = partner("partner:test", channels=(new_id(),))
    for name in ("paymentVoid", "paymentCapture"):
        answer = await api.data(
            stranger, mutation(name), {"input": {"paymentId": payment_id}, "key": f"x-{name}"}
        )
        assert [error["__typename"] for error in answer[name]["userErrors"]] == ["NotFound"]
    wanted = {"input": {"paymentId": payment_id}, "key": "x-refund"}
    answer = await api.data(stranger, REFUND, wanted)
    assert [error["__typename"] for error in answer["refundCreate"]["userErrors"]] == ["NotFound"]
    portal = guest(ours)
    denied = await api.answer(
        portal, mutation("paymentVoid"), {"input": {"paymentId": payment_id}, "key": "g"}
    )
    assert denied["errors"][0]["extensions"]["code"] == "FORBIDDEN"
    seen = await api.data(portal, READ, {"id": format_id("ord", ours)})
    assert [payment["id"] for payment in seen["order"]["payments"]] == [payment_id]
    changed = (await shop.the_order(ours)).version - version
    assert changed <= 1  # the provider's own answer: what to transfer
