"""Every table, imported once, so that `Base.metadata` is whole wherever it is needed."""

from db import (
    api_keys,
    audit,
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
    revocations,
    shipments,
    stock,
)
from db.base import Base

__all__ = [
    "Base",
    "api_keys",
    "audit",
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
    "revocations",
    "shipments",
    "stock",
]
