"""How an order stands: its roll-ups, each by one rule, and the statuses it moves through.

Rules take plain values read under the order's lock and return what must be stored.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from domain.errors import QuantityExceeded, Refused
from domain.orders import ENDED, ORDER, FulfillmentStatus, OrderStatus, ReturnStatus
from domain.returns import ReturnState
from domain.states import transition


@dataclass(frozen=True, slots=True, kw_only=True)
class Units:
    """Where the units of a line, or of all lines of an order, are; in none of these is unallocated."""

    quantity: int
    cancelled: int = 0
    allocated: int = 0
    backordered: int = 0
    fulfilled: int = 0
    returned: int = 0

    @property
    def wanted(self) -> int:
        return self.quantity - self.cancelled

    @property
    def open(self) -> int:
        """Units that have yet to leave; these can still be cancelled."""
        return self.wanted - self.fulfilled

    @property
    def unallocated(self) -> int:
        return self.open - self.allocated - self.backordered


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderFacts:
    """What decides an order's status.

    `work_begun`: a location accepted, or a shipment was made. `on_its_way`: units
    that left and were neither delivered nor collected. `in_trouble`: those of them
    that were lost, damaged or sent back and are not resolved; they keep the order open.
    """

    status: OrderStatus
    units: Units
    gate_met: bool
    work_begun: bool = False
    on_its_way: int = 0
    in_trouble: int = 0
    dispatched_at: datetime | None = None
    completes_after: timedelta = timedelta(days=30)


def fulfillment_status(units: Units) -> FulfillmentStatus:
    """How much of an order has left, by the units of all its lines."""
    if not units.wanted:
        return FulfillmentStatus.CANCELLED
    if not units.fulfilled:
        return FulfillmentStatus.UNFULFILLED
    return FulfillmentStatus.PARTIALLY_FULFILLED if units.open > 0 else FulfillmentStatus.FULFILLED


def return_status(units: Units, returns: Collection[ReturnState]) -> ReturnStatus:
    """What is under way is told first; else how much of what had left has come back."""
    if ReturnState.OPEN in returns:
        return ReturnStatus.IN_PROGRESS
    if ReturnState.REQUESTED in returns:
        return ReturnStatus.REQUESTED
    if not units.returned:
        return ReturnStatus.NONE
    everything = units.returned >= units.fulfilled
    return ReturnStatus.RETURNED if everything else ReturnStatus.PARTIALLY_RETURNED


def settle(facts: OrderFacts, now: datetime) -> tuple[OrderStatus, ...]:
    """The statuses the order now moves through, in order; none when it stays as it is.

    Every step is an arrow of the ORDER table.
    """
    path: list[OrderStatus] = []
    while (following := _next(facts, now)) is not None:
        path.append(transition(ORDER, facts.status, following))
        facts = replace(facts, status=following)
    return tuple(path)


def is_expired(facts: OrderFacts, payment_due_at: datetime | None, now: datetime) -> bool:
    """Unpaid when payment was due. An order of which something has left waits for staff instead."""
    if facts.status is not OrderStatus.PENDING or facts.gate_met or payment_due_at is None:
        return False
    return payment_due_at <= now and not facts.units.fulfilled


def require_units(requested: int, limit: int, what: str, *, field: tuple[str, ...]) -> int:
    """`requested`, if there are as many units to be `what` ("cancelled"); else Refused(QuantityExceeded)."""
    if requested <= limit:
        return requested
    message = f"{max(0, limit)} units can be {what}, not {requested}."
    raise Refused(QuantityExceeded(message=message, field=field, requested=requested, limit=max(0, limit)))


def _next(facts: OrderFacts, now: datetime) -> OrderStatus | None:
    if facts.status in ENDED:
        return None
    units = facts.units
    if units.quantity and not units.wanted:
        return OrderStatus.CANCELLED
    match facts.status:
        case OrderStatus.PENDING if facts.gate_met:
            return OrderStatus.CONFIRMED
        case OrderStatus.CONFIRMED if facts.work_begun or units.fulfilled:
            return OrderStatus.PROCESSING
        case OrderStatus.PROCESSING if units.open <= 0 and _arrived(facts, now):
            return OrderStatus.COMPLETED
    return None


def _arrived(facts: OrderFacts, now: datetime) -> bool:
    if facts.in_trouble:
        return False
    if not facts.on_its_way:
        return True
    return facts.dispatched_at is not None and facts.dispatched_at + facts.completes_after <= now
