"""Returns: goods that come back, with or without an order."""

from __future__ import annotations

from enum import StrEnum

from domain.states import Machine
from domain.stock import Bucket


class ReturnState(StrEnum):
    """Where one return stands (an order's returns together are its ReturnStatus)."""

    REQUESTED = "REQUESTED"
    OPEN = "OPEN"
    CLOSED = "CLOSED"
    DECLINED = "DECLINED"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"


RETURN = Machine(
    "Return",
    ReturnState,
    initial=(ReturnState.REQUESTED, ReturnState.OPEN),
    rows=(
        (ReturnState.REQUESTED, ReturnState.OPEN, "approved"),
        (ReturnState.REQUESTED, ReturnState.DECLINED, "not approved"),
        (ReturnState.REQUESTED, ReturnState.CANCELLED, "withdrawn before it was answered"),
        (ReturnState.OPEN, ReturnState.CLOSED, "received, inspected and settled"),
        (ReturnState.OPEN, ReturnState.CANCELLED, "withdrawn before anything was received"),
        (ReturnState.OPEN, ReturnState.EXPIRED, "nothing was sent back in time"),
    ),
)


class ReturnReason(StrEnum):
    NO_LONGER_WANTED = "NO_LONGER_WANTED"
    DOES_NOT_FIT = "DOES_NOT_FIT"
    NOT_AS_DESCRIBED = "NOT_AS_DESCRIBED"
    DEFECTIVE = "DEFECTIVE"
    DAMAGED = "DAMAGED"
    WRONG_ITEM = "WRONG_ITEM"
    ARRIVED_LATE = "ARRIVED_LATE"
    REFUSED = "REFUSED"  # at the door
    UNDELIVERABLE = "UNDELIVERABLE"  # the carrier brought it back
    CANCELLED_TOO_LATE = "CANCELLED_TOO_LATE"  # it left while its cancellation was on its way
    OTHER = "OTHER"


class Disposition(StrEnum):
    """What becomes of a returned unit that was accepted (or, RETURN_TO_CUSTOMER, was not)."""

    RESTOCK = "RESTOCK"
    DAMAGED = "DAMAGED"
    QUARANTINE = "QUARANTINE"
    SCRAP = "SCRAP"
    RETURN_TO_CUSTOMER = "RETURN_TO_CUSTOMER"


BUCKETS: dict[Disposition, Bucket] = {
    Disposition.RESTOCK: Bucket.SELLABLE,
    Disposition.DAMAGED: Bucket.DAMAGED,
    Disposition.QUARANTINE: Bucket.QUARANTINE,
}
"""The stock that a unit of this disposition enters; the others enter none."""


class CustomerReturnStatus(StrEnum):
    """What the customer is told of a return; derived."""

    REQUESTED = "REQUESTED"
    APPROVED = "APPROVED"
    ON_ITS_WAY = "ON_ITS_WAY"
    RECEIVED = "RECEIVED"
    INSPECTED = "INSPECTED"
    REFUNDED = "REFUNDED"
    REPLACED = "REPLACED"
    CLOSED = "CLOSED"  # settled without refund or replacement
    DECLINED = "DECLINED"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"
