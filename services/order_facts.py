"""The facts an order's roll-ups and status follow from, read in one statement under its lock."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import aggregate_order_by

from db.channels import Channel
from db.discrepancies import Discrepancy
from db.engine import Session
from db.fulfillment import FulfillmentOrder
from db.orders import Order, OrderLine
from db.payments import Payment
from db.returns import Return
from db.shipments import Shipment, ShipmentLine
from domain.discrepancies import DiscrepancyStatus
from domain.fulfillment import FulfillmentOrderStatus
from domain.order_status import Units
from domain.orders import ReleaseGate
from domain.payment_sums import GIVEN_UP, LIVE_AUTHORIZATION, TRUSTED_GATES, OrderMoney
from domain.payments import GATES, PaymentState
from domain.returns import ReturnState
from domain.shipments import DeliveryStatus, ShipmentStatus

_ORDER = sa.bindparam("order_id", type_=sa.Uuid())


def _sum(column: Any, *conditions: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
    """The sum over the rows for which every condition holds; 0 where there are none."""
    summed: Any = sa.func.sum(column)
    return sa.func.coalesce(summed.filter(*conditions) if conditions else summed, 0)


_lines = (
    sa.select(
        _sum(OrderLine.quantity).label("ordered"),
        _sum(OrderLine.quantity_cancelled).label("cancelled"),
        _sum(OrderLine.quantity_allocated).label("allocated"),
        _sum(OrderLine.quantity_backordered).label("backordered"),
        _sum(OrderLine.quantity_fulfilled).label("fulfilled"),
        _sum(OrderLine.quantity_returned).label("returned"),
    )
    .where(OrderLine.order_id == _ORDER)
    .subquery("lines")
)

_unsettled = sa.exists().where(
    Discrepancy.subject_id == Shipment.id, Discrepancy.status == DiscrepancyStatus.OPEN
)
_ARRIVED = sa.or_(
    Shipment.delivery_status == DeliveryStatus.DELIVERED, Shipment.status == ShipmentStatus.COLLECTED
)
_WENT_WRONG = Shipment.delivery_status.in_(
    (DeliveryStatus.LOST, DeliveryStatus.RETURNED_TO_SENDER, DeliveryStatus.DAMAGED)
)
_sent = (
    sa.select(
        _sum(ShipmentLine.quantity, _ARRIVED).label("delivered"),
        _sum(ShipmentLine.quantity, _WENT_WRONG, ~_unsettled).label("resolved"),
        _sum(ShipmentLine.quantity, _WENT_WRONG, _unsettled).label("in_trouble"),
    )
    .select_from(ShipmentLine)
    .join(Shipment, Shipment.id == ShipmentLine.shipment_id)
    .where(Shipment.order_id == _ORDER)
    .subquery("sent")
)

_work = (
    sa.select(
        sa.func.coalesce(
            sa.func.bool_or(
                FulfillmentOrder.status.in_(
                    (
                        FulfillmentOrderStatus.IN_PROGRESS,
                        FulfillmentOrderStatus.CLOSED,
                        FulfillmentOrderStatus.INCOMPLETE,
                    )
                )
            ),
            sa.false(),
        ).label("begun")
    )
    .where(FulfillmentOrder.order_id == _ORDER)
    .subquery("work")
)


_received = Payment.captured_amount - Payment.refunded_amount - Payment.charged_back_amount
_held = Payment.authorized_amount - Payment.captured_amount - Payment.voided_amount
_live = Payment.status.in_(sorted(LIVE_AUTHORIZATION))


def _methods(gates: Collection[ReleaseGate]) -> sa.ColumnElement[bool]:
    return Payment.method.in_(sorted(method for method, gate in GATES.items() if gate in gates))


_covered = sa.case(
    (
        sa.and_(_methods(TRUSTED_GATES), Payment.status.not_in(sorted(GIVEN_UP))),
        sa.func.greatest(Payment.amount, _received),
    ),
    (sa.and_(_methods((ReleaseGate.AUTHORIZED,)), _live), _received + sa.func.greatest(0, _held)),
    else_=_received,
)
"""`PaymentFacts.covered`, in SQL."""

_payments = (
    sa.select(
        _sum(Payment.captured_amount).label("captured"),
        _sum(Payment.refunded_amount).label("refunded"),
        _sum(Payment.charged_back_amount).label("charged_back"),
        _sum(_held, _live).label("authorized"),
        _sum(_covered).label("covered"),
        sa.func.array_agg(aggregate_order_by(sa.cast(Payment.status, sa.Text()), Payment.id)).label(
            "payment_states"
        ),
    )
    .where(Payment.order_id == _ORDER)
    .subquery("payments")
)

_returns = (
    sa.select(
        sa.func.array_agg(sa.distinct(sa.cast(Return.status, sa.Text()))).label("return_states"),
    )
    .where(Return.order_id == _ORDER)
    .subquery("returns_of")
)

_channel = (
    sa.select(Channel.completes_after_days)
    .join(Order, Order.channel_id == Channel.id)
    .where(Order.id == _ORDER)
    .subquery("channel_of")
)

_FACTS = sa.select(_lines, _sent, _work, _payments, _returns, _channel).select_from(
    _lines.join(_sent, sa.true())
    .join(_work, sa.true())
    .join(_payments, sa.true())
    .join(_returns, sa.true())
    .join(_channel, sa.true())
)
"""Aggregates without GROUP BY are one row each; so is their product."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What roll-ups and status follow from; the lines are summed, for no rule asks about a single one."""

    units: Units
    delivered: int
    in_trouble: int
    work_begun: bool
    money: OrderMoney
    returns: tuple[ReturnState, ...]
    completes_after: timedelta


async def read(session: Session, order_id: UUID) -> Facts:
    """Read the facts of an order that the caller has locked."""
    row = (await session.execute(_FACTS, {"order_id": order_id})).one()
    return Facts(
        units=Units(
            quantity=row.ordered,
            cancelled=row.cancelled,
            allocated=row.allocated,
            backordered=row.backordered,
            fulfilled=row.fulfilled,
            returned=row.returned,
        ),
        delivered=row.delivered + row.resolved,
        in_trouble=row.in_trouble,
        work_begun=row.begun,
        money=OrderMoney(
            captured=row.captured,
            refunded=row.refunded,
            charged_back=row.charged_back,
            authorized=row.authorized,
            covered=row.covered,
            states=tuple(PaymentState(state) for state in row.payment_states or ()),
        ),
        returns=tuple(ReturnState(state) for state in row.return_states or ()),
        completes_after=timedelta(days=row.completes_after_days),
    )
