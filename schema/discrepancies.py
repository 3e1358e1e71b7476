"""Discrepancies, as the API shows them to staff and partners."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from strawberry.scalars import JSON

from db import discrepancies as tables
from domain.access import Scope
from domain.discrepancies import DiscrepancyKind, DiscrepancyStatus
from schema import enums  # noqa: F401 - registers the enumerations that fields name
from schema.plan import Node, column, one, one_of, planned

if TYPE_CHECKING:  # named by fields; resolved when the schema is built
    from schema.orders import Order

SUBJECTS = {
    "ORDER": "Order",
    "ORDER_LINE": "OrderLine",
    "PAYMENT": "Payment",
    "REFUND": "Refund",
    "FULFILLMENT_ORDER": "FulfillmentOrder",
    "SHIPMENT": "Shipment",
    "PACKAGE": "Package",
    "RETURN": "Return",
    "RETURN_LINE": "ReturnLine",
    "STOCK_LEVEL": "StockLevel",
}
"""The type of what a discrepancy is about, by its kind."""


@planned(
    tables.Discrepancy,
    node="dsc",
    scope=Scope.ORDERS_READ,
    description=(
        "A fact that was reported and fits nothing we knew: recorded, and left for staff to resolve. Customers "
        "are not shown any."
    ),
)
class Discrepancy(Node):
    kind: DiscrepancyKind = column(tables.Discrepancy.kind, "What does not fit.")
    status: DiscrepancyStatus = column(tables.Discrepancy.status, "Whether staff have settled it.")
    report: str = column(
        tables.Discrepancy.report, "Names the report, so that its repetition is recorded once."
    )
    details: JSON = column(tables.Discrepancy.details, "What was reported, and what was known.")
    resolution: str | None = column(tables.Discrepancy.resolution, "How it was settled.")
    resolved_by: str | None = column(
        tables.Discrepancy.resolved_by, "Who settled it.", scope=Scope.ACTORS_READ
    )
    resolved_at: datetime | None = column(tables.Discrepancy.resolved_at, "When it was settled.")
    created_at: datetime = column(tables.Discrepancy.created_at, "When it was recorded.")
    subject_kind: str = column(tables.Discrepancy.subject_kind, "What it is about: SHIPMENT, PACKAGE, …")
    subject: Node | None = one_of(
        tables.Discrepancy.subject_kind,
        SUBJECTS,
        tables.Discrepancy.subject_id,
        "What it is about, as it is now; null when you may not see it.",
    )
    order: Order | None = one(
        "Order", lambda discrepancy, order: order.id == discrepancy.order_id, "The order it belongs to."
    )
