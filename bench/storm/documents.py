"""The operations that a storm's clients send."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Mutation:
    """A document, and where in its payload the entities are that it acknowledges."""

    text: str
    entity: str
    many: bool = False
    items: bool = False

    def entities(self, payload: Mapping[str, Any]) -> list[Mapping[str, Any] | None]:
        if self.items:
            return [result[self.entity] for result in payload["results"] or []]
        found = payload[self.entity]
        return list(found or []) if self.many else [found]


def _of_input(field: str, type_name: str, entity: str, *, many: bool = False) -> Mutation:
    return Mutation(
        f"mutation($input: {type_name}!, $key: String!) {{ {field}(input: $input, idempotencyKey: $key) "
        f"{{ {entity} {{ id }} userErrors {{ code message }} }} }}",
        entity,
        many,
    )


def _of_id(field: str, entity: str, *, argument: str = "id") -> Mutation:
    return Mutation(
        f"mutation(${argument}: ID!, $key: String!) "
        f"{{ {field}({argument}: ${argument}, idempotencyKey: $key) "
        f"{{ {entity} {{ id }} userErrors {{ code message }} }} }}",
        entity,
    )


MUTATIONS = {
    "orderPlace": _of_input("orderPlace", "OrderPlaceInput", "order"),
    "orderCancel": _of_input("orderCancel", "OrderCancelInput", "order"),
    "fulfillmentOrderAccept": _of_id("fulfillmentOrderAccept", "fulfillmentOrder"),
    "fulfillmentOrderAcceptCancellation": _of_id("fulfillmentOrderAcceptCancellation", "fulfillmentOrder"),
    "shipmentCreate": _of_input("shipmentCreate", "ShipmentCreateInput", "shipment"),
    "shipmentStartPicking": _of_id("shipmentStartPicking", "shipment"),
    "shipmentDispatch": _of_input("shipmentDispatch", "ShipmentDispatchInput", "shipment"),
    "carrierEventsRecord": Mutation(
        "mutation($events: [CarrierEventInput!]!, $key: String!) "
        "{ carrierEventsRecord(events: $events, idempotencyKey: $key) "
        "{ results { carrierEvent { id } userErrors { code } } userErrors { code message } } }",
        "carrierEvent",
        items=True,
    ),
    "returnRequest": _of_input("returnRequest", "ReturnRequestInput", "return"),
    "returnApprove": _of_input("returnApprove", "ReturnApproveInput", "return"),
    "returnReceive": _of_input("returnReceive", "ReturnReceiveInput", "return"),
    "returnInspect": _of_input("returnInspect", "ReturnInspectInput", "return"),
    "returnClose": _of_id("returnClose", "return"),
    "paymentRequest": _of_input("paymentRequest", "PaymentRequestInput", "payment"),
    "paymentCapture": _of_input("paymentCapture", "PaymentCaptureInput", "payment"),
    "refundCreate": _of_input("refundCreate", "RefundCreateInput", "refunds", many=True),
    "stockReceive": _of_input("stockReceive", "StockReceiveInput", "stockLevel"),
    "stockAdjust": _of_input("stockAdjust", "StockAdjustInput", "stockLevel"),
    "stockReserve": _of_input("stockReserve", "StockReserveInput", "reservation"),
    "stockRelease": _of_id("stockRelease", "reservation", argument="reservationId"),
}

BULK = (
    "mutation($inputs: [OrdersPlaceInput!]!) { ordersPlace(inputs: $inputs) "
    "{ results { order { id } userErrors { code message } } userErrors { code message } } }"
)

ORDER = """
query($id: ID!) {
  order(id: $id) {
    id
    status
    lines { id }
    fulfillmentOrders { id status requestStatus }
    shipments { id status packages { id } }
    payments { id status }
    returns { id status lines { id quantityReceived } }
  }
}
"""
