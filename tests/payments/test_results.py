"""What a provider's answers do to a payment, without any worker: the use cases alone."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import pytest

from db.discrepancies import Discrepancy
from db.orders import OrderHold
from db.payments import Payment, PaymentTransaction, Refund
from domain.access import SYSTEM
from domain.errors import AmountExceeded, InvalidInput, InvalidTransition, Refused
from domain.money import Money
from domain.order_commands import CancelOrder, PaymentIntent
from domain.orders import OrderStatus, PaymentStatus
from domain.payment_commands import (
    CapturePayment,
    CreateRefund,
    RecordPayment,
    ReportPayment,
    RequestPayment,
    ResumePayment,
    VoidPayment,
)
from domain.payments import PaymentMethod, PaymentState, ReportKind, TransactionStatus
from services.expiry import ExpireAuthorization, ExpireOrder, expire_authorization, expire_order
from services.order_cancellation import cancel_order
from services.payment_reports import (
    record_payment,
    report_payment,
)
from services.payments import (
    capture_payment,
    request_payment,
    resume_payment,
    void_payment,
)
from services.refunds import create_refund
from services.transactions import Outcome, RecordResult, record_result
from tests.payments.shop import Shop


def EUR(amount: int) -> Money:
    return Money(amount, "EUR")


async def answer(shop: Shop, order_id: UUID, outcome: Outcome, **result: Any) -> UUID:
    """Record a result for the order's newest open transaction; returns the transaction's id."""
    waiting = [
        row.id
        for row in await shop.rows(PaymentTransaction, order_id)
        if row.status in (TransactionStatus.PENDING, TransactionStatus.UNKNOWN)
    ]
    command = RecordResult(transaction_id=waiting[-1], outcome=outcome, **result)
    await shop.work.run(record_result, command, actor=SYSTEM)
    return waiting[-1]


async def discrepancies(shop: Shop, order_id: UUID) -> list[str]:
    return [row.kind.value for row in await shop.rows(Discrepancy, order_id)]


async def authorized(shop: Shop, **intent: Any) -> UUID:
    order_id = await shop.order(**intent)
    await answer(shop, order_id, Outcome.SUCCEEDED)
    return order_id


async def test_an_authorised_card_releases_the_order_to_its_location(shop: Shop) -> None:
    order_id = await shop.order()
    assert (await shop.the_order(order_id)).payment_status is PaymentStatus.PENDING
    await answer(shop, order_id, Outcome.SUCCEEDED, provider_reference="auth-1")
    order, payment = await shop.the_order(order_id), await shop.payment(order_id)
    assert (order.status, order.payment_status) == (OrderStatus.CONFIRMED, PaymentStatus.AUTHORIZED)
    assert (payment.status, payment.authorized_amount) == (PaymentState.AUTHORIZED, 10_000)
    assert payment.provider_reference == "auth-1"
    assert await shop.events(order_id, "FULFILLMENT%") == ["FULFILLMENT_ORDER_OPENED"]


async def test_the_same_result_twice_has_one_effect(shop: Shop) -> None:
    order_id = await shop.order()
    transaction_id = await answer(shop, order_id, Outcome.SUCCEEDED)
    version = (await shop.the_order(order_id)).version
    for _ in range(10):
        command = RecordResult(transaction_id=transaction_id, outcome=Outcome.SUCCEEDED)
        await shop.work.run(record_result, command, actor=SYSTEM)
    assert (await shop.the_order(order_id)).version == version


async def test_a_decline_leaves_the_order_pending_until_payment_is_due_and_then_it_expires(
    shop: Shop,
) -> None:
    order_id = await shop.order()
    await answer(shop, order_id, Outcome.FAILED, failure="No money.")
    order, payment = await shop.the_order(order_id), await shop.payment(order_id)
    assert (order.status, order.payment_status) == (OrderStatus.PENDING, PaymentStatus.FAILED)
    assert (payment.status, payment.failure) == (PaymentState.FAILED, "No money.")
    assert await shop.available() == 98
    assert await shop.work.run(expire_order, ExpireOrder(order_id=order_id), actor=SYSTEM) is False
    await shop.overdue(order_id)
    assert await shop.work.run(expire_order, ExpireOrder(order_id=order_id), actor=SYSTEM) is True
    order = await shop.the_order(order_id)
    assert (order.status, order.current_total) == (OrderStatus.EXPIRED, 0)
    assert await shop.available() == 100
    assert await shop.work.run(expire_order, ExpireOrder(order_id=order_id), actor=SYSTEM) is False


async def test_an_authorised_order_does_not_expire(shop: Shop) -> None:
    order_id = await authorized(shop)
    await shop.overdue(order_id)
    assert await shop.work.run(expire_order, ExpireOrder(order_id=order_id), actor=SYSTEM) is False


async def test_a_declined_order_can_be_paid_again(shop: Shop) -> None:
    order_id = await shop.order()
    await answer(shop, order_id, Outcome.FAILED)
    again = RequestPayment(order_id=order_id, intent=PaymentIntent(method=PaymentMethod.PIX))
    await shop.work.run(request_payment, again, actor=SYSTEM)
    await answer(shop, order_id, Outcome.ACTION_REQUIRED, instructions={"code": "123"})
    payment = await shop.payment(order_id)
    assert (payment.status, payment.instructions) == (PaymentState.ACTION_REQUIRED, {"code": "123"})
    await answer(shop, order_id, Outcome.SUCCEEDED)
    order = await shop.the_order(order_id)
    assert (order.status, order.payment_status) == (OrderStatus.CONFIRMED, PaymentStatus.PAID)
    assert order.received_total == 10_000


async def test_what_is_covered_cannot_be_asked_for_again(shop: Shop) -> None:
    order_id = await authorized(shop)
    again = RequestPayment(order_id=order_id, intent=PaymentIntent(method=PaymentMethod.CARD))
    with pytest.raises(Refused) as refused:
        await shop.work.run(request_payment, again, actor=SYSTEM)
    assert isinstance(refused.value.errors[0], AmountExceeded)
    assert len(await shop.transactions(order_id)) == 1


async def test_a_cancelled_order_releases_its_authorisation(shop: Shop) -> None:
    order_id = await authorized(shop)
    await shop.work.run(cancel_order, CancelOrder(order_id=order_id), actor=SYSTEM)
    assert await shop.transactions(order_id) == [
        ("AUTHORIZATION", "SUCCEEDED", 10_000),
        ("VOID", "PENDING", 10_000),
    ]
    await answer(shop, order_id, Outcome.SUCCEEDED)
    order = await shop.the_order(order_id)
    assert (order.status, order.payment_status) == (OrderStatus.CANCELLED, PaymentStatus.VOIDED)
    assert await shop.available() == 100


async def test_an_authorisation_that_comes_after_the_cancellation_is_released(shop: Shop) -> None:
    order_id = await shop.order()
    await shop.work.run(cancel_order, CancelOrder(order_id=order_id), actor=SYSTEM)
    assert (await shop.payment(order_id)).status is PaymentState.EXPIRED
    await answer(shop, order_id, Outcome.SUCCEEDED)
    assert (await shop.transactions(order_id))[-1] == ("VOID", "PENDING", 10_000)
    await answer(shop, order_id, Outcome.SUCCEEDED)
    payment = await shop.payment(order_id)
    assert (payment.status, payment.voided_amount) == (PaymentState.EXPIRED, 10_000)


async def test_money_that_comes_after_the_order_expired_is_recorded_and_goes_back(shop: Shop) -> None:
    order_id = await shop.order(PaymentMethod.PIX)
    await shop.overdue(order_id)
    await shop.work.run(expire_order, ExpireOrder(order_id=order_id), actor=SYSTEM)
    await answer(shop, order_id, Outcome.SUCCEEDED)
    assert await discrepancies(shop, order_id) == ["LATE_PAYMENT"]
    assert await shop.refunds(order_id) == [("PENDING", 10_000)]
    assert (await shop.the_order(order_id)).received_total == 10_000
    await answer(shop, order_id, Outcome.SUCCEEDED)
    assert await shop.refunds(order_id) == [("SUCCEEDED", 10_000)]
    assert (await shop.the_order(order_id)).payment_status is PaymentStatus.REFUNDED


async def test_paid_money_goes_back_when_the_order_is_cancelled(shop: Shop) -> None:
    order_id = await authorized(shop, method=PaymentMethod.PIX)
    await shop.work.run(cancel_order, CancelOrder(order_id=order_id), actor=SYSTEM)
    assert await shop.refunds(order_id) == [("PENDING", 10_000)]
    await answer(shop, order_id, Outcome.FAILED, failure="Account closed.")
    assert await shop.refunds(order_id) == [("FAILED", 10_000)]
    payment_id = (await shop.payment(order_id)).id
    await shop.work.run(create_refund, CreateRefund(payment_id=payment_id, amount=EUR(4_000)), actor=SYSTEM)
    with pytest.raises(Refused) as refused:
        await shop.work.run(create_refund, CreateRefund(order_id=order_id, amount=EUR(6_001)), actor=SYSTEM)
    error = refused.value.errors[0]
    assert isinstance(error, AmountExceeded)
    assert (error.requested, error.limit, error.currency) == ("60.01", "60.00", "EUR")
    await shop.work.run(create_refund, CreateRefund(order_id=order_id), actor=SYSTEM)
    assert await shop.refunds(order_id) == [("FAILED", 10_000), ("PENDING", 4_000), ("PENDING", 6_000)]


async def test_nothing_can_be_refunded_of_what_was_only_authorised(shop: Shop) -> None:
    order_id = await authorized(shop)
    with pytest.raises(Refused) as refused:
        await shop.work.run(create_refund, CreateRefund(order_id=order_id), actor=SYSTEM)
    assert isinstance(refused.value.errors[0], AmountExceeded)


async def test_captures_stay_within_what_is_authorised_and_due(shop: Shop) -> None:
    order_id = await authorized(shop)
    payment_id = (await shop.payment(order_id)).id
    capture = CapturePayment(payment_id=payment_id, amount=EUR(4_000))
    await shop.work.run(capture_payment, capture, actor=SYSTEM)
    with pytest.raises(Refused) as refused:
        await shop.work.run(
            capture_payment, CapturePayment(payment_id=payment_id, amount=EUR(6_001)), actor=SYSTEM
        )
    assert isinstance(refused.value.errors[0], AmountExceeded)
    await answer(shop, order_id, Outcome.SUCCEEDED)
    assert (await shop.payment(order_id)).status is PaymentState.PARTIALLY_CAPTURED
    assert (await shop.the_order(order_id)).payment_status is PaymentStatus.PARTIALLY_PAID
    await shop.work.run(capture_payment, CapturePayment(payment_id=payment_id), actor=SYSTEM)
    await answer(shop, order_id, Outcome.FAILED, failure="Card blocked.")
    assert (await shop.events(order_id, "PAYMENT%"))[-1] == "PAYMENT_CAPTURE_FAILED"
    await shop.work.run(capture_payment, CapturePayment(payment_id=payment_id), actor=SYSTEM)
    await answer(shop, order_id, Outcome.SUCCEEDED)
    payment, order = await shop.payment(order_id), await shop.the_order(order_id)
    assert (payment.status, payment.captured_amount) == (PaymentState.CAPTURED, 10_000)
    assert (order.payment_status, order.received_total) == (PaymentStatus.PAID, 10_000)
    with pytest.raises(Refused) as refused:
        await shop.work.run(capture_payment, CapturePayment(payment_id=payment_id), actor=SYSTEM)
    assert isinstance(refused.value.errors[0], InvalidTransition)


async def test_an_authorisation_can_be_released_by_hand_once(shop: Shop) -> None:
    order_id = await authorized(shop)
    payment_id = (await shop.payment(order_id)).id
    for _ in range(2):
        await shop.work.run(void_payment, VoidPayment(payment_id=payment_id), actor=SYSTEM)
    await answer(shop, order_id, Outcome.SUCCEEDED)
    assert (await shop.payment(order_id)).status is PaymentState.VOIDED
    with pytest.raises(Refused) as refused:
        await shop.work.run(void_payment, VoidPayment(payment_id=payment_id), actor=SYSTEM)
    assert isinstance(refused.value.errors[0], InvalidTransition)


async def test_an_expired_authorisation_holds_what_has_not_shipped_until_it_is_paid_anew(shop: Shop) -> None:
    order_id = await shop.order()
    await answer(shop, order_id, Outcome.SUCCEEDED, expires_at=await shop.now())
    payment_id = (await shop.payment(order_id)).id
    expire = ExpireAuthorization(payment_id=payment_id)
    assert await shop.work.run(expire_authorization, expire, actor=SYSTEM) is True
    assert await shop.work.run(expire_authorization, expire, actor=SYSTEM) is False
    order = await shop.the_order(order_id)
    assert (order.status, order.on_hold, order.payment_status) == (
        OrderStatus.CONFIRMED,
        True,
        PaymentStatus.EXPIRED,
    )
    again = RequestPayment(order_id=order_id, intent=PaymentIntent(method=PaymentMethod.CARD))
    await shop.work.run(request_payment, again, actor=SYSTEM)
    await answer(shop, order_id, Outcome.SUCCEEDED)
    order = await shop.the_order(order_id)
    assert (order.on_hold, order.payment_status) == (False, PaymentStatus.AUTHORIZED)
    (hold,) = await shop.rows(OrderHold, order_id)
    assert hold.reason.value == "AUTHORIZATION_EXPIRED"
    assert hold.released_at is not None
    assert await shop.events(order_id, "FULFILLMENT%") == [
        "FULFILLMENT_ORDER_OPENED",
        "FULFILLMENT_ORDER_HELD",
        "FULFILLMENT_ORDER_RELEASED",
    ]


async def test_a_transfer_is_recorded_by_hand_in_parts(shop: Shop) -> None:
    order_id = await shop.order(PaymentMethod.BANK_TRANSFER)
    payment_id = (await shop.payment(order_id)).id
    part = RecordPayment(payment_id=payment_id, amount=EUR(4_000), reference="stmt-1")
    for _ in range(3):
        await shop.work.run(record_payment, part, actor=SYSTEM)
    order = await shop.the_order(order_id)
    assert (order.status, order.payment_status) == (OrderStatus.PENDING, PaymentStatus.PARTIALLY_PAID)
    rest = RecordPayment(payment_id=payment_id, amount=EUR(6_500), reference="stmt-2")
    await shop.work.run(record_payment, rest, actor=SYSTEM)
    order = await shop.the_order(order_id)
    assert (order.status, order.payment_status) == (OrderStatus.CONFIRMED, PaymentStatus.PAID)
    assert order.received_total == 10_500
    assert await discrepancies(shop, order_id) == ["EXCESS_PAYMENT"]


async def test_a_card_and_a_transfer_that_cover_an_order_together_release_it(shop: Shop) -> None:
    order_id = await authorized(shop, amount=8_000)
    assert (await shop.the_order(order_id)).status is OrderStatus.PENDING
    rest = RequestPayment(order_id=order_id, intent=PaymentIntent(method=PaymentMethod.BANK_TRANSFER))
    payment_id = await shop.work.run(request_payment, rest, actor=SYSTEM)
    assert (await shop.the_order(order_id)).status is OrderStatus.PENDING
    came = RecordPayment(payment_id=payment_id, amount=EUR(2_000), reference="stmt-1")
    await shop.work.run(record_payment, came, actor=SYSTEM)
    assert (await shop.the_order(order_id)).status is OrderStatus.CONFIRMED


@pytest.mark.parametrize("method", [PaymentMethod.CASH_ON_DELIVERY, PaymentMethod.INVOICE])
async def test_a_cent_on_credit_does_not_release_an_unpaid_order(shop: Shop, method: PaymentMethod) -> None:
    order_id = await shop.order()
    await answer(shop, order_id, Outcome.FAILED)
    for amount, status in ((1, OrderStatus.PENDING), (10_000, OrderStatus.CONFIRMED)):
        intent = PaymentIntent(method=method, amount=amount)
        again = RequestPayment(order_id=order_id, intent=intent, currency="EUR")
        await shop.work.run(request_payment, again, actor=SYSTEM)
        assert (await shop.the_order(order_id)).status is status


async def test_a_card_payment_is_not_recorded_by_hand(shop: Shop) -> None:
    order_id = await shop.order()
    payment_id = (await shop.payment(order_id)).id
    with pytest.raises(Refused) as refused:
        await shop.work.run(record_payment, RecordPayment(payment_id=payment_id, amount=EUR(1)), actor=SYSTEM)
    assert isinstance(refused.value.errors[0], InvalidInput)


async def test_what_a_marketplace_collects_counts_at_once_and_its_settlement_changes_nothing(
    shop: Shop,
) -> None:
    order_id = await shop.order(PaymentMethod.EXTERNAL, reference="market-7")
    order = await shop.the_order(order_id)
    assert (order.status, order.payment_status) == (OrderStatus.CONFIRMED, PaymentStatus.PAID)
    payment_id = (await shop.payment(order_id)).id
    settled = ReportPayment(
        payment_id=payment_id, kind=ReportKind.RECEIVED, reference="settlement-1", amount=EUR(10_000)
    )
    for _ in range(10):
        await shop.work.run(report_payment, settled, actor=SYSTEM)
    assert await shop.transactions(order_id) == [("SALE", "SUCCEEDED", 10_000)]
    assert await discrepancies(shop, order_id) == []


async def test_a_chargeback_counts_once_and_is_put_before_staff(shop: Shop) -> None:
    order_id = await authorized(shop, method=PaymentMethod.PIX)
    payment_id = (await shop.payment(order_id)).id
    report = ReportPayment(
        payment_id=payment_id, kind=ReportKind.CHARGED_BACK, reference="cb-1", amount=EUR(10_000)
    )
    for _ in range(10):
        await shop.work.run(report_payment, report, actor=SYSTEM)
    assert (await shop.the_order(order_id)).charged_back_total == 10_000
    assert await discrepancies(shop, order_id) == ["CHARGEBACK"]
    with pytest.raises(Refused):
        await shop.work.run(create_refund, CreateRefund(order_id=order_id), actor=SYSTEM)


async def test_a_refund_that_the_marketplace_made_itself_is_written_down(shop: Shop) -> None:
    order_id = await shop.order(PaymentMethod.EXTERNAL)
    payment_id = (await shop.payment(order_id)).id
    report = ReportPayment(
        payment_id=payment_id, kind=ReportKind.REFUNDED, reference="r-1", amount=EUR(12_000)
    )
    for _ in range(3):
        await shop.work.run(report_payment, report, actor=SYSTEM)
    assert await shop.refunds(order_id) == [("SUCCEEDED", 10_000)]
    order = await shop.the_order(order_id)
    assert (order.refunded_total, order.payment_status) == (12_000, PaymentStatus.REFUNDED)
    assert await discrepancies(shop, order_id) == ["EXCESS_REFUND"]


async def test_a_failure_that_turns_out_to_be_a_success_counts_once_and_is_put_before_staff(
    shop: Shop,
) -> None:
    order_id = await shop.order(PaymentMethod.PIX)
    transaction_id = await answer(shop, order_id, Outcome.FAILED)
    command = RecordResult(transaction_id=transaction_id, outcome=Outcome.SUCCEEDED)
    for _ in range(3):
        await shop.work.run(record_result, command, actor=SYSTEM)
    assert await shop.transactions(order_id) == [("SALE", "FAILED", 10_000), ("SALE", "SUCCEEDED", 10_000)]
    assert await discrepancies(shop, order_id) == ["CONFLICTING_REPORT", "LATE_PAYMENT"]
    assert (await shop.the_order(order_id)).received_total == 10_000


async def test_a_failed_sale_that_is_reported_received_with_and_without_its_amount_is_paid_once(
    shop: Shop,
) -> None:
    order_id = await shop.order(PaymentMethod.PIX)
    transaction_id = await answer(shop, order_id, Outcome.FAILED)
    for amount in (None, 10_000, 9_999):
        command = RecordResult(transaction_id=transaction_id, outcome=Outcome.SUCCEEDED, amount=amount)
        await shop.work.run(record_result, command, actor=SYSTEM)
    assert await shop.transactions(order_id) == [("SALE", "FAILED", 10_000), ("SALE", "SUCCEEDED", 10_000)]
    assert (await shop.the_order(order_id)).received_total == 10_000


async def test_a_success_that_is_reported_as_failed_later_is_put_before_staff_and_stays(shop: Shop) -> None:
    order_id = await shop.order(PaymentMethod.PIX)
    transaction_id = await answer(shop, order_id, Outcome.SUCCEEDED)
    command = RecordResult(transaction_id=transaction_id, outcome=Outcome.FAILED)
    for _ in range(3):
        await shop.work.run(record_result, command, actor=SYSTEM)
    assert await shop.transactions(order_id) == [("SALE", "SUCCEEDED", 10_000)]
    assert await discrepancies(shop, order_id) == ["CONFLICTING_REPORT"]


async def test_a_lost_answer_is_told_once_and_settled_when_it_is_known(shop: Shop) -> None:
    order_id = await shop.order()
    for _ in range(3):
        await answer(shop, order_id, Outcome.UNKNOWN)
    assert await shop.transactions(order_id) == [("AUTHORIZATION", "UNKNOWN", 10_000)]
    assert await shop.events(order_id, "PAYMENT%") == ["PAYMENT_REQUESTED", "PAYMENT_OUTCOME_UNKNOWN"]
    await answer(shop, order_id, Outcome.SUCCEEDED)
    assert (await shop.payment(order_id)).status is PaymentState.AUTHORIZED


async def test_only_a_payment_that_waits_for_the_customer_is_resumed(shop: Shop) -> None:
    order_id = await authorized(shop)
    payment_id = (await shop.payment(order_id)).id
    with pytest.raises(Refused) as refused:
        await shop.work.run(
            resume_payment, ResumePayment(payment_id=payment_id, answer="approve"), actor=SYSTEM
        )
    assert isinstance(refused.value.errors[0], InvalidInput)


async def test_one_result_recorded_by_ten_at_once_has_one_effect(shop: Shop) -> None:
    order_id = await shop.order(PaymentMethod.PIX)
    (transaction,) = await shop.rows(PaymentTransaction, order_id)
    command = RecordResult(transaction_id=transaction.id, outcome=Outcome.SUCCEEDED)
    await asyncio.gather(*(shop.work.run(record_result, command, actor=SYSTEM) for _ in range(10)))
    assert (await shop.the_order(order_id)).received_total == 10_000
    assert (await shop.events(order_id, "PAYMENT%")) == ["PAYMENT_REQUESTED", "PAYMENT_CAPTURED"]


@pytest.mark.parametrize("attempt", range(5))
async def test_an_authorisation_that_races_the_cancellation_is_released_either_way(
    shop: Shop, attempt: int
) -> None:
    order_id = await shop.order()
    (transaction,) = await shop.rows(PaymentTransaction, order_id)
    await asyncio.gather(
        shop.work.run(
            record_result,
            RecordResult(transaction_id=transaction.id, outcome=Outcome.SUCCEEDED),
            actor=SYSTEM,
        ),
        shop.work.run(cancel_order, CancelOrder(order_id=order_id), actor=SYSTEM),
    )
    assert (await shop.the_order(order_id)).status is OrderStatus.CANCELLED
    assert await shop.transactions(order_id) == [
        ("AUTHORIZATION", "SUCCEEDED", 10_000),
        ("VOID", "PENDING", 10_000),
    ]


async def test_refunds_asked_for_at_once_stay_within_what_was_received(shop: Shop) -> None:
    order_id = await authorized(shop, method=PaymentMethod.PIX)
    command = CreateRefund(order_id=order_id, amount=EUR(3_000))
    answers = await asyncio.gather(
        *(shop.work.run(create_refund, command, actor=SYSTEM) for _ in range(8)), return_exceptions=True
    )
    assert sum(isinstance(answer, Refused) for answer in answers) == 5
    assert await shop.refunds(order_id) == [("PENDING", 3_000)] * 3


async def test_a_refund_over_two_payments_takes_the_latest_first(shop: Shop) -> None:
    order_id = await authorized(shop, method=PaymentMethod.PIX, amount=4_000)
    rest = RequestPayment(order_id=order_id, intent=PaymentIntent(method=PaymentMethod.PIX))
    await shop.work.run(request_payment, rest, actor=SYSTEM)
    await answer(shop, order_id, Outcome.SUCCEEDED)
    assert (await shop.the_order(order_id)).payment_status is PaymentStatus.PAID
    refund = CreateRefund(order_id=order_id, amount=EUR(7_000))
    made = await shop.work.run(create_refund, refund, actor=SYSTEM)
    assert len(made) == 2
    first, second = await shop.rows(Payment, order_id)
    by_payment = {row.payment_id: row.amount for row in await shop.rows(Refund, order_id)}
    assert by_payment == {second.id: 6_000, first.id: 1_000}
