"""Each way the sandbox behaves, end to end: events, jobs, provider, results, on a real database."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import asyncpg
import pytest

from db.engine import asyncpg_dsn
from db.payments import PaymentTransaction
from domain.access import SYSTEM
from domain.money import Money
from domain.order_commands import CancelOrder, PaymentIntent
from domain.orders import OrderStatus, PaymentStatus
from domain.payment_commands import CapturePayment, CreateRefund, RequestPayment, ResumePayment
from domain.payments import PaymentMethod, PaymentState, TransactionStatus
from services.order_cancellation import cancel_order
from services.payments import capture_payment, request_payment, resume_payment
from services.refunds import create_refund
from tests.payments.shop import Shop
from tests.workers.conftest import Background, Waits

pytestmark = pytest.mark.usefixtures("background")


async def operations(shop: Shop) -> list[tuple[str, str, int]]:
    """What the sandbox has in its own books."""
    connection = await asyncpg.connect(asyncpg_dsn(shop.engine.url.render_as_string(hide_password=False)))
    try:
        rows = await connection.fetch(
            "select kind, outcome, amount from sandbox.operation order by created_at, transaction_id"
        )
    finally:
        await connection.close()
    return [tuple(row) for row in rows]


async def settled(shop: Shop, order_id: UUID, payment: PaymentState) -> Any:
    """The payment, once it is in that state and nothing about it is open."""
    row = await shop.payment(order_id)
    assert row.status is payment
    assert all(
        transaction.status in (TransactionStatus.SUCCEEDED, TransactionStatus.FAILED)
        for transaction in await shop.rows(PaymentTransaction, order_id)
    )
    return row


async def test_an_approved_card_confirms_the_order(shop: Shop, eventually: Waits) -> None:
    order_id = await shop.order(token="4242424242424242")
    payment = await eventually(lambda: settled(shop, order_id, PaymentState.AUTHORIZED))
    assert payment.authorization_expires_at is not None
    assert (await shop.the_order(order_id)).status is OrderStatus.CONFIRMED
    assert await operations(shop) == [("AUTHORIZATION", "SUCCEEDED", 10_000)]


async def test_a_declined_card_leaves_the_order_pending_until_it_expires(
    shop: Shop, eventually: Waits
) -> None:
    order_id = await shop.order(token="4000000000000002")
    await eventually(lambda: settled(shop, order_id, PaymentState.FAILED))
    assert (await shop.the_order(order_id)).status is OrderStatus.PENDING
    await shop.overdue(order_id)

    async def expired() -> None:
        assert (await shop.the_order(order_id)).status is OrderStatus.EXPIRED

    await eventually(expired)
    assert await shop.available() == 100


@pytest.mark.parametrize(
    ("answer", "state"), [("approve", PaymentState.AUTHORIZED), ("decline", PaymentState.FAILED)]
)
async def test_a_card_that_needs_the_customer_ends_with_the_customers_answer(
    shop: Shop, eventually: Waits, answer: str, state: PaymentState
) -> None:
    order_id = await shop.order(token="4000000000003220")

    async def waiting() -> Any:
        payment = await shop.payment(order_id)
        assert payment.status is PaymentState.ACTION_REQUIRED
        return payment

    payment = await eventually(waiting)
    assert payment.instructions["url"].startswith("https://sandbox.invalid/confirm/")
    resume = ResumePayment(payment_id=payment.id, answer=answer)
    await shop.work.run(resume_payment, resume, actor=SYSTEM)
    await eventually(lambda: settled(shop, order_id, state))


async def test_a_pix_payment_shows_its_code_and_is_received_when_it_is_paid(
    shop: Shop, eventually: Waits
) -> None:
    order_id = await shop.order(PaymentMethod.PIX)

    async def waiting() -> Any:
        payment = await shop.payment(order_id)
        assert payment.status is PaymentState.ACTION_REQUIRED
        return payment

    payment = await eventually(waiting)
    assert payment.instructions["kind"] == "PIX"
    assert payment.instructions["code"].startswith("00020126sandbox")
    await shop.work.run(resume_payment, ResumePayment(payment_id=payment.id, answer="approve"), actor=SYSTEM)
    await eventually(lambda: settled(shop, order_id, PaymentState.CAPTURED))
    order = await shop.the_order(order_id)
    assert (order.status, order.payment_status) == (OrderStatus.CONFIRMED, PaymentStatus.PAID)


@pytest.mark.parametrize("token", ["4000000000000077", "4000000000000119", "4000000000000341"])
async def test_a_late_or_lost_answer_is_asked_for_and_counts_once(
    shop: Shop, eventually: Waits, token: str
) -> None:
    order_id = await shop.order(token=token)
    await eventually(lambda: settled(shop, order_id, PaymentState.AUTHORIZED))
    assert await operations(shop) == [("AUTHORIZATION", "SUCCEEDED", 10_000)]
    assert await shop.transactions(order_id) == [("AUTHORIZATION", "SUCCEEDED", 10_000)]
    lost = token != "4000000000000077"
    assert ("PAYMENT_OUTCOME_UNKNOWN" in await shop.events(order_id)) is lost


@pytest.mark.parametrize(
    ("token", "kinds"),
    [
        ("4000000000000267", ["CAPTURE"]),
        ("4242424242424242", ["CAPTURE"]),
    ],
)
async def test_a_capture_happens_once_whether_or_not_its_answer_arrives(
    shop: Shop, eventually: Waits, token: str, kinds: list[str]
) -> None:
    order_id = await shop.order(token=token)
    payment = await eventually(lambda: settled(shop, order_id, PaymentState.AUTHORIZED))
    await shop.work.run(capture_payment, CapturePayment(payment_id=payment.id), actor=SYSTEM)
    await eventually(lambda: settled(shop, order_id, PaymentState.CAPTURED))
    assert await operations(shop) == [
        ("AUTHORIZATION", "SUCCEEDED", 10_000),
        *((kind, "SUCCEEDED", 10_000) for kind in kinds),
    ]


async def test_a_refused_capture_is_told_and_can_be_asked_for_again(shop: Shop, eventually: Waits) -> None:
    order_id = await shop.order(token="4000000000000259")
    payment = await eventually(lambda: settled(shop, order_id, PaymentState.AUTHORIZED))
    await shop.work.run(capture_payment, CapturePayment(payment_id=payment.id), actor=SYSTEM)

    async def refused() -> None:
        assert (await shop.events(order_id, "PAYMENT%"))[-1] == "PAYMENT_CAPTURE_FAILED"

    await eventually(refused)
    assert (await shop.payment(order_id)).failure == "Refused by test number."
    await shop.work.run(capture_payment, CapturePayment(payment_id=payment.id), actor=SYSTEM)


@pytest.mark.parametrize("token", ["4242424242424242", "4000000000000275"])
async def test_a_cancelled_order_gets_its_authorisation_released_once(
    shop: Shop, eventually: Waits, token: str
) -> None:
    order_id = await shop.order(token=token)
    await eventually(lambda: settled(shop, order_id, PaymentState.AUTHORIZED))
    await shop.work.run(cancel_order, CancelOrder(order_id=order_id), actor=SYSTEM)
    await eventually(lambda: settled(shop, order_id, PaymentState.VOIDED))
    assert await operations(shop) == [
        ("AUTHORIZATION", "SUCCEEDED", 10_000),
        ("VOID", "SUCCEEDED", 10_000),
    ]
    assert (await shop.the_order(order_id)).payment_status is PaymentStatus.VOIDED


@pytest.mark.parametrize(
    ("token", "status"),
    [
        ("4242424242424242", "SUCCEEDED"),
        ("4000000000000234", "SUCCEEDED"),
        ("4000000000000408", "SUCCEEDED"),
        ("4000000000000226", "FAILED"),
    ],
)
async def test_a_refund_is_paid_out_once_or_refused(
    shop: Shop, eventually: Waits, token: str, status: str
) -> None:
    order_id = await shop.order(token=token)
    payment = await eventually(lambda: settled(shop, order_id, PaymentState.AUTHORIZED))
    await shop.work.run(capture_payment, CapturePayment(payment_id=payment.id), actor=SYSTEM)
    await eventually(lambda: settled(shop, order_id, PaymentState.CAPTURED))
    refund = CreateRefund(order_id=order_id, amount=Money(2_500, "EUR"), reason="Scratched.")
    await shop.work.run(create_refund, refund, actor=SYSTEM)

    async def paid_out() -> None:
        assert await shop.refunds(order_id) == [(status, 2_500)]

    await eventually(paid_out)
    assert (await operations(shop))[2:] == [("REFUND", status, 2_500)]
    assert (await shop.the_order(order_id)).refunded_total == (2_500 if status == "SUCCEEDED" else 0)


async def test_an_authorisation_that_runs_out_holds_the_order_until_it_is_paid_anew(
    shop: Shop, eventually: Waits
) -> None:
    order_id = await shop.order(token="4000000000000390")
    await eventually(lambda: settled(shop, order_id, PaymentState.AUTHORIZED))
    await eventually(lambda: settled(shop, order_id, PaymentState.EXPIRED))
    assert (await shop.the_order(order_id)).on_hold is True
    again = RequestPayment(order_id=order_id, intent=PaymentIntent(method=PaymentMethod.CARD))
    await shop.work.run(request_payment, again, actor=SYSTEM)
    await eventually(lambda: settled(shop, order_id, PaymentState.AUTHORIZED))
    assert (await shop.the_order(order_id)).on_hold is False


async def test_a_transfer_tells_the_customer_what_to_transfer(shop: Shop, eventually: Waits) -> None:
    order_id = await shop.order(PaymentMethod.BANK_TRANSFER)

    async def waiting() -> Any:
        payment = await shop.payment(order_id)
        assert payment.status is PaymentState.ACTION_REQUIRED
        return payment

    payment = await eventually(waiting)
    assert payment.instructions == {
        "kind": "BANK_TRANSFER",
        "reference": (await shop.the_order(order_id)).number,
        "amount": "100.00",
        "currencyCode": "EUR",
    }


async def test_a_provider_that_is_not_installed_declines(shop: Shop, eventually: Waits) -> None:
    order_id = await shop.order(provider="nobody")
    payment = await eventually(lambda: settled(shop, order_id, PaymentState.FAILED))
    assert payment.failure == "No payment provider named 'nobody' is installed here."


async def test_workers_that_stop_and_start_again_finish_what_was_begun(
    shop: Shop, eventually: Waits, background: Background
) -> None:
    await background.stop()
    orders = [await shop.order(token="4242424242424242", quantity=1) for _ in range(10)]
    assert await shop.transactions(orders[0]) == [("AUTHORIZATION", "PENDING", 5_000)]
    await background.start()
    for order_id in orders:
        await eventually(lambda: settled(shop, order_id, PaymentState.AUTHORIZED))  # noqa: B023 - awaited at once
    assert len(await operations(shop)) == 10
