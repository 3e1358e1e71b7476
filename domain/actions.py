"""Which mutations the state of an entity permits: `availableActions`.

Literal tables, so that the same rows serve a rule here and an SQL expression in a
plan: an action is available in its `states`, as long as every fact of `needs`
holds. Whether the caller has the scope for it is another matter.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

from domain.fulfillment import FulfillmentOrderStatus
from domain.orders import OrderStatus
from domain.payments import PaymentState
from domain.returns import ReturnState
from domain.shipments import ShipmentStatus

S = TypeVar("S", bound=StrEnum)


class Fact(StrEnum):
    """What an action may need beside the entity's state."""

    HELD = "HELD"  # the order has an unreleased hold
    UNITS_OPEN = "UNITS_OPEN"  # units of the order have neither left nor been cancelled
    UNITS_RETURNABLE = "UNITS_RETURNABLE"  # units of the order have left and not come back
    MONEY_DUE = "MONEY_DUE"  # the order's balance is positive
    CAPTURABLE = "CAPTURABLE"  # the payment is authorised for more than was captured
    REFUNDABLE = "REFUNDABLE"  # the payment received more than was given back
    BY_HAND = "BY_HAND"  # people record what comes of the payment: it has no provider to ask
    ASKED = "ASKED"  # the payment has a provider that can be asked
    NOTHING_RECEIVED = "NOTHING_RECEIVED"  # no unit of the return has come in
    UNINSPECTED = "UNINSPECTED"  # units of the return were received and not judged
    ALL_INSPECTED = "ALL_INSPECTED"  # every received unit of the return was judged
    CANCELLATION_REQUESTED = "CANCELLATION_REQUESTED"  # the location was asked to stop


@dataclass(frozen=True, slots=True)
class Action(Generic[S]):
    """A mutation by its name in the API."""

    name: str
    states: tuple[S, ...]
    needs: tuple[Fact, ...] = ()


def available_actions(actions: Sequence[Action[S]], state: S, facts: Collection[Fact]) -> tuple[str, ...]:
    """Names of the actions that `state` and `facts` permit, in the order of the table."""
    return tuple(
        action.name
        for action in actions
        if state in action.states and all(fact in facts for fact in action.needs)
    )


_RUNNING = (OrderStatus.PENDING, OrderStatus.CONFIRMED, OrderStatus.PROCESSING)

ORDER_ACTIONS: tuple[Action[OrderStatus], ...] = (
    Action("orderUpdate", (OrderStatus.DRAFT, *_RUNNING, OrderStatus.COMPLETED)),
    Action("orderCancel", (OrderStatus.DRAFT, *_RUNNING), (Fact.UNITS_OPEN,)),
    Action("orderHold", _RUNNING),
    Action("orderRelease", _RUNNING, (Fact.HELD,)),
    Action("paymentRequest", _RUNNING, (Fact.MONEY_DUE,)),
    Action("returnRequest", (OrderStatus.PROCESSING, OrderStatus.COMPLETED), (Fact.UNITS_RETURNABLE,)),
)

PAYMENT_ACTIONS: tuple[Action[PaymentState], ...] = (
    Action("paymentRecord", tuple(PaymentState), (Fact.BY_HAND,)),
    Action("paymentResume", (PaymentState.ACTION_REQUIRED,), (Fact.ASKED,)),
    Action("paymentCapture", (PaymentState.AUTHORIZED, PaymentState.PARTIALLY_CAPTURED), (Fact.CAPTURABLE,)),
    Action("paymentVoid", (PaymentState.AUTHORIZED, PaymentState.PARTIALLY_CAPTURED), (Fact.CAPTURABLE,)),
    Action("paymentVoid", (PaymentState.PENDING, PaymentState.ACTION_REQUIRED)),
    Action("refundCreate", tuple(PaymentState), (Fact.REFUNDABLE,)),
)

FULFILLMENT_ORDER_ACTIONS: tuple[Action[FulfillmentOrderStatus], ...] = (
    Action("fulfillmentOrderAccept", (FulfillmentOrderStatus.OPEN,)),
    Action("fulfillmentOrderReject", (FulfillmentOrderStatus.OPEN,)),
    Action("fulfillmentOrderHold", (FulfillmentOrderStatus.OPEN, FulfillmentOrderStatus.IN_PROGRESS)),
    Action("fulfillmentOrderRelease", (FulfillmentOrderStatus.ON_HOLD,)),
    Action("fulfillmentOrderMarkShort", (FulfillmentOrderStatus.IN_PROGRESS,)),
    Action(
        "fulfillmentOrderAcceptCancellation",
        (FulfillmentOrderStatus.IN_PROGRESS,),
        (Fact.CANCELLATION_REQUESTED,),
    ),
    Action(
        "fulfillmentOrderRejectCancellation",
        (FulfillmentOrderStatus.IN_PROGRESS,),
        (Fact.CANCELLATION_REQUESTED,),
    ),
    Action("shipmentCreate", (FulfillmentOrderStatus.OPEN, FulfillmentOrderStatus.IN_PROGRESS)),
)

_HERE = (ShipmentStatus.PENDING, ShipmentStatus.PICKING, ShipmentStatus.PACKED)

SHIPMENT_ACTIONS: tuple[Action[ShipmentStatus], ...] = (
    Action("shipmentStartPicking", (ShipmentStatus.PENDING,)),
    Action("shipmentPack", (ShipmentStatus.PENDING, ShipmentStatus.PICKING)),
    Action("shipmentDispatch", _HERE),
    Action("shipmentReadyForPickup", _HERE),
    Action("shipmentCollect", (*_HERE, ShipmentStatus.READY_FOR_PICKUP)),
    Action("shipmentExpirePickup", (ShipmentStatus.READY_FOR_PICKUP,)),
    Action("shipmentCancel", (*_HERE, ShipmentStatus.READY_FOR_PICKUP)),
    Action("carrierEventsRecord", tuple(ShipmentStatus)),
)

RETURN_ACTIONS: tuple[Action[ReturnState], ...] = (
    Action("returnApprove", (ReturnState.REQUESTED,)),
    Action("returnDecline", (ReturnState.REQUESTED,)),
    Action("returnCancel", (ReturnState.REQUESTED, ReturnState.OPEN), (Fact.NOTHING_RECEIVED,)),
    Action("returnMarkSent", (ReturnState.OPEN,), (Fact.NOTHING_RECEIVED,)),
    Action("returnReceive", (ReturnState.OPEN,)),
    Action("returnInspect", (ReturnState.OPEN,), (Fact.UNINSPECTED,)),
    Action("returnClose", (ReturnState.OPEN,), (Fact.ALL_INSPECTED,)),
)
