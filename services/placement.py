"""Placing an order: priced, promised from stock and recorded in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import REGCLASS, insert

from db.base import new_id
from db.channels import Channel, ExternalId
from db.engine import Session
from db.orders import Order, OrderAdjustment, OrderLine, OrderTaxLine
from domain.access import Principal, Scope
from domain.errors import AlreadyExists, InvalidInput, Refused, UserError
from domain.events import EventType
from domain.order_commands import PlaceOrder, check_place_order
from domain.order_status import Units
from domain.orders import (
    AdjustmentKind,
    CollectedBy,
    FulfillmentStatus,
    OrderStatus,
    Origin,
    PaymentStatus,
    PricingAuthority,
    ReleaseGate,
    ReturnStatus,
)
from domain.payment_sums import OrderMoney, PaymentFacts
from domain.payments import COLLECTORS, GATES
from domain.pricing import Charge, LineToPrice, PricedOrder, price_order, unit_price, verify
from domain.rights import needs
from services import payments, promises, reservations
from services.catalogue import Listed, Offer, Seller, load_offer
from services.channels import order_number_sequence
from services.events import Event
from services.order_changes import NewOrder, OrderChange, save_new
from services.order_facts import Facts
from services.release import Unassigned

NUMBER_CONSTRAINT = "uq_orders_channel_id_number"
ORDER_KIND = "ORDER"
"""The entity kind under which external ids of orders are kept."""


async def place_order(session: Session, command: PlaceOrder, /, *, actor: Principal, now: datetime) -> UUID:
    """Place the order and return its id.

    Refused with InvalidInput, NotFound (channel, customer, SKU, reservation),
    AlreadyExists (an external id) or one InsufficientStock per SKU that falls short.
    """
    check_place_order(command)
    if command.private_metadata and not actor.may(Scope.METADATA_PRIVATE):
        message = f"You may not write private metadata. {needs(Scope.METADATA_PRIVATE)}"
        raise Refused(InvalidInput(message=message, field=("privateMetadata",)))
    offer = await load_offer(session, command, actor=actor, now=now)
    seller, products = offer.seller, offer.products
    priced = _price(command, seller.pricing_authority, products, seller.currency)
    order_id = new_id()
    await _claim_external_ids(session, order_id, seller.id, command)
    held = await reservations.consume(
        session, command.reservation_id, channel_id=seller.id, order_id=order_id, actor=actor, now=now
    )
    promise = await promises.promise(
        session,
        channel_id=seller.id,
        buffer=seller.stock_buffer,
        demand=[
            promises.Wanted(
                product_id=product.id,
                sku=line.sku,
                quantity=line.quantity,
                backorderable=product.backorderable,
            )
            for line, product in zip(command.lines, products, strict=True)
        ],
        held=held,
    )
    number = await _number(session, command, offer)
    order = _new_order(order_id, number, command, offer, priced, now)
    change = OrderChange(order=order, actor=actor, now=now)
    line_ids = [new_id() for _ in command.lines]
    await session.add(OrderLine, _lines(change, command, products, priced, promise, line_ids))
    await _add_adjustments(session, change, command, priced, line_ids)
    await promises.keep(session, change, promise, line_ids)
    change.record(_placed(command, order, priced, promise))
    paid = []
    if command.payment is not None and priced.total > 0:
        paid.append((await payments.insert_payment(session, change, command.payment))[1])
    await save_new(
        session,
        change,
        _facts(command, promise, paid, seller),
        allocated=[
            Unassigned(location_id, line_ids[line], products[line].id, units)
            for (location_id, line), units in promise.by_location().items()
        ],
        unless={NUMBER_CONSTRAINT: _number_taken(number)},
    )
    return order_id


def _price_lines(
    command: PlaceOrder, authority: PricingAuthority, products: Sequence[Listed]
) -> list[LineToPrice]:
    return [
        LineToPrice(
            unit_price=unit_price(
                authority, line.unit_price, product.listed_price, field=("lines", str(index), "unitPrice")
            ),
            quantity=line.quantity,
            discounts=line.discounts,
            taxes=line.taxes,
        )
        for index, (line, product) in enumerate(zip(command.lines, products, strict=True))
    ]


def _price(
    command: PlaceOrder, authority: PricingAuthority, products: Sequence[Listed], currency: str
) -> PricedOrder:
    priced = price_order(
        _price_lines(command, authority, products),
        discounts=command.discounts,
        shipping=command.shipping,
        fees=command.fees,
        taxes=command.taxes,
    )
    verify(priced, command.stated, currency)
    return priced


async def _claim_external_ids(
    session: Session, order_id: UUID, channel_id: UUID, command: PlaceOrder
) -> None:
    """Take the order's external ids before any stock is locked: a rival with the same id waits here."""
    if not command.external_ids:
        return
    taken = await session.execute(
        insert(ExternalId).on_conflict_do_nothing().returning(ExternalId.system),
        [
            {
                "id": new_id(),
                "entity_kind": ORDER_KIND,
                "entity_id": order_id,
                "system": external.system,
                "channel_id": channel_id,
                "external_id": external.id,
            }
            for external in command.external_ids
        ],
    )
    mine = set(taken.scalars())
    theirs: list[UserError] = [
        AlreadyExists(
            message=f"This channel already has an order that {external.system} calls {external.id}.",
            field=("externalIds", str(index), "id"),
            value=external.id,
        )
        for index, external in enumerate(command.external_ids)
        if external.system not in mine
    ]
    if theirs:
        raise Refused(*theirs)


_NEXT_NUMBER = (
    sa.select(
        Channel.order_number_prefix
        + sa.cast(sa.func.nextval(sa.cast(sa.bindparam("sequence", type_=sa.Text()), REGCLASS())), sa.Text())
    )
    .where(Channel.id == sa.bindparam("channel_id", type_=sa.Uuid()))
    .cte("number")
    .prefix_with("MATERIALIZED")
)
_NUMBER = sa.select(
    *_NEXT_NUMBER.c,
    sa.exists().where(
        Order.channel_id == sa.bindparam("channel_id", type_=sa.Uuid()),
        Order.number == next(iter(_NEXT_NUMBER.c)),
    ),
)


async def _number(session: Session, command: PlaceOrder, offer: Offer) -> str:
    """The order's number; the channel's sequence passes over numbers that callers have given."""
    number, is_taken = offer.number, offer.number_is_taken
    if is_taken and command.number is not None:
        raise _number_taken(number)
    while is_taken:
        asked = {"sequence": order_number_sequence(offer.seller.id), "channel_id": offer.seller.id}
        ((number, is_taken),) = await session.fetch(_NUMBER, asked)
    return number


def _number_taken(number: str) -> Refused:
    message = f"This channel already has an order with the number {number}."
    return Refused(AlreadyExists(message=message, field=("number",), value=number))


def _gate(command: PlaceOrder, seller: Seller) -> tuple[ReleaseGate, CollectedBy]:
    """What releases the order and who collects: the method's own way, else the channel's."""
    if command.payment is None:
        return seller.release_gate, seller.collected_by
    method = command.payment.method
    return GATES[method], COLLECTORS.get(method, CollectedBy.MERCHANT)


def _new_order(
    order_id: UUID, number: str, command: PlaceOrder, offer: Offer, priced: PricedOrder, now: datetime
) -> NewOrder:
    seller, buyer = offer.seller, offer.buyer
    gate, collector = _gate(command, seller)
    return NewOrder(
        id=order_id,
        channel_id=seller.id,
        number=number,
        status=OrderStatus.PENDING,
        payment_status=PaymentStatus.UNPAID,
        fulfillment_status=FulfillmentStatus.UNFULFILLED,
        return_status=ReturnStatus.NONE,
        on_hold=False,
        origin=Origin.PLACED,
        customer_id=buyer.id if buyer is not None else None,
        company_id=offer.company_id or (buyer.company_id if buyer is not None else None),
        sales_representative=command.sales_representative,
        email=command.email or (buyer.email if buyer is not None else None),
        phone=command.phone or (buyer.phone if buyer is not None else None),
        shipping_address=command.shipping_address.to_json(),
        billing_address=command.billed_to().to_json(),
        note=command.note,
        priority=command.priority,
        release_gate=gate,
        collected_by=collector,
        currency=seller.currency,
        subtotal=priced.subtotal,
        discount_total=priced.discount_total,
        shipping_total=priced.shipping_total,
        fee_total=priced.fee_total,
        tax_total=priced.tax_total,
        original_total=priced.total,
        current_total=priced.total,
        received_total=0,
        refunded_total=0,
        charged_back_total=0,
        reservation_id=command.reservation_id,
        version=0,
        placed_at=command.placed_at or now,
        payment_due_at=now + timedelta(minutes=seller.payment_due_minutes),
        confirmed_at=None,
        completed_at=None,
        cancelled_at=None,
        dispatched_at=None,
        metadata_=dict(command.metadata),
        private_metadata=dict(command.private_metadata),
        created_at=now,
        updated_at=now,
    )


def _facts(
    command: PlaceOrder, promise: promises.Promise, paid: Sequence[PaymentFacts], seller: Seller
) -> Facts:
    """What would be read of the order once it is written."""
    return Facts(
        units=Units(
            quantity=sum(line.quantity for line in command.lines),
            allocated=sum(taken.quantity for taken in promise.allocations),
            backordered=sum(taken.quantity for taken in promise.backorders),
        ),
        delivered=0,
        in_trouble=0,
        work_begun=False,
        money=OrderMoney.of(paid),
        returns=(),
        completes_after=timedelta(days=seller.completes_after_days),
    )


def _lines(
    change: OrderChange,
    command: PlaceOrder,
    products: Sequence[Listed],
    priced: PricedOrder,
    promise: promises.Promise,
    line_ids: Sequence[UUID],
) -> list[dict[str, Any]]:
    """The lines, in the order given."""
    return [
        {
            "id": line_ids[index],
            "order_id": change.id,
            "line_number": index + 1,
            "product_id": product.id,
            "sku": line.sku,
            "name": line.name or product.name,
            "external_id": line.external_id,
            "quantity": line.quantity,
            "quantity_allocated": promise.allocated(index),
            "quantity_backordered": promise.backordered(index),
            "currency": change.order.currency,
            "unit_price": amounts.undiscounted // line.quantity,
            "discount_total": amounts.discount,
            "net_total": amounts.net,
            "tax_total": amounts.tax,
            "gross_total": amounts.gross,
            "metadata_": dict(line.metadata),
            "created_at": change.now,
        }
        for index, (line, product, amounts) in enumerate(
            zip(command.lines, products, priced.lines, strict=True)
        )
    ]


async def _add_adjustments(
    session: Session,
    change: OrderChange,
    command: PlaceOrder,
    priced: PricedOrder,
    line_ids: Sequence[UUID],
) -> None:
    common = {"order_id": change.id, "currency": change.order.currency, "created_at": change.now}

    def charge(kind: AdjustmentKind, made: Charge) -> dict[str, Any]:
        row = {"kind": kind, "code": made.code, "label": made.label, "amount": made.amount}
        return {**common, "id": new_id(), "order_line_id": None, **row}

    adjustments = [
        *(charge(AdjustmentKind.SHIPPING, made) for made in command.shipping),
        *(charge(AdjustmentKind.FEE, made) for made in command.fees),
    ]
    taxes = []
    owners: list[tuple[UUID | None, Any]] = [
        (None, priced),
        *zip(line_ids, priced.lines, strict=True),
    ]
    for line_id, owner in owners:
        for part in owner.discounts:
            made = Charge(amount=part.amount, label=part.discount.label, code=part.discount.code)
            adjustments.append({**charge(AdjustmentKind.DISCOUNT, made), "order_line_id": line_id})
        for part in owner.taxes:
            taxes.append(
                {
                    **common,
                    "id": new_id(),
                    "order_line_id": line_id,
                    "kind": part.tax.kind,
                    "jurisdiction": part.tax.jurisdiction,
                    "base_amount": part.base,
                    "rate": part.tax.rate,
                    "amount": part.amount,
                    "included": part.tax.included,
                }
            )
    await session.add(OrderAdjustment, adjustments)
    await session.add(OrderTaxLine, taxes)


def _placed(command: PlaceOrder, order: NewOrder, priced: PricedOrder, promise: promises.Promise) -> Event:
    return Event(
        type=EventType.ORDER_PLACED,
        subject_kind=ORDER_KIND,
        subject_id=order.id,
        to_status=OrderStatus.PENDING,
        details={
            "units": sum(line.quantity for line in command.lines),
            "allocated": sum(promise.allocated(index) for index in range(len(command.lines))),
            "backordered": sum(promise.backordered(index) for index in range(len(command.lines))),
            "total": priced.total,
            "currency": order.currency,
        },
    )
