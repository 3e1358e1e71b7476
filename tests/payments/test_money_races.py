"""Everybody asks for the same money at once: what may be asked for is asked for once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from db.payments import Payment, PaymentTransaction
from domain.access import SYSTEM
from domain.errors import Refused
from domain.money import Money
from domain.order_commands import CancelOrder
from domain.payment_commands import CapturePayment, CreateRefund, ReportPayment, VoidPayment
from domain.payments import PaymentMethod, ReportKind
from services.order_cancellation import cancel_order
from services.payment_reports import report_payment
from services.payments import capture_payment, void_payment
from services.refunds import create_refund
from services.transactions import Outcome, RecordResult, record_result
from tests.invariants import assert_invariants
from tests.payments.shop import Shop, open_shop

TOTAL = 10_000
"""What an order of the shop comes to, in cents."""


@pytest.fixture
async def shop(engine: AsyncEngine) -> Shop:
    return await open_shop(engine)


async def at_once(shop: Shop, *calls: tuple[Any, Any]) -> int:
    """All calls together; how many were done. Anything but a refusal is a bug."""
    answers = await asyncio.gather(
        *(shop.work.run(use_case, command, actor=SYSTEM) for use_case, command in calls),
        return_exceptions=True,
    )
    wrong = [
        answer for answer in answers if isinstance(answer, Exception) and not isinstance(answer, Refused)
    ]
    assert wrong == []
    return sum(not isinstance(answer, BaseException) for answer in answers)


async def settle(shop: Shop, order_id: Any, outcome: Outcome = Outcome.SUCCEEDED) -> None:
    for row in await shop.rows(PaymentTransaction, order_id):
        if row.status == "PENDING":
            await shop.work.run(
                record_result, RecordResult(transaction_id=row.id, outcome=outcome), actor=SYSTEM
            )


async def asked(shop: Shop, order_id: Any, kind: str) -> int:
    """Cents that providers were asked for and did not refuse."""
    rows = await shop.rows(PaymentTransaction, order_id)
    return sum(row.amount for row in rows if row.kind == kind and row.status != "FAILED")


async def test_ten_captures_at_once_ask_for_no_more_than_is_due(shop: Shop) -> None:
    order_id = await shop.order()
    await settle(shop, order_id)
    payment = (await shop.payment(order_id)).id
    part = CapturePayment(payment_id=payment, amount=Money(3_000, "EUR"))
    assert await at_once(shop, *[(capture_payment, part)] * 10) == 3
    assert await asked(shop, order_id, "CAPTURE") == 9_000
    await settle(shop, order_id)
    await assert_invariants(shop.engine)


@pytest.mark.parametrize("attempt", range(3))
async def test_a_capture_a_release_and_a_cancellation_at_once_share_the_authorisation(
    shop: Shop, attempt: int
) -> None:
    order_id = await shop.order()
    await settle(shop, order_id)
    payment = (await shop.payment(order_id)).id
    await at_once(
        shop,
        (capture_payment, CapturePayment(payment_id=payment, amount=Money(4_000, "EUR"))),
        (void_payment, VoidPayment(payment_id=payment)),
        (cancel_order, CancelOrder(order_id=order_id)),
        (void_payment, VoidPayment(payment_id=payment)),
    )
    assert await asked(shop, order_id, "CAPTURE") + await asked(shop, order_id, "VOID") <= TOTAL
    for _ in range(3):
        await settle(shop, order_id)
    row = await shop.payment(order_id)
    assert row.captured_amount + row.voided_amount <= row.authorized_amount
    assert row.refunded_amount <= row.captured_amount
    await assert_invariants(shop.engine)


@pytest.mark.parametrize("outcome", [Outcome.SUCCEEDED, Outcome.FAILED])
async def test_ten_refunds_at_once_give_back_no_more_than_was_received(shop: Shop, outcome: Outcome) -> None:
    order_id = await shop.order()
    await settle(shop, order_id)
    payment = (await shop.payment(order_id)).id
    await shop.work.run(capture_payment, CapturePayment(payment_id=payment), actor=SYSTEM)
    await settle(shop, order_id)
    refund = CreateRefund(payment_id=payment, amount=Money(4_000, "EUR"))
    assert await at_once(shop, *[(create_refund, refund)] * 10) == 2
    assert await asked(shop, order_id, "REFUND") == 8_000
    await settle(shop, order_id, outcome)
    # What a provider refused may be asked for again, and no more than that.
    again = await at_once(shop, *[(create_refund, refund)] * 10)
    assert again == (0 if outcome is Outcome.SUCCEEDED else 2)
    await assert_invariants(shop.engine)


async def test_a_providers_report_delivered_ten_times_beside_the_jobs_own_answer_counts_once(
    shop: Shop,
) -> None:
    order_id = await shop.order(PaymentMethod.PIX)
    payment = await shop.payment(order_id)
    (transaction,) = await shop.rows(PaymentTransaction, order_id)
    report = ReportPayment(
        payment_id=payment.id,
        kind=ReportKind.RECEIVED,
        reference="webhook-1",
        succeeded=True,
        amount=Money(TOTAL, "EUR"),
    )
    answer = RecordResult(transaction_id=transaction.id, outcome=Outcome.SUCCEEDED)
    await at_once(shop, *[(report_payment, report)] * 10, *[(record_result, answer)] * 3)
    async with shop.engine.connect() as session:
        received = await session.execute(sa.select(Payment.captured_amount).where(Payment.id == payment.id))
        assert received.scalar_one() == TOTAL
    await assert_invariants(shop.engine)
