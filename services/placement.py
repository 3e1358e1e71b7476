"""Placing an order: priced, promised from stock and recorded in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import Row
from sqlalchemy.dialects.postgresql import insert

from db import visibility
from db.base import new_id
from db.channels import ExternalId
from db.customers import Company, Customer
from db.engine import Session
from db.orders import Order, OrderAdjustment, OrderLine, OrderTaxLine
from domain.access import Principal, VisibilityClass
from domain.errors import AlreadyExists, InvalidInput, Refused, UserError
from domain.events import EventType
from domain.ids import Prefix
from domain.order_commands import PlaceOrder, check_place_order
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
from domain.payments import COLLECTORS, GATES
from domain.pricing import Charge, LineToPrice, PricedOrder, price_order, unit_price, verify
from services import payments, promises, reservations
from services.catalogue import load_products
from services.events import Event
from services.order_changes import OrderChange, not_found, save
from services.sales_channels import load_channel

ORDER_KIND = "ORDER"
"""The entity kind under which external ids of orders are kept."""


async def place_order(session: Session, command: PlaceOrder, /, *, actor: Principal, now: datetime) -> UUID:
    """Place the order and return its id.

    Refused with InvalidInput, NotFound (channel, customer, SKU, reservation),
    AlreadyExists (an external id) or one InsufficientStock per SKU that falls short.
    """
    check_place_order(command)
    channel = await load_channel(session, command.channel_id, actor)
    currency: str = channel.currency
    if command.currency not in (None, currency):
        message = f"The channel {channel.code} sells in {currency}, not in {command.currency}."
        raise Refused(InvalidInput(message=message, field=("currencyCode",)))
    customer = await _load_visible(session, Customer, command.customer_id, actor, "customerId")
    company = await _load_visible(session, Company, command.company_id, actor, "companyId")
    products = await load_products(session, command, currency=currency, now=now)
    priced = _price(command, channel.pricing_authority, products, currency)
    order_id = new_id()
    await _claim_external_ids(session, order_id, channel.id, command)
    held = await reservations.consume(
        session, command.reservation_id, channel_id=channel.id, order_id=order_id, actor=actor, now=now
    )
    promise = await promises.promise(
        session,
        channel_id=channel.id,
        buffer=channel.stock_buffer,
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
    order = await _insert_order(session, order_id, command, channel, customer, company, priced, currency, now)
    change = OrderChange(order=order, actor=actor, now=now)
    line_ids = await _insert_lines(session, change, command, products, priced, promise)
    await _insert_adjustments(session, change, command, priced, line_ids)
    await promises.keep(session, change, promise, line_ids)
    change.record(_placed(command, order, priced, promise))
    if command.payment is not None and priced.total > 0:
        await payments.insert_payment(session, change, command.payment)
    await save(session, change)
    return order_id


@lru_cache(maxsize=256)
def _visible_statement(entity: type[Customer] | type[Company], caller: VisibilityClass) -> sa.Select[Any]:
    table = entity.__table__
    return sa.select(table).where(
        table.c.id == sa.bindparam("id", type_=sa.Uuid()),
        visibility.predicate(entity.__tablename__, table, caller),
    )


async def _load_visible(
    session: Session,
    entity: type[Customer] | type[Company],
    entity_id: UUID | None,
    actor: Principal,
    field: str,
) -> Row[Any] | None:
    """The customer or company that the order names, if the actor may see it."""
    if entity_id is None:
        return None
    statement = _visible_statement(entity, VisibilityClass.of(actor))
    parameters = {"id": entity_id, **visibility.values(actor)}
    row: Row[Any] | None = (await session.execute(statement, parameters)).one_or_none()
    if row is None:
        prefix = Prefix.CUSTOMER if entity is Customer else Prefix.COMPANY
        raise not_found(prefix, entity_id, field)
    return row


def _price_lines(
    command: PlaceOrder, authority: PricingAuthority, products: Sequence[Row[Any]]
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
    command: PlaceOrder, authority: PricingAuthority, products: Sequence[Row[Any]], currency: str
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


def _gate(command: PlaceOrder, channel: Row[Any]) -> tuple[ReleaseGate, CollectedBy]:
    """What releases the order and who collects: the method's own way, else the channel's."""
    if command.payment is None:
        return channel.release_gate, channel.collected_by
    method = command.payment.method
    return GATES[method], COLLECTORS.get(method, CollectedBy.MERCHANT)


async def _insert_order(
    session: Session,
    order_id: UUID,
    command: PlaceOrder,
    channel: Row[Any],
    customer: Row[Any] | None,
    company: Row[Any] | None,
    priced: PricedOrder,
    currency: str,
    now: datetime,
) -> Row[Any]:
    gate, collector = _gate(command, channel)
    number: Any = command.number
    if number is None:
        sequence = f"order_number_{channel.id.hex}"
        number = sa.literal(channel.order_number_prefix) + sa.cast(sa.func.nextval(sequence), sa.Text())
    email = command.email or (customer.email if customer is not None else None)
    values = {
        "id": order_id,
        "channel_id": channel.id,
        "number": number,
        "status": OrderStatus.PENDING,
        "payment_status": PaymentStatus.UNPAID,
        "fulfillment_status": FulfillmentStatus.UNFULFILLED,
        "return_status": ReturnStatus.NONE,
        "origin": Origin.PLACED,
        "customer_id": customer.id if customer is not None else None,
        "company_id": company.id
        if company is not None
        else customer.company_id
        if customer is not None
        else None,
        "sales_representative": command.sales_representative,
        "email": email,
        "phone": command.phone or (customer.phone if customer is not None else None),
        "shipping_address": command.shipping_address.to_json(),
        "billing_address": command.billed_to().to_json(),
        "note": command.note,
        "priority": command.priority,
        "release_gate": gate,
        "collected_by": collector,
        "currency": currency,
        "subtotal": priced.subtotal,
        "discount_total": priced.discount_total,
        "shipping_total": priced.shipping_total,
        "fee_total": priced.fee_total,
        "tax_total": priced.tax_total,
        "original_total": priced.total,
        "current_total": priced.total,
        "reservation_id": command.reservation_id,
        "placed_at": command.placed_at or now,
        "payment_due_at": now + timedelta(minutes=channel.payment_due_minutes),
        "metadata_": dict(command.metadata),
        "private_metadata": dict(command.private_metadata),
        "created_at": now,
        "updated_at": now,
    }
    statement = (
        insert(Order)
        .values(**values)
        .on_conflict_do_nothing(index_elements=["channel_id", "number"])
        .returning(Order.__table__)
    )
    row: Row[Any] | None = (await session.execute(statement)).one_or_none()
    if row is None:
        message = f"This channel already has an order with the number {command.number}."
        raise Refused(AlreadyExists(message=message, field=("number",), value=str(command.number)))
    return row


async def _insert_lines(
    session: Session,
    change: OrderChange,
    command: PlaceOrder,
    products: Sequence[Row[Any]],
    priced: PricedOrder,
    promise: promises.Promise,
) -> list[UUID]:
    """The lines, in the order given; returns their ids."""
    line_ids = [new_id() for _ in command.lines]
    await session.execute(
        sa.insert(OrderLine),
        [
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
        ],
    )
    return line_ids


async def _insert_adjustments(
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
    if adjustments:
        await session.execute(sa.insert(OrderAdjustment), adjustments)
    if taxes:
        await session.execute(sa.insert(OrderTaxLine), taxes)


def _placed(command: PlaceOrder, order: Row[Any], priced: PricedOrder, promise: promises.Promise) -> Event:
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
