"""Asking for a return: of units of an order that have left, or, without an order, of SKUs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import Row

from db import visibility
from db.base import new_id
from db.channels import Channel
from db.customers import Customer
from db.engine import Session
from db.locations import Location
from db.orders import OrderLine
from db.products import Product
from db.returns import Return, ReturnLine
from domain.access import Principal, VisibilityClass
from domain.errors import InvalidInput, NotFound, QuantityExceeded, Refused, UserError
from domain.events import RETURN_EVENTS
from domain.ids import Prefix, format_id
from domain.return_commands import (
    RequestReturn,
    ReturnUnits,
    check_request_return,
)
from domain.returns import CustomerReturnStatus, ReturnReason, ReturnState, returnable
from services.events import Event
from services.order_changes import OrderChange, lock_order, not_found
from services.return_changes import (
    ReturnChange,
    load_return,
    save_return,
)


async def request_return(
    session: Session, command: RequestReturn, /, *, actor: Principal, now: datetime
) -> UUID:
    """Ask to send goods back: units of an order that have left, or, without an order, of SKUs.

    Raises `Refused`: InvalidInput, NotFound, QuantityExceeded for units that have
    not left or are being returned already. Customers and guests return what they
    ordered; only staff and partners may name a channel instead of an order.
    """
    check_request_return(command)
    if actor.kind in visibility.PORTAL and (command.order_id is None or command.location_id is not None):
        message = "Name the order; where to send the goods is decided with the approval."
        raise Refused(InvalidInput(message=message, field=("orderId",)))
    await require_location(session, command.location_id, actor)
    return_id = new_id()
    if command.order_id is not None:
        order = await lock_order(session, command.order_id, actor=actor, now=now, field_name="orderId")
        lines = await _of_order(session, order, command.lines)
        owner = {
            "order_id": order.id,
            "channel_id": order.order.channel_id,
            "customer_id": order.order.customer_id,
        }
    else:
        order = None
        channel = await _load_channel(session, command.channel_id, actor)
        lines = await _of_skus(session, command.lines, channel.currency)
        owner = {
            "order_id": None,
            "channel_id": channel.id,
            "customer_id": await _customer(session, command.customer_id, actor),
        }
    await session.execute(
        sa.insert(Return).values(
            id=return_id,
            **owner,
            location_id=command.location_id,
            status=ReturnState.REQUESTED,
            customer_status=CustomerReturnStatus.REQUESTED,
            note=command.note,
            tracking_number=command.tracking_number,
            requested_at=now,
            created_at=now,
            updated_at=now,
        )
    )
    await _insert_lines(session, return_id, lines)
    change = await load_return(session, return_id, order=order, actor=actor, now=now)
    change.record(_began(change, ReturnState.REQUESTED))
    await save_return(session, change)
    return return_id


def _began(change: ReturnChange, status: ReturnState) -> Event:
    return change.event(
        RETURN_EVENTS[status],
        to_status=status,
        details={"quantity": sum(line.quantity_expected for line in change.lines.values())},
    )


async def _insert_lines(session: Session, return_id: UUID, lines: Sequence[Mapping[str, Any]]) -> None:
    await session.execute(
        sa.insert(ReturnLine), [{"id": new_id(), "return_id": return_id, **line} for line in lines]
    )


_BACK = (
    sa.select(
        ReturnLine.order_line_id,
        sa.func.sum(
            sa.case(
                (Return.status == ReturnState.CLOSED, ReturnLine.quantity_received),
                else_=sa.func.greatest(ReturnLine.quantity_expected, ReturnLine.quantity_received),
            )
        ),
    )
    .join(Return, Return.id == ReturnLine.return_id)
    .where(
        Return.order_id == sa.bindparam("order_id", type_=sa.Uuid()),
        Return.status.in_((ReturnState.REQUESTED, ReturnState.OPEN, ReturnState.CLOSED)),
    )
    .group_by(ReturnLine.order_line_id)
)


async def _of_order(
    session: Session, order: OrderChange, asked: Sequence[ReturnUnits]
) -> list[dict[str, Any]]:
    rows = await session.execute(
        sa.select(OrderLine.id, OrderLine.product_id, OrderLine.quantity_fulfilled).where(
            OrderLine.order_id == order.id
        )
    )
    order_lines = {row.id: row for row in rows}
    already = {line_id: int(units) for line_id, units in await session.execute(_BACK, {"order_id": order.id})}
    errors: list[UserError] = []
    lines = []
    for index, line in enumerate(asked):
        at = ("lines", str(index))
        assert line.order_line_id is not None  # noqa: S101 - the command was checked
        ordered = order_lines.get(line.order_line_id)
        if ordered is None:
            shown = format_id(Prefix.ORDER_LINE, line.order_line_id)
            message = f"The order has no line {shown}."
            errors.append(NotFound(message=message, field=(*at, "orderLineId"), id=shown))
            continue
        limit = returnable(ordered.quantity_fulfilled, already.get(ordered.id, 0))
        if line.quantity > limit:
            message = f"{limit} units of this line can be returned, not {line.quantity}."
            errors.append(
                QuantityExceeded(
                    message=message, field=(*at, "quantity"), requested=line.quantity, limit=limit
                )
            )
        lines.append(_line(line, ordered.product_id, order.order.currency, order_line_id=ordered.id))
    if errors:
        raise Refused(*errors)
    return lines


def _line(
    line: ReturnUnits, product_id: UUID, currency: str, *, order_line_id: UUID | None = None
) -> dict[str, Any]:
    return {
        "order_line_id": order_line_id,
        "product_id": product_id,
        "reason": line.reason,
        "note": line.note,
        "quantity_expected": line.quantity,
        "currency": currency,
    }


async def _of_skus(session: Session, asked: Sequence[ReturnUnits], currency: str) -> list[dict[str, Any]]:
    rows = await session.execute(
        sa.select(Product.sku, Product.id).where(Product.sku.in_({line.sku for line in asked}))
    )
    products = {row.sku: row.id for row in rows}
    errors: list[UserError] = [
        NotFound(
            message=f"There is no product with the SKU {line.sku!r}.",
            field=("lines", str(index), "sku"),
            id=line.sku or "",
        )
        for index, line in enumerate(asked)
        if line.sku not in products
    ]
    if errors:
        raise Refused(*errors)
    return [_line(line, products[line.sku], currency) for line in asked]


@lru_cache(maxsize=256)
def _visible(table_name: str, caller: VisibilityClass) -> sa.Select[Any]:
    table = {"channel": Channel, "location": Location, "customer": Customer}[table_name].__table__
    return sa.select(table).where(
        table.c.id == sa.bindparam("id", type_=sa.Uuid()), visibility.predicate(table_name, table, caller)
    )


async def _look(session: Session, table_name: str, entity_id: UUID, actor: Principal) -> Row[Any] | None:
    """The row, if it is there and `actor` may see it."""
    statement = _visible(table_name, VisibilityClass.of(actor))
    found = await session.execute(statement, {"id": entity_id, **visibility.values(actor)})
    row: Row[Any] | None = found.one_or_none()
    return row


async def _load_channel(session: Session, channel_id: UUID | None, actor: Principal) -> Row[Any]:
    assert channel_id is not None  # noqa: S101 - the command was checked
    row = await _look(session, "channel", channel_id, actor)
    if row is None:
        raise not_found("chn", channel_id, "channelId")
    return row


async def require_location(session: Session, location_id: UUID | None, actor: Principal) -> None:
    """Refused(NotFound) for a location that `actor` may not see; none at all passes."""
    if location_id is not None and await _look(session, "location", location_id, actor) is None:
        raise not_found("loc", location_id, "locationId")


async def _customer(session: Session, customer_id: UUID | None, actor: Principal) -> UUID | None:
    if customer_id is not None and await _look(session, "customer", customer_id, actor) is None:
        raise not_found("cus", customer_id, "customerId")
    return customer_id


async def open_return(
    session: Session,
    order: OrderChange,
    units: Mapping[UUID, int],
    *,
    location_id: UUID,
    reason: ReturnReason,
) -> UUID:
    """A return that nobody has to approve, of these units by order line; the caller saves the order."""
    now = order.now
    return_id = new_id()
    await session.execute(
        sa.insert(Return).values(
            id=return_id,
            order_id=order.id,
            channel_id=order.order.channel_id,
            customer_id=order.order.customer_id,
            location_id=location_id,
            status=ReturnState.OPEN,
            customer_status=CustomerReturnStatus.APPROVED,
            requested_at=now,
            approved_at=now,
            created_at=now,
            updated_at=now,
        )
    )
    rows = await session.execute(sa.select(OrderLine.id, OrderLine.product_id).where(OrderLine.id.in_(units)))
    await _insert_lines(
        session,
        return_id,
        [
            _line(
                ReturnUnits(quantity=units[row.id], reason=reason),
                row.product_id,
                order.order.currency,
                order_line_id=row.id,
            )
            for row in rows
        ],
    )
    change = await load_return(session, return_id, order=order, actor=order.actor, now=now)
    change.record(_began(change, ReturnState.OPEN))
    return return_id
