"""Releasing an order to its locations: allocated units become fulfillment orders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

import sqlalchemy as sa

from db.base import new_id
from db.engine import Session
from db.fulfillment import FulfillmentOrder, FulfillmentOrderLine
from db.orders import OrderLine
from db.stock import Allocation
from domain.events import EventType
from domain.fulfillment import LIVE, FulfillmentOrderStatus, RequestStatus
from services.events import Event

if TYPE_CHECKING:
    from services.order_changes import OrderChange

_open_units = (
    sa.select(
        FulfillmentOrderLine.order_line_id,
        FulfillmentOrder.location_id,
        sa.func.sum(
            FulfillmentOrderLine.quantity
            - FulfillmentOrderLine.quantity_shipped
            - FulfillmentOrderLine.quantity_short
            - FulfillmentOrderLine.quantity_cancelled
        ).label("quantity"),
    )
    .join(FulfillmentOrder, FulfillmentOrder.id == FulfillmentOrderLine.fulfillment_order_id)
    .where(
        FulfillmentOrder.order_id == sa.bindparam("order_id", type_=sa.Uuid()),
        FulfillmentOrder.status.in_(sorted(LIVE)),
    )
    .group_by(FulfillmentOrderLine.order_line_id, FulfillmentOrder.location_id)
    .subquery("open_units")
)
_unassigned = sa.func.sum(Allocation.quantity) - sa.func.coalesce(sa.func.max(_open_units.c.quantity), 0)
_UNASSIGNED = (
    sa.select(
        Allocation.location_id, Allocation.order_line_id, OrderLine.product_id, _unassigned.label("quantity")
    )
    .join(OrderLine, OrderLine.id == Allocation.order_line_id)
    .outerjoin(
        _open_units,
        sa.and_(
            _open_units.c.order_line_id == Allocation.order_line_id,
            _open_units.c.location_id == Allocation.location_id,
        ),
    )
    .where(Allocation.order_id == sa.bindparam("order_id", type_=sa.Uuid()))
    .group_by(Allocation.location_id, Allocation.order_line_id, OrderLine.product_id, OrderLine.line_number)
    .having(_unassigned > 0)
    .order_by(Allocation.location_id, OrderLine.line_number)
)


class Unassigned(NamedTuple):
    """Units of a line that are allocated at a location and that no fulfillment order asks for."""

    location_id: UUID
    order_line_id: UUID
    product_id: UUID
    quantity: int


async def release(session: Session, change: OrderChange, *, replaces: UUID | None = None) -> list[UUID]:
    """Ask each location for the allocated units that no live fulfillment order asks for yet.

    Returns the new fulfillment orders' ids. `replaces` names the one whose short
    pick or rejection made these necessary.
    """
    rows = await session.fetch(_UNASSIGNED, {"order_id": change.id})
    return await open_orders(session, change, [Unassigned._make(row) for row in rows], replaces=replaces)


async def open_orders(
    session: Session, change: OrderChange, rows: Sequence[Unassigned], *, replaces: UUID | None = None
) -> list[UUID]:
    """Ask each location for these units, in the order given."""
    made: dict[UUID, UUID] = {}
    lines: list[dict[str, Any]] = []
    for row in rows:
        fulfillment_order_id = made.setdefault(row.location_id, new_id())
        lines.append(
            {
                "id": new_id(),
                "fulfillment_order_id": fulfillment_order_id,
                "order_line_id": row.order_line_id,
                "product_id": row.product_id,
                "quantity": row.quantity,
            }
        )
    await session.add(
        FulfillmentOrder,
        [
            {
                "id": fulfillment_order_id,
                "order_id": change.id,
                "location_id": location_id,
                "status": FulfillmentOrderStatus.OPEN,
                "request_status": RequestStatus.SUBMITTED,
                "replaces_id": replaces,
                "created_at": change.now,
                "updated_at": change.now,
            }
            for location_id, fulfillment_order_id in made.items()
        ],
    )
    await session.add(FulfillmentOrderLine, lines)
    for location_id, fulfillment_order_id in made.items():
        units = sum(
            line["quantity"] for line in lines if line["fulfillment_order_id"] == fulfillment_order_id
        )
        change.record(
            Event(
                type=EventType.FULFILLMENT_ORDER_OPENED,
                subject_kind="FULFILLMENT_ORDER",
                subject_id=fulfillment_order_id,
                to_status=FulfillmentOrderStatus.OPEN,
                location_id=location_id,
                details={"quantity": units},
            )
        )
    return list(made.values())
