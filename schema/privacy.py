"""Personal data of a customer, or of one order, in one document."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from strawberry.scalars import JSON

from db.channels import ExternalId
from db.customers import Customer
from db.orders import Order, OrderLine
from db.payments import Payment, Refund
from db.returns import Return, ReturnLine
from db.shipments import CarrierEvent, Package, Shipment
from domain.access import Scope
from schema.plan import column, expression, planned


@planned(
    Customer,
    scope=Scope.PRIVACY_WRITE,
    description="All that is kept of one customer, to be handed to that person.",
)
class CustomerExport:
    exported_from: datetime = column(Customer.updated_at, "When the customer last changed.")
    document: JSON = expression(
        lambda customer: _document(customer.id),
        "Profile, names in partners' systems, orders with lines, payments, shipments and returns, as they are "
        "kept: money in minor units. Tokens of payment providers are left out.",
        scope=Scope.PRIVACY_WRITE,
    )


@planned(
    Order,
    scope=Scope.PRIVACY_WRITE,
    description="All that is kept of one order, to be handed to who bought it, with an account or without.",
)
class OrderExport:
    exported_from: datetime = column(Order.updated_at, "When the order last changed.")
    document: JSON = expression(
        lambda order: _order_document(order.id),
        "The order with lines, payments, shipments and returns, as in `CustomerExport.document`.",
        scope=Scope.PRIVACY_WRITE,
    )


def _document(customer_id: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    profile = Customer.__table__.alias("exported_customer")
    names = ExternalId.__table__.alias("exported_name")
    orders = Order.__table__.alias("exported_order")
    bought = Order.__table__.alias("bought")
    returns = Return.__table__.alias("exported_return")
    theirs = sa.select(bought.c.id).where(bought.c.customer_id == customer_id)
    return _object(
        customer=_one(profile, profile.c.id == customer_id, "search"),
        external_ids=_rows(
            names, sa.and_(names.c.entity_kind == _text("CUSTOMER"), names.c.entity_id == customer_id)
        ),
        orders=_orders(orders, orders.c.customer_id == customer_id),
        returns=_returns(
            returns, sa.or_(returns.c.customer_id == customer_id, returns.c.order_id.in_(theirs))
        ),
    )


def _order_document(order_id: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    orders = Order.__table__.alias("exported_order")
    returns = Return.__table__.alias("exported_return")
    return _object(
        orders=_orders(orders, orders.c.id == order_id),
        returns=_returns(returns, returns.c.order_id == order_id),
    )


def _returns(returns: Any, where: sa.ColumnElement[bool]) -> sa.ColumnElement[Any]:
    lines = ReturnLine.__table__.alias("exported_return_line")
    return _rows(returns, where, lines=_rows(lines, lines.c.return_id == returns.c.id))


def _orders(orders: Any, where: sa.ColumnElement[bool]) -> sa.ColumnElement[Any]:
    lines = OrderLine.__table__.alias("exported_line")
    payments = Payment.__table__.alias("exported_payment")
    refunds = Refund.__table__.alias("exported_refund")
    shipments = Shipment.__table__.alias("exported_shipment")
    packages = Package.__table__.alias("exported_package")
    scans = CarrierEvent.__table__.alias("exported_scan")
    return _rows(
        orders,
        where,
        "search",
        lines=_rows(lines, lines.c.order_id == orders.c.id),
        payments=_rows(payments, payments.c.order_id == orders.c.id, "token"),
        refunds=_rows(refunds, refunds.c.order_id == orders.c.id),
        shipments=_rows(
            shipments,
            shipments.c.order_id == orders.c.id,
            packages=_rows(
                packages,
                packages.c.shipment_id == shipments.c.id,
                carrier_events=_rows(scans, scans.c.package_id == packages.c.id),
            ),
        ),
    )


def _text(value: str) -> sa.ColumnClause[str]:
    """A constant of this file: what it says is part of the statement."""
    return sa.literal_column(f"'{value}'")


def _object(**parts: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    return sa.func.jsonb_build_object(*(item for name, part in parts.items() for item in (_text(name), part)))


def _row(row: Any, *without: str) -> sa.ColumnElement[Any]:
    whole: sa.ColumnElement[Any] = sa.func.to_jsonb(row.table_valued())
    for name in without:
        whole = whole.op("-")(_text(name))
    return whole


def _one(row: Any, where: sa.ColumnElement[bool], *without: str) -> sa.ColumnElement[Any]:
    return sa.select(_row(row, *without)).select_from(row).where(where).scalar_subquery()


def _rows(
    row: Any, where: sa.ColumnElement[bool], *without: str, **nested: sa.ColumnElement[Any]
) -> sa.ColumnElement[Any]:
    """The array of rows, each with what is nested in it."""
    shown = _row(row, *without)
    if nested:
        shown = shown.op("||")(_object(**nested))
    found = sa.select(sa.func.jsonb_agg(shown)).select_from(row).where(where)
    return sa.func.coalesce(found.scalar_subquery(), sa.literal_column("'[]'::jsonb"))
