"""Exchanges: goods come back, others go out, and the difference is paid. The status is derived."""

from __future__ import annotations

from enum import StrEnum

from domain.orders import OrderStatus
from domain.returns import ReturnState


class ExchangeStatus(StrEnum):
    REQUESTED = "REQUESTED"
    DECLINED = "DECLINED"
    CANCELLED = "CANCELLED"
    AWAITING_RETURN = "AWAITING_RETURN"
    AWAITING_PAYMENT = "AWAITING_PAYMENT"  # the replacement costs more than came back
    AWAITING_REFUND = "AWAITING_REFUND"  # the replacement costs less than came back
    REPLACING = "REPLACING"
    COMPLETED = "COMPLETED"


def exchange_status(returned: ReturnState, replacement: OrderStatus | None, owed: int) -> ExchangeStatus:
    """By the return, the replacement order (None while there is none) and the balance between them.

    `owed` is in minor units: positive is due from the customer, negative due to them.
    """
    unanswered = {
        ReturnState.REQUESTED: ExchangeStatus.REQUESTED,
        ReturnState.DECLINED: ExchangeStatus.DECLINED,
    }
    if returned in unanswered:
        return unanswered[returned]
    withdrawn = returned in (ReturnState.CANCELLED, ReturnState.EXPIRED)
    if replacement in (OrderStatus.CANCELLED, OrderStatus.EXPIRED) or (withdrawn and replacement is None):
        return ExchangeStatus.CANCELLED
    steps = (
        (owed > 0, ExchangeStatus.AWAITING_PAYMENT),
        (returned is ReturnState.OPEN, ExchangeStatus.AWAITING_RETURN),
        (replacement is not OrderStatus.COMPLETED, ExchangeStatus.REPLACING),
        (owed < 0, ExchangeStatus.AWAITING_REFUND),
    )
    return next((status for waiting, status in steps if waiting), ExchangeStatus.COMPLETED)
