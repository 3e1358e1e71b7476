"""Placing orders: priced, promised from stock and recorded in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import REGCLASS

from db.base import new_id
from db.channels import Channel
from db.engine import Session
from db.orders import Order, OrderLine
from domain.access import Principal, Scope
from domain.errors import AlreadyExists, InvalidInput, Refused, UserError
from domain.order_commands import PlaceOrder, check_place_order
from domain.orders import PricingAuthority
from domain.pricing import LineToPrice, PricedOrder, price_order, unit_price, verify
from domain.rights import needs
from domain.upserts import ExternalName
from services import external_ids, payments, placed_rows, promises, reservations, stock_changes
from services.catalogue import Listed, Offer, load_offers
from services.channels import order_number_sequence
from services.idempotency import Taking
from services.joint import Apart, Asking, Joint
from services.order_changes import OrderChange, save_new
from services.placed_rows import ORDER_KIND
from services.promises import Promise
from services.release import Unassigned
from services.stock_changes import Change

NUMBER_CONSTRAINT = "uq_orders_channel_id_number"

MAX_LINES_TOGETHER = 20
"""Larger orders are placed alone: the others need not wait for them."""


@dataclass(slots=True, eq=False)
class _Placing:
    """An order on its way; `refused` ends it."""

    command: PlaceOrder
    actor: Principal
    id: UUID = field(default_factory=new_id)
    refused: Refused | None = None
    offer: Offer = field(init=False)
    priced: PricedOrder = field(init=False)
    held: tuple[promises.Held, ...] = ()
    promise: Promise = field(init=False)


async def _prepare(
    session: Session, asking: Sequence[Asking[PlaceOrder]], taking: Taking | None = None, /
) -> list[_Placing]:
    orders = [_Placing(command, actor) for command, actor in asking]
    _each(orders, _check)
    await _load(session, orders, taking)
    _each(orders, _price)
    return orders


async def _place(session: Session, orders: Sequence[_Placing], /, *, now: datetime) -> list[UUID | Refused]:
    """Each for itself, in as many statements as one takes: its id, or why it is refused. Stock is promised in the
    order given. Raises Apart for orders that stand in each other's way."""
    await _claim_external_ids(session, orders, now)
    for order in _open(orders):
        await _number(session, order)
    await _promise(session, orders, now)
    for order in _open(orders):
        await _write(session, order, now)
    placed = list(_open(orders))
    given_up = [order.id for order in orders if order.refused is not None and order.command.external_ids]
    if placed and given_up:
        await external_ids.give_up(session, ORDER_KIND, given_up)
    await stock_changes.apply_all(
        session,
        placed[0].promise.levels if placed else {},
        [Change(claims=order.promise.claims, actor=order.actor.account) for order in placed],
        now=now,
    )
    return [order.refused or order.id for order in orders]


place_order = Joint(
    _prepare,
    _place,
    joins=lambda command: command.reservation_id is None and len(command.lines) <= MAX_LINES_TOGETHER,
)
"""Place the order and return its id. Refused with InvalidInput, NotFound (channel, customer, SKU, reservation),
AlreadyExists (an external id, a number) or one InsufficientStock per SKU that falls short.

One that consumes a reservation is placed alone.
"""


def _open(orders: Sequence[_Placing]) -> Iterator[_Placing]:
    return (order for order in orders if order.refused is None)


def _each(orders: Sequence[_Placing], step: Callable[[_Placing], None]) -> None:
    for order in _open(orders):
        try:
            step(order)
        except Refused as refused:
            order.refused = refused


def _check(order: _Placing) -> None:
    check_place_order(order.command)
    if order.command.private_metadata and not order.actor.may(Scope.METADATA_PRIVATE):
        message = f"You may not write private metadata. {needs(Scope.METADATA_PRIVATE)}"
        raise Refused(InvalidInput(message=message, field=("privateMetadata",)))


async def _load(session: Session, orders: Sequence[_Placing], taking: Taking | None) -> None:
    asked = list(_open(orders))
    if not asked:
        return
    offers = await load_offers(session, [Asking(order.command, order.actor) for order in asked], taking)
    for order, offer in zip(asked, offers, strict=True):
        if isinstance(offer, Refused):
            order.refused = offer
        else:
            order.offer = offer


def _price(order: _Placing) -> None:
    command, seller = order.command, order.offer.seller
    order.priced = price_order(
        _price_lines(command, seller.pricing_authority, order.offer.products),
        discounts=command.discounts,
        shipping=command.shipping,
        fees=command.fees,
        taxes=command.taxes,
    )
    if command.stated is not None:
        verify(order.priced, command.stated, seller.currency)
    if command.payment is not None and order.priced.total > 0:
        payments.amount_asked(command.payment, order.priced.total, seller.currency)


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


async def _claim_external_ids(session: Session, orders: Sequence[_Placing], now: datetime) -> None:
    """Take the orders' external ids before any stock is locked: a rival with the same id waits here."""
    names = {
        order: [
            ExternalName(system=external.system, id=external.id, channel_id=order.offer.seller.id)
            for external in order.command.external_ids
        ]
        for order in _open(orders)
        if order.command.external_ids
    }
    claims = [(name, order.id) for order, own in names.items() for name in own]
    if len({name for name, _ in claims}) < len(claims):
        raise Apart("two orders have the same external id")
    mine = await external_ids.claim(session, ORDER_KIND, claims, now=now)
    for order, own in names.items():
        theirs: list[UserError] = [
            AlreadyExists(
                message=f"This channel already has an order that {name.system} calls {name.id}.",
                field=("externalIds", str(index), "id"),
                value=name.id,
            )
            for index, name in enumerate(own)
            if name not in mine
        ]
        if theirs:
            order.refused = Refused(*theirs)


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


async def _number(session: Session, order: _Placing) -> None:
    """See to it that the number is free: the channel's sequence passes over numbers that callers have given."""
    offer = order.offer
    if offer.number_is_taken and order.command.number is not None:
        order.refused = _number_taken(offer.number)
        return
    while offer.number_is_taken:
        asked = {"sequence": order_number_sequence(offer.seller.id), "channel_id": offer.seller.id}
        ((number, is_taken),) = await session.fetch(_NUMBER, asked)
        order.offer = offer = replace(offer, number=number, number_is_taken=is_taken)


def _number_taken(number: str) -> Refused:
    message = f"This channel already has an order with the number {number}."
    return Refused(AlreadyExists(message=message, field=("number",), value=number))


async def _promise(session: Session, orders: Sequence[_Placing], now: datetime) -> None:
    """Consume reservations, lock the stock that may serve the orders, and decide, one order after the other."""
    for order in _open(orders):
        try:
            order.held = await reservations.consume(
                session,
                order.command.reservation_id,
                channel_id=order.offer.seller.id,
                order_id=order.id,
                actor=order.actor,
                now=now,
            )
        except Refused as refused:
            order.refused = refused
    asked = list(_open(orders))
    if not asked:
        return
    supply = await promises.lock_supply(
        session, ((order.offer.seller.id, product.id) for order in asked for product in order.offer.products)
    )
    for order in asked:
        try:
            order.promise = await promises.promise(
                session,
                supply,
                channel_id=order.offer.seller.id,
                buffer=order.offer.seller.stock_buffer,
                demand=[
                    promises.Wanted(
                        product_id=product.id,
                        sku=line.sku,
                        quantity=line.quantity,
                        backorderable=product.backorderable,
                    )
                    for line, product in zip(order.command.lines, order.offer.products, strict=True)
                ],
                held=order.held,
            )
        except Refused as refused:
            order.refused = refused


async def _write(session: Session, order: _Placing, now: datetime) -> None:
    command, offer, priced, promise = order.command, order.offer, order.priced, order.promise
    row = placed_rows.new_order(order.id, command, offer, priced, now)
    change = OrderChange(order=row, actor=order.actor, now=now)
    line_ids = [new_id() for _ in command.lines]
    lines = placed_rows.lines(change, command, offer.products, priced, promise, line_ids)
    await session.add(OrderLine, lines)
    await placed_rows.add_adjustments(session, change, command, priced, line_ids)
    await promises.keep(session, change, promise, line_ids)
    units = placed_rows.units(command, promise)
    change.record(placed_rows.event(row, units))
    paid = []
    if command.payment is not None and priced.total > 0:
        paid.append((await payments.insert_payment(session, change, command.payment))[1])
    await save_new(
        session,
        change,
        placed_rows.facts(units, paid, offer.seller),
        allocated=lambda: [
            Unassigned(location_id, line_ids[line], offer.products[line].id, quantity)
            for (location_id, line), quantity in promise.by_location().items()
        ],
        unless={NUMBER_CONSTRAINT: partial(_number_taken, offer.number)},
    )
