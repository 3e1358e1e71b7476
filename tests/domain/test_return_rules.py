from __future__ import annotations

from uuid import UUID

import pytest

from domain.actions import (
    FULFILLMENT_ORDER_ACTIONS,
    ORDER_ACTIONS,
    PAYMENT_ACTIONS,
    RETURN_ACTIONS,
    SHIPMENT_ACTIONS,
    Fact,
    available_actions,
)
from domain.errors import Refused
from domain.exchanges import ExchangeStatus, exchange_status
from domain.fulfillment import FulfillmentOrderStatus, RequestStatus, resumed
from domain.orders import OrderStatus
from domain.payments import PaymentState
from domain.return_commands import (
    InspectedUnits,
    InspectReturn,
    ReceivedUnits,
    ReceiveReturn,
    RequestReturn,
    ReturnUnits,
    check_inspect_return,
    check_receive_return,
    check_request_return,
)
from domain.returns import (
    BUCKETS,
    CustomerReturnStatus,
    Disposition,
    ReturnFacts,
    ReturnReason,
    ReturnState,
    customer_status,
    returnable,
)
from domain.shipments import ShipmentStatus
from domain.stock import Bucket

LINE = UUID(int=1)


@pytest.mark.parametrize(
    ("facts", "status"),
    [
        (ReturnFacts(state=ReturnState.REQUESTED), CustomerReturnStatus.REQUESTED),
        (ReturnFacts(state=ReturnState.DECLINED), CustomerReturnStatus.DECLINED),
        (ReturnFacts(state=ReturnState.EXPIRED), CustomerReturnStatus.EXPIRED),
        (ReturnFacts(state=ReturnState.OPEN), CustomerReturnStatus.APPROVED),
        (ReturnFacts(state=ReturnState.OPEN, sent=True), CustomerReturnStatus.ON_ITS_WAY),
        (ReturnFacts(state=ReturnState.OPEN, received=2), CustomerReturnStatus.RECEIVED),
        (ReturnFacts(state=ReturnState.OPEN, received=2, accepted=1), CustomerReturnStatus.RECEIVED),
        (
            ReturnFacts(state=ReturnState.OPEN, received=2, accepted=1, rejected=1),
            CustomerReturnStatus.INSPECTED,
        ),
        (ReturnFacts(state=ReturnState.OPEN, refunded=True), CustomerReturnStatus.REFUNDED),
        (
            ReturnFacts(state=ReturnState.CLOSED, received=2, accepted=2, refunded=True),
            CustomerReturnStatus.REFUNDED,
        ),
        (ReturnFacts(state=ReturnState.CLOSED, received=2, replaced=True), CustomerReturnStatus.REPLACED),
        (ReturnFacts(state=ReturnState.CLOSED, received=2, rejected=2), CustomerReturnStatus.CLOSED),
    ],
)
def test_the_customer_is_told_the_furthest_step(facts: ReturnFacts, status: CustomerReturnStatus) -> None:
    assert customer_status(facts) is status


def test_only_kept_goods_enter_stock() -> None:
    assert BUCKETS == {
        Disposition.RESTOCK: Bucket.SELLABLE,
        Disposition.DAMAGED: Bucket.DAMAGED,
        Disposition.QUARANTINE: Bucket.QUARANTINE,
    }


def test_no_more_units_come_back_than_left() -> None:
    assert [returnable(5, 2), returnable(5, 5), returnable(5, 7)] == [3, 0, 0]


@pytest.mark.parametrize(
    ("returned", "replacement", "owed", "status"),
    [
        (ReturnState.REQUESTED, None, 0, ExchangeStatus.REQUESTED),
        (ReturnState.DECLINED, None, 0, ExchangeStatus.DECLINED),
        (ReturnState.EXPIRED, None, 0, ExchangeStatus.CANCELLED),
        (ReturnState.OPEN, OrderStatus.CANCELLED, 0, ExchangeStatus.CANCELLED),
        (ReturnState.OPEN, OrderStatus.PENDING, 500, ExchangeStatus.AWAITING_PAYMENT),
        (ReturnState.OPEN, OrderStatus.PENDING, 0, ExchangeStatus.AWAITING_RETURN),
        (ReturnState.CLOSED, OrderStatus.PROCESSING, 0, ExchangeStatus.REPLACING),
        (ReturnState.CLOSED, OrderStatus.COMPLETED, -500, ExchangeStatus.AWAITING_REFUND),
        (ReturnState.CLOSED, OrderStatus.COMPLETED, 0, ExchangeStatus.COMPLETED),
    ],
)
def test_an_exchange_stands_where_its_return_order_and_balance_put_it(
    returned: ReturnState, replacement: OrderStatus | None, owed: int, status: ExchangeStatus
) -> None:
    assert exchange_status(returned, replacement, owed) is status


@pytest.mark.parametrize(
    ("request_status", "status"),
    [
        (RequestStatus.SUBMITTED, FulfillmentOrderStatus.OPEN),
        (RequestStatus.ACCEPTED, FulfillmentOrderStatus.IN_PROGRESS),
        (RequestStatus.CANCELLATION_REJECTED, FulfillmentOrderStatus.IN_PROGRESS),
    ],
)
def test_released_work_goes_on_where_it_was(
    request_status: RequestStatus, status: FulfillmentOrderStatus
) -> None:
    assert resumed(request_status) is status


def test_available_actions_follow_state_and_facts() -> None:
    assert available_actions(ORDER_ACTIONS, OrderStatus.PENDING, {Fact.UNITS_OPEN}) == (
        "orderUpdate",
        "orderCancel",
        "orderHold",
    )
    assert available_actions(ORDER_ACTIONS, OrderStatus.COMPLETED, {Fact.UNITS_RETURNABLE}) == (
        "orderUpdate",
        "returnRequest",
    )
    assert available_actions(ORDER_ACTIONS, OrderStatus.CANCELLED, set(Fact)) == ()
    assert available_actions(PAYMENT_ACTIONS, PaymentState.CAPTURED, {Fact.REFUNDABLE}) == ("refundCreate",)
    assert "carrierEventsRecord" in available_actions(SHIPMENT_ACTIONS, ShipmentStatus.CANCELLED, ())
    assert available_actions(RETURN_ACTIONS, ReturnState.CLOSED, set(Fact)) == ()
    asked_to_stop = {"fulfillmentOrderAcceptCancellation", "fulfillmentOrderRejectCancellation"}
    working = FulfillmentOrderStatus.IN_PROGRESS
    assert not asked_to_stop & set(available_actions(FULFILLMENT_ORDER_ACTIONS, working, ()))
    assert asked_to_stop <= set(
        available_actions(FULFILLMENT_ORDER_ACTIONS, working, {Fact.CANCELLATION_REQUESTED})
    )


def test_a_return_names_order_lines_or_skus() -> None:
    units = ReturnUnits(quantity=1, reason=ReturnReason.DEFECTIVE, order_line_id=LINE)
    check_request_return(RequestReturn(order_id=UUID(int=9), lines=(units,)))
    with pytest.raises(Refused) as refused:
        check_request_return(RequestReturn(lines=(units, units)))
    assert [error.field for error in refused.value.errors] == [
        ("orderId",),
        ("lines", "0", "sku"),
        ("lines", "1", "sku"),
        ("lines",),
    ]


def test_a_receipt_names_each_line_once_with_a_quantity() -> None:
    check_receive_return(ReceiveReturn(return_id=LINE, lines=(ReceivedUnits(line_id=LINE, quantity=1),)))
    twice = (ReceivedUnits(line_id=LINE, quantity=1), ReceivedUnits(line_id=LINE, quantity=0))
    with pytest.raises(Refused) as refused:
        check_receive_return(ReceiveReturn(return_id=LINE, lines=twice))
    assert [error.field for error in refused.value.errors] == [("lines",), ("lines", "1", "quantity")]


@pytest.mark.parametrize(
    ("accepted", "rejected", "disposition", "fine"),
    [
        (1, 0, Disposition.RESTOCK, True),
        (0, 1, Disposition.RETURN_TO_CUSTOMER, True),
        (0, 1, None, True),
        (1, 0, None, False),
        (1, 0, Disposition.RETURN_TO_CUSTOMER, False),
        (0, 0, Disposition.RESTOCK, False),
        (-1, 2, None, False),
    ],
)
def test_accepted_units_need_a_disposition_that_keeps_them(
    accepted: int, rejected: int, disposition: Disposition | None, fine: bool
) -> None:
    units = InspectedUnits(line_id=LINE, accepted=accepted, rejected=rejected, disposition=disposition)
    command = InspectReturn(return_id=LINE, lines=(units,))
    if fine:
        check_inspect_return(command)
    else:
        with pytest.raises(Refused):
            check_inspect_return(command)
