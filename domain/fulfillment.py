"""Fulfillment orders: what one location is asked to send, and how it answers."""

from __future__ import annotations

from enum import StrEnum

from domain.states import Machine


class FulfillmentOrderStatus(StrEnum):
    SCHEDULED = "SCHEDULED"
    OPEN = "OPEN"
    IN_PROGRESS = "IN_PROGRESS"
    ON_HOLD = "ON_HOLD"
    CLOSED = "CLOSED"
    INCOMPLETE = "INCOMPLETE"
    REJECTED = "REJECTED"
    CANCELLED = "CANCELLED"


FULFILLMENT_ORDER = Machine(
    "FulfillmentOrder",
    FulfillmentOrderStatus,
    initial=(FulfillmentOrderStatus.SCHEDULED, FulfillmentOrderStatus.OPEN),
    rows=(
        (FulfillmentOrderStatus.SCHEDULED, FulfillmentOrderStatus.OPEN, "its time has come"),
        (FulfillmentOrderStatus.SCHEDULED, FulfillmentOrderStatus.CANCELLED, "cancelled before it was due"),
        (FulfillmentOrderStatus.OPEN, FulfillmentOrderStatus.IN_PROGRESS, "the location accepted it"),
        (FulfillmentOrderStatus.OPEN, FulfillmentOrderStatus.ON_HOLD, "the order was held"),
        (FulfillmentOrderStatus.OPEN, FulfillmentOrderStatus.REJECTED, "the location refused; re-sourced"),
        (FulfillmentOrderStatus.OPEN, FulfillmentOrderStatus.CANCELLED, "cancelled before work began"),
        (FulfillmentOrderStatus.IN_PROGRESS, FulfillmentOrderStatus.ON_HOLD, "the order was held"),
        (FulfillmentOrderStatus.IN_PROGRESS, FulfillmentOrderStatus.CLOSED, "all of it has left"),
        (
            FulfillmentOrderStatus.IN_PROGRESS,
            FulfillmentOrderStatus.INCOMPLETE,
            "short pick; a replacement follows",
        ),
        (
            FulfillmentOrderStatus.IN_PROGRESS,
            FulfillmentOrderStatus.CANCELLED,
            "the location accepted to stop",
        ),
        (FulfillmentOrderStatus.ON_HOLD, FulfillmentOrderStatus.OPEN, "released, not yet accepted"),
        (FulfillmentOrderStatus.ON_HOLD, FulfillmentOrderStatus.IN_PROGRESS, "released, work goes on"),
        (FulfillmentOrderStatus.ON_HOLD, FulfillmentOrderStatus.CANCELLED, "cancelled while held"),
    ),
)

LIVE = frozenset(
    {
        FulfillmentOrderStatus.SCHEDULED,
        FulfillmentOrderStatus.OPEN,
        FulfillmentOrderStatus.IN_PROGRESS,
        FulfillmentOrderStatus.ON_HOLD,
    }
)
"""Fulfillment orders that may still send something."""


class RequestStatus(StrEnum):
    """The conversation with the location about a fulfillment order."""

    UNSUBMITTED = "UNSUBMITTED"
    SUBMITTED = "SUBMITTED"
    ACCEPTED = "ACCEPTED"
    REJECTED = "REJECTED"
    CANCELLATION_REQUESTED = "CANCELLATION_REQUESTED"
    CANCELLATION_ACCEPTED = "CANCELLATION_ACCEPTED"
    CANCELLATION_REJECTED = "CANCELLATION_REJECTED"
    CLOSED = "CLOSED"


REQUEST = Machine(
    "FulfillmentRequest",
    RequestStatus,
    initial=(RequestStatus.UNSUBMITTED, RequestStatus.SUBMITTED),
    rows=(
        (RequestStatus.UNSUBMITTED, RequestStatus.SUBMITTED, "the location is asked"),
        (RequestStatus.UNSUBMITTED, RequestStatus.CLOSED, "withdrawn before it was asked"),
        (RequestStatus.SUBMITTED, RequestStatus.ACCEPTED, "the location will send it"),
        (RequestStatus.SUBMITTED, RequestStatus.REJECTED, "the location will not"),
        (RequestStatus.SUBMITTED, RequestStatus.CLOSED, "withdrawn before it answered"),
        (RequestStatus.ACCEPTED, RequestStatus.CANCELLATION_REQUESTED, "the location is asked to stop"),
        (RequestStatus.ACCEPTED, RequestStatus.CLOSED, "all of it has left, or fell short"),
        (RequestStatus.CANCELLATION_REQUESTED, RequestStatus.CANCELLATION_ACCEPTED, "it stopped in time"),
        (RequestStatus.CANCELLATION_REQUESTED, RequestStatus.CANCELLATION_REJECTED, "it goes on"),
        (RequestStatus.CANCELLATION_REQUESTED, RequestStatus.CLOSED, "the dispatch was faster"),
        (RequestStatus.CANCELLATION_REJECTED, RequestStatus.CANCELLATION_REQUESTED, "asked to stop again"),
        (RequestStatus.CANCELLATION_REJECTED, RequestStatus.CLOSED, "all of it has left, or fell short"),
    ),
)


def resumed(request: RequestStatus) -> FulfillmentOrderStatus:
    """Where a held fulfillment order goes on when its last hold is released."""
    accepted = {
        RequestStatus.ACCEPTED,
        RequestStatus.CANCELLATION_REQUESTED,
        RequestStatus.CANCELLATION_REJECTED,
    }
    return FulfillmentOrderStatus.IN_PROGRESS if request in accepted else FulfillmentOrderStatus.OPEN
