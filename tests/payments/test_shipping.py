"""Money follows the goods: captures as they leave, releases when nothing more will."""

from __future__ import annotations

from uuid import UUID

import pytest

from db.fulfillment import FulfillmentOrder, FulfillmentOrderLine
from db.payments import PaymentTransaction
from domain.access import SYSTEM
from domain.fulfillment_commands import AcceptCancellation
from domain.order_commands import CancelOrder
from domain.orders import PaymentStatus
from domain.payments import PaymentState, TransactionStatus
from domain.shipment_commands import DispatchShipment, ShipUnits
from services.dispatches import dispatch_shipment
from services.order_cancellation import cancel_order
from services.transactions import Outcome, RecordResult, record_result
from services.withdrawals import accept_cancellation
from tests.payments.shop import Shop


async def answer_all(shop: Shop, order_id: UUID, outcome: Outcome = Outcome.SUCCEEDED) -> None:
    """Record the outcome of everything that is open."""
    for row in await shop.rows(PaymentTransaction, order_id):
        if row.status is TransactionStatus.PENDING:
            command = RecordResult(transaction_id=row.id, outcome=outcome)
            await shop.work.run(record_result, command, actor=SYSTEM)


async def dispatch(shop: Shop, order_id: UUID, units: int) -> None:
    (order,) = await shop.rows(FulfillmentOrder, order_id)
    async with shop.engine.connect() as session:
        statement = FulfillmentOrderLine.__table__.select().where(
            FulfillmentOrderLine.fulfillment_order_id == order.id
        )
        line = (await session.execute(statement)).one()
    command = DispatchShipment(
        fulfillment_order_id=order.id,
        lines=(ShipUnits(fulfillment_order_line_id=line.id, quantity=units),),
        carrier="DHL",
    )
    await shop.work.run(dispatch_shipment, command, actor=SYSTEM)


@pytest.fixture
async def order_id(shop: Shop) -> UUID:
    """An authorised order of three units, 150.00 EUR."""
    placed = await shop.order(quantity=3)
    await answer_all(shop, placed)
    return placed


async def test_each_shipment_asks_for_its_share_and_the_last_for_the_rest(shop: Shop, order_id: UUID) -> None:
    await dispatch(shop, order_id, 1)
    assert (await shop.transactions(order_id))[1:] == [("CAPTURE", "PENDING", 5_000)]
    await dispatch(shop, order_id, 2)
    assert (await shop.transactions(order_id))[1:] == [
        ("CAPTURE", "PENDING", 5_000),
        ("CAPTURE", "PENDING", 10_000),
    ]
    await answer_all(shop, order_id)
    assert (await shop.payment(order_id)).status is PaymentState.CAPTURED
    assert (await shop.the_order(order_id)).payment_status is PaymentStatus.PAID


async def test_what_an_earlier_capture_failed_to_bring_is_asked_for_with_the_last_shipment(
    shop: Shop, order_id: UUID
) -> None:
    await dispatch(shop, order_id, 1)
    await answer_all(shop, order_id, Outcome.FAILED)
    await dispatch(shop, order_id, 2)
    assert (await shop.transactions(order_id))[1:] == [
        ("CAPTURE", "FAILED", 5_000),
        ("CAPTURE", "PENDING", 15_000),
    ]
    await answer_all(shop, order_id)


async def test_units_cancelled_after_the_rest_has_left_release_what_they_were_to_bring(
    shop: Shop, order_id: UUID
) -> None:
    await dispatch(shop, order_id, 1)
    await answer_all(shop, order_id)
    await shop.work.run(cancel_order, CancelOrder(order_id=order_id), actor=SYSTEM)
    (order,) = await shop.rows(FulfillmentOrder, order_id)
    accept = AcceptCancellation(fulfillment_order_id=order.id)
    await shop.work.run(accept_cancellation, accept, actor=SYSTEM)
    assert (await shop.transactions(order_id))[1:] == [
        ("CAPTURE", "SUCCEEDED", 5_000),
        ("VOID", "PENDING", 10_000),
    ]
    await answer_all(shop, order_id)
    payment, paid = await shop.payment(order_id), await shop.the_order(order_id)
    assert (payment.status, payment.voided_amount) == (PaymentState.CAPTURED, 10_000)
    assert (paid.current_total, paid.payment_status) == (5_000, PaymentStatus.PAID)
