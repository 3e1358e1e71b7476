"""Exporting and erasing personal data: a customer's, or that of one order for who bought without an account.

Erasing takes the person out of every row that may name them, in one transaction; orders,
sums, units and the event log stay. Events hold ids and figures only, and the audit holds
no more than a customer's id, so neither needs to change.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import Row

from db import visibility
from db.channels import ExternalId
from db.customers import Customer
from db.discrepancies import Discrepancy
from db.engine import Session
from db.events import Outbox
from db.fulfillment import FulfillmentOrder
from db.orders import Order, OrderHold, OrderLine
from db.payments import Payment, PaymentTransaction, Refund
from db.returns import Return, ReturnLine
from db.shipments import CarrierEvent, Package, Shipment
from domain.access import Principal, VisibilityClass
from domain.api_keys import require_unbounded_staff
from domain.errors import InvalidInput, NotFound, Refused
from domain.events import AggregateKind, EventType
from domain.ids import Prefix, format_id
from domain.orders import Origin
from domain.privacy import (
    ERASED_NAME,
    OPEN_ORDERS,
    OPEN_RETURNS,
    EraseCustomer,
    EraseOrder,
    ExportCustomer,
    ExportOrder,
    require_finished,
)
from services import events
from services.events import Event

NOTHING: dict[str, Any] = {}

_CUSTOMER = sa.bindparam("customer", type_=sa.Uuid())
_ORDER = sa.bindparam("order", type_=sa.Uuid())
CHANGED = ("billing_address", "email", "metadata", "note", "phone", "shipping_address")


def _country(address: Any) -> Any:
    """What stays of an address: the country, which decides the taxes that were paid."""
    return sa.func.jsonb_strip_nulls(
        sa.func.jsonb_build_object(
            sa.literal_column("'country_code'"), address.op("->")(sa.literal_column("'country_code'"))
        )
    )


def _of_orders(orders: sa.Select[Any], returns: sa.Select[Any]) -> tuple[sa.Update, ...]:
    """What takes the person out of these orders and returns, given as selects of their ids."""
    shipments = sa.select(Shipment.id).where(Shipment.order_id.in_(orders))
    packages = sa.select(Package.id).where(Package.shipment_id.in_(shipments))
    return (
        sa.update(Order)
        .where(Order.id.in_(orders))
        .values(
            email=None, phone=None, shipping_address=_country(Order.shipping_address),
            billing_address=_country(Order.billing_address), note=None, cancel_reason=None, metadata_=NOTHING,
            private_metadata=NOTHING, updated_at=sa.func.now(), version=Order.version + 1,
        ),
        sa.update(OrderLine).where(OrderLine.order_id.in_(orders)).values(metadata_=NOTHING),
        sa.update(OrderHold).where(OrderHold.order_id.in_(orders)).values(note=None),
        sa.update(Payment)
        .where(Payment.order_id.in_(orders))
        .values(token=None, instructions=None, failure=None),
        sa.update(PaymentTransaction).where(PaymentTransaction.order_id.in_(orders)).values(failure=None),
        sa.update(Refund).where(Refund.order_id.in_(orders)).values(reason=None, failure=None),
        sa.update(FulfillmentOrder).where(FulfillmentOrder.order_id.in_(orders)).values(note=None),
        sa.update(CarrierEvent)
        .where(CarrierEvent.package_id.in_(packages))
        .values(place=None, description=None),
        sa.update(Package)
        .where(Package.shipment_id.in_(shipments))
        .values(tracking_number=None, tracking_url=None),
        sa.update(Shipment)
        .where(Shipment.order_id.in_(orders))
        .values(cancel_reason=None, metadata_=NOTHING),
        sa.update(ReturnLine).where(ReturnLine.return_id.in_(returns)).values(note=None),
        sa.update(Return)
        .where(Return.id.in_(returns))
        .values(note=None, decline_reason=None, tracking_number=None, metadata_=NOTHING),
        sa.update(Discrepancy)
        .where(Discrepancy.order_id.in_(orders))
        .values(
            details=NOTHING,
            resolution=sa.case((Discrepancy.resolution.is_not(None), ERASED_NAME)),
        ),
    )  # fmt: skip


_THEIRS = sa.select(Order.id).where(Order.customer_id == _CUSTOMER)
_THEIR_RETURNS = sa.select(Return.id).where(
    sa.or_(Return.customer_id == _CUSTOMER, Return.order_id.in_(_THEIRS))
)
_ERASE_CUSTOMER: tuple[sa.Update | sa.Delete, ...] = (
    sa.update(Customer)
    .where(Customer.id == _CUSTOMER)
    .values(
        name=ERASED_NAME, email=None, phone=None, address=NOTHING, locale=None, metadata_=NOTHING,
        private_metadata=NOTHING, erased_at=sa.func.now(), updated_at=sa.func.now(),
        version=Customer.version + 1,
    ),
    sa.delete(ExternalId).where(ExternalId.entity_kind == "CUSTOMER", ExternalId.entity_id == _CUSTOMER),
    *_of_orders(_THEIRS, _THEIR_RETURNS),
)  # fmt: skip
_ITS_RETURNS = sa.select(Return.id).where(Return.order_id == _ORDER)
_ERASE_ORDER = _of_orders(sa.select(Order.id).where(Order.id == _ORDER), _ITS_RETURNS)
_LOCKED = tuple(
    Order.__table__.c[name]
    for name in ("id", "number", "status", "version", "channel_id", "customer_id", "company_id")
)


async def export_customer(
    session: Session, command: ExportCustomer, /, *, actor: Principal, now: datetime
) -> UUID:
    """Whether it may be exported, for the audit; the answer is read after this."""
    require_unbounded_staff(actor)
    await _lock(session, command.customer_id, actor)
    return command.customer_id


async def erase_customer(
    session: Session, command: EraseCustomer, /, *, actor: Principal, now: datetime
) -> UUID:
    """Take the person out of everything. Refused while an order or a return of theirs is open.

    The customer is locked before the orders, so that none is placed meanwhile. A change of an
    order that needs the customer too may then stand in the way: one of the two begins again.
    """
    require_unbounded_staff(actor)
    customer = await _lock(session, command.customer_id, actor)
    if customer.erased_at is not None:
        raise Refused(InvalidInput(message="This customer has been erased already.", field=("id",)))
    theirs = {"customer": customer.id}
    orders = await session.execute(
        sa.select(*_LOCKED).where(Order.customer_id == _CUSTOMER).order_by(Order.id).with_for_update(),
        theirs,
    )
    found = orders.all()
    require_finished([order.number for order in found if order.status in OPEN_ORDERS])
    await _require_no_open_return(session, _THEIR_RETURNS, theirs)
    for erasure in _ERASE_CUSTOMER:
        await session.execute(erasure, theirs)
    told = [
        *_told_of_orders(found, actor=actor, now=now),
        *_told_of_customer(customer, actor=actor, now=now),
    ]
    await session.execute(sa.insert(Outbox), told)
    return command.customer_id


async def export_order(session: Session, command: ExportOrder, /, *, actor: Principal, now: datetime) -> UUID:
    """Whether it may be exported, for the audit; the answer is read after this."""
    require_unbounded_staff(actor)
    await _lock_order(session, command.order_id, actor)
    return command.order_id


async def erase_order(session: Session, command: EraseOrder, /, *, actor: Principal, now: datetime) -> UUID:
    """Take whoever bought it out of one order and its documents. Refused while it or a return of it is open."""
    require_unbounded_staff(actor)
    order = await _lock_order(session, command.order_id, actor)
    require_finished([order.number] if order.status in OPEN_ORDERS else [])
    its = {"order": order.id}
    await _require_no_open_return(session, _ITS_RETURNS, its)
    for erasure in _ERASE_ORDER:
        await session.execute(erasure, its)
    await session.execute(sa.insert(Outbox), _told_of_orders([order], actor=actor, now=now))
    return command.order_id


async def _lock(session: Session, customer_id: UUID, actor: Principal) -> Row[Any]:
    table = Customer.__table__
    columns = (table.c[name] for name in ("id", "version", "company_id", "erased_at"))
    statement = (
        sa.select(*columns)
        .where(table.c.id == customer_id, visibility.predicate("customer", table, VisibilityClass.of(actor)))
        .with_for_update()
    )
    row: Row[Any] | None = (await session.execute(statement, visibility.values(actor))).one_or_none()
    if row is None:
        shown = format_id(Prefix.CUSTOMER, customer_id)
        raise Refused(NotFound(message="There is no such customer.", field=("id",), id=shown))
    return row


async def _lock_order(session: Session, order_id: UUID, actor: Principal) -> Row[Any]:
    table = Order.__table__
    statement = (
        sa.select(*_LOCKED)
        .where(table.c.id == order_id, visibility.predicate("orders", table, VisibilityClass.of(actor)))
        .with_for_update()
    )
    row: Row[Any] | None = (await session.execute(statement, visibility.values(actor))).one_or_none()
    if row is None:
        shown = format_id(Prefix.ORDER, order_id)
        raise Refused(NotFound(message="There is no such order.", field=("id",), id=shown))
    return row


async def _require_no_open_return(
    session: Session, returns: sa.Select[Any], parameters: dict[str, UUID]
) -> None:
    found = await session.execute(
        sa.select(Return.id).where(Return.id.in_(returns), Return.status.in_(OPEN_RETURNS)).limit(11),
        parameters,
    )
    require_finished([format_id(Prefix.RETURN, id) for id in found.scalars()])


def _told_of_orders(orders: Sequence[Row[Any]], *, actor: Principal, now: datetime) -> list[dict[str, Any]]:
    """One event of each: who keeps a copy must change it too."""
    return [
        row
        for order in orders
        for row in events.rows(
            events.Aggregate(
                kind=AggregateKind.ORDER,
                id=order.id,
                version=order.version,
                order_id=order.id,
                channel_id=order.channel_id,
                customer_id=order.customer_id,
                company_id=order.company_id,
            ),
            [
                Event(
                    type=EventType.ORDER_UPDATED,
                    subject_kind="ORDER",
                    subject_id=order.id,
                    details={"fields": list(CHANGED)},
                )
            ],
            actor=actor.account,
            now=now,
            origin=Origin.PLACED,
        )
    ]


def _told_of_customer(customer: Row[Any], *, actor: Principal, now: datetime) -> list[dict[str, Any]]:
    return events.rows(
        events.Aggregate(
            kind=AggregateKind.CUSTOMER,
            id=customer.id,
            version=customer.version,
            customer_id=customer.id,
            company_id=customer.company_id,
        ),
        [
            Event(
                type=EventType.CUSTOMER_UPDATED,
                subject_kind="CUSTOMER",
                subject_id=customer.id,
                details={"changed": ["erasedAt"]},
            )
        ],
        actor=actor.account,
        now=now,
        origin=Origin.PLACED,
    )
