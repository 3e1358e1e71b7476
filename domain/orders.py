"""Orders: their states, and the words their rules are written in.

Roll-ups and completion are rules of `order_status.py`, what a caller may do of
`order_actions.py`, what callers send of `order_commands.py`.
"""

from __future__ import annotations

from enum import StrEnum

from domain.states import Machine


class OrderStatus(StrEnum):
    """Where an order stands as a whole; money, goods and returns have axes of their own."""

    DRAFT = "DRAFT"
    PENDING = "PENDING"
    CONFIRMED = "CONFIRMED"
    PROCESSING = "PROCESSING"
    COMPLETED = "COMPLETED"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"


ORDER = Machine(
    "Order",
    OrderStatus,
    initial=(OrderStatus.DRAFT, OrderStatus.PENDING),
    rows=(
        (OrderStatus.DRAFT, OrderStatus.PENDING, "placed: priced, allocated, promised"),
        (OrderStatus.DRAFT, OrderStatus.CANCELLED, "given up before it was placed"),
        (OrderStatus.PENDING, OrderStatus.CONFIRMED, "its release gate is met"),
        (OrderStatus.PENDING, OrderStatus.EXPIRED, "unpaid when payment was due"),
        (OrderStatus.PENDING, OrderStatus.CANCELLED, "all units cancelled, none has left"),
        (OrderStatus.CONFIRMED, OrderStatus.PROCESSING, "a location has begun work on it"),
        (OrderStatus.CONFIRMED, OrderStatus.CANCELLED, "all units cancelled, none has left"),
        (
            OrderStatus.PROCESSING,
            OrderStatus.COMPLETED,
            "every unit delivered, collected, cancelled or resolved",
        ),
        (OrderStatus.PROCESSING, OrderStatus.CANCELLED, "all units cancelled, none has left"),
    ),
)

ENDED = frozenset({OrderStatus.COMPLETED, OrderStatus.CANCELLED, OrderStatus.EXPIRED})
"""An order that has ended holds no stock and goes nowhere; later returns do not reopen it."""


class PaymentStatus(StrEnum):
    """What an order's payments amount to."""

    UNPAID = "UNPAID"  # nothing has been asked for
    PENDING = "PENDING"  # asked for: waiting for the provider or the customer
    AUTHORIZED = "AUTHORIZED"  # what is due is authorised, nothing of it captured
    PARTIALLY_PAID = "PARTIALLY_PAID"
    PAID = "PAID"  # received at least what is due
    PARTIALLY_REFUNDED = "PARTIALLY_REFUNDED"
    REFUNDED = "REFUNDED"  # all that was received has been given or charged back
    VOIDED = "VOIDED"  # authorised once, and released
    EXPIRED = "EXPIRED"  # the only attempts ran out of time
    FAILED = "FAILED"  # the last attempt was declined


class FulfillmentStatus(StrEnum):
    """How much of an order has left."""

    UNFULFILLED = "UNFULFILLED"
    PARTIALLY_FULFILLED = "PARTIALLY_FULFILLED"
    FULFILLED = "FULFILLED"  # every unit that was not cancelled has left
    CANCELLED = "CANCELLED"  # every unit was cancelled


class ReturnStatus(StrEnum):
    """How much of an order has come, or is to come, back."""

    NONE = "NONE"
    REQUESTED = "REQUESTED"
    IN_PROGRESS = "IN_PROGRESS"
    PARTIALLY_RETURNED = "PARTIALLY_RETURNED"
    RETURNED = "RETURNED"


class ReleaseGate(StrEnum):
    """What must have happened before an order goes to a warehouse."""

    AUTHORIZED = "AUTHORIZED"  # cards: what is due is authorised
    CAPTURED = "CAPTURED"  # PIX, bank slips, transfers: what is due was received
    TERMS = "TERMS"  # invoiced: on the customer's credit
    ON_DELIVERY = "ON_DELIVERY"  # paid to the carrier at the door
    MARKETPLACE = "MARKETPLACE"  # the marketplace answers for the money


class CollectedBy(StrEnum):
    """Who takes the customer's money."""

    MERCHANT = "MERCHANT"
    MARKETPLACE = "MARKETPLACE"
    CARRIER = "CARRIER"


class PricingAuthority(StrEnum):
    """Who says what an order costs; a partner's sums are verified all the same."""

    PARTNER = "PARTNER"
    OMS = "OMS"


class ChannelKind(StrEnum):
    ECOMMERCE = "ECOMMERCE"
    MARKETPLACE = "MARKETPLACE"
    STORE = "STORE"
    PHONE = "PHONE"
    SALES_REPRESENTATIVE = "SALES_REPRESENTATIVE"
    SOCIAL = "SOCIAL"
    EDI = "EDI"


class Origin(StrEnum):
    """How a change came about: only PLACED ones went through the state tables."""

    PLACED = "PLACED"
    IMPORTED = "IMPORTED"  # history of another system, in its own time
    CORRECTED = "CORRECTED"  # set right by staff


class HoldReason(StrEnum):
    """Why an order must not go to a warehouse for now."""

    FRAUD_REVIEW = "FRAUD_REVIEW"
    ADDRESS = "ADDRESS"
    PAYMENT = "PAYMENT"
    AUTHORIZATION_EXPIRED = "AUTHORIZATION_EXPIRED"
    CREDIT_LIMIT = "CREDIT_LIMIT"
    STOCK = "STOCK"
    CUSTOMER_REQUEST = "CUSTOMER_REQUEST"
    INVOICE = "INVOICE"
    OTHER = "OTHER"


class AdjustmentKind(StrEnum):
    """What changes a price: DISCOUNT lowers it; SHIPPING and FEE are charged on the order."""

    DISCOUNT = "DISCOUNT"
    SHIPPING = "SHIPPING"
    FEE = "FEE"


class BalanceStatus(StrEnum):
    """What an order's balance says; any of them is legal."""

    SETTLED = "SETTLED"
    DUE = "DUE"
    OVERPAID = "OVERPAID"
