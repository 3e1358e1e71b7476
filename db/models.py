"""Every table, imported once, so that `Base.metadata` is whole wherever it is needed."""

from db import (
    channels,
    customers,
    discrepancies,
    events,
    fulfillment,
    idempotency,
    imports,
    locations,
    orders,
    payments,
    products,
    returns,
    shipments,
    stock,
)
from db.base import Base

__all__ = [
    "Base",
    "channels",
    "customers",
    "discrepancies",
    "events",
    "fulfillment",
    "idempotency",
    "imports",
    "locations",
    "orders",
    "payments",
    "products",
    "returns",
    "shipments",
    "stock",
]
