"""Returns: goods that come back, with or without an order."""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True, kw_only=True)
class ReturnFacts:
    """What the customer's view of a return is derived from; units are summed over its lines.

    `sent`: a tracking number or a carrier's scan says the parcel is on its way.
    `refunded`: a refund of this return was paid out. `replaced`: the replacement of
    its exchange has left.
    """

    state: ReturnState
    received: int = 0
    accepted: int = 0
    rejected: int = 0
    sent: bool = False
    refunded: bool = False
    replaced: bool = False


def customer_status(facts: ReturnFacts) -> CustomerReturnStatus:
    """What the customer is told, the furthest step first; a refund may precede the inspection."""
    if facts.state in _PLAIN:
        return _PLAIN[facts.state]
    inspected = facts.accepted + facts.rejected
    steps = (
        (facts.replaced, CustomerReturnStatus.REPLACED),
        (facts.refunded, CustomerReturnStatus.REFUNDED),
        (facts.state is ReturnState.CLOSED, CustomerReturnStatus.CLOSED),
        (0 < facts.received <= inspected, CustomerReturnStatus.INSPECTED),
        (facts.received > 0, CustomerReturnStatus.RECEIVED),
        (facts.sent, CustomerReturnStatus.ON_ITS_WAY),
    )
    return next((status for reached, status in steps if reached), CustomerReturnStatus.APPROVED)


_PLAIN = {
    ReturnState.REQUESTED: CustomerReturnStatus.REQUESTED,
    ReturnState.DECLINED: CustomerReturnStatus.DECLINED,
    ReturnState.CANCELLED: CustomerReturnStatus.CANCELLED,
    ReturnState.EXPIRED: CustomerReturnStatus.EXPIRED,
}


def returnable(fulfilled: int, already: int) -> int:
    """Units of an order line that a new return may name.

    `already` counts the units of its returns that were not declined, cancelled or
    expired: expected ones while they are open, received ones once they are closed.
    """
    return max(0, fulfilled - already)
