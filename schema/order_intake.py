"""What callers send to place many orders at once."""

from __future__ import annotations

import strawberry

from schema.order_inputs import OrderPlaceInput


@strawberry.input(
    description="One of the orders to place, and the key of its own that makes it safe to repeat."
)
class OrdersPlaceInput:
    order: OrderPlaceInput
    idempotency_key: str = strawberry.field(
        description="As `orderPlace` takes it, and the same one: an order of a batch may be sent again alone."
    )
