"""Orders from files: history as it was, open orders with stock as far as it goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Row
from sqlalchemy.dialects.postgresql import ARRAY

from db.bulk import Rows
from db.engine import Session
from db.orders import Order
from domain.imports import RecordOutcome
from services import external_ids
from services.channels import order_number_sequence
from services.imports.forms import TABLES
from services.imports.imported import Imported
from services.imports.outcomes import CREATED, UNCHANGED, Target, needed, rejected
from services.imports.promises import Stock
from services.imports.understanding import ORDER_KIND, Understood

_TAKEN = sa.select(Order.number).where(
    Order.channel_id == sa.bindparam("channel_id", type_=sa.Uuid()),
    Order.number == sa.any_(sa.bindparam("numbers", type_=ARRAY(sa.Text()))),
)


async def write_apart(session: Session, target: Target, understood: Understood) -> Understood:
    """Write the orders whose rows are made already, and nothing that others wait for; returns what is left."""
    outcomes = dict(understood.outcomes)
    written = [order for order in understood.orders if order.written]
    accepted = await _accept(session, target, written, outcomes)
    # At once: numbers that nobody sees yet must not be drawn meanwhile.
    await _count_on(session, needed(target.channel), [needed(order.number) for order in accepted])
    await _history_of(understood, accepted, target).insert(session, TABLES)
    return replace(
        understood,
        orders=[order for order in understood.orders if not order.written],
        rows=Rows(),
        outcomes=outcomes | _created(accepted),
    )


async def import_orders(session: Session, target: Target, understood: Understood) -> dict[int, RecordOutcome]:
    """Write the orders that are not there yet; the outcomes are by record number."""
    channel: Row[Any] = needed(target.channel)
    outcomes = dict(understood.outcomes)
    orders = await _accept(session, target, understood.orders, outcomes)
    stock = await Stock.lock(session, channel.id, [order for order in orders if order.is_open])
    rows = _history_of(understood, orders, target)
    for order in orders:
        if not order.written:
            allocated, backordered = stock.promise(order) if order.is_open else ((), ())
            understood.history.write(
                rows, order, allocated=allocated, backordered=backordered, now=target.now
            )
    await rows.insert(session, TABLES)
    await stock.keep(session, target)
    await _count_on(session, channel, [needed(order.number) for order in orders])
    return outcomes | _created(orders)


async def _accept(
    session: Session, target: Target, orders: Sequence[Imported], outcomes: dict[int, RecordOutcome]
) -> list[Imported]:
    """The orders that can have their numbers and names, with both."""
    numbered = await _number(session, needed(target.channel), orders, outcomes)
    return await _claim_names(session, target, numbered, outcomes)


def _created(orders: Sequence[Imported]) -> dict[int, RecordOutcome]:
    return dict.fromkeys((order.record_number for order in orders), CREATED)


def _history_of(understood: Understood, orders: Sequence[Imported], target: Target) -> Rows:
    """The rows of those orders that were written when they were understood."""
    rows = Rows()
    written = [order for order in orders if order.written]
    if len(written) == sum(order.written for order in understood.orders):
        rows.take(understood.rows)
    else:  # some are not to be: the others' are not told from theirs any more
        for order in written:
            understood.history.write(rows, order, now=target.now)
    return rows


async def _number(
    session: Session,
    channel: Row[Any],
    orders: Sequence[Imported],
    outcomes: dict[int, RecordOutcome],
) -> list[Imported]:
    """Give the channel's own numbers to those that have none; one whose number is taken is rejected."""
    if not orders:
        return []
    named = sorted(order.number for order in orders if order.number is not None)
    taken = {
        number for (number,) in await session.fetch(_TAKEN, {"channel_id": channel.id, "numbers": named})
    }
    fresh = await _new_numbers(session, channel, len(orders) - len(named))
    numbered = []
    for order in orders:
        if order.number is None:
            order.number = fresh.pop()
        if order.number in taken:
            reason = f"number: the channel has an order {order.number} already"
            outcomes[order.record_number] = rejected(reason)
        else:
            taken.add(order.number)
            numbered.append(order)
    return numbered


async def _new_numbers(session: Session, channel: Row[Any], count: int) -> list[str]:
    """So many numbers of the channel's own, the last to be given first."""
    if not count:
        return []
    sequence = order_number_sequence(channel.id)
    rows = await session.execute(
        sa.select(sa.func.nextval(sequence)).select_from(sa.func.generate_series(1, count).table_valued("n"))
    )
    return [f"{channel.order_number_prefix}{value}" for value in reversed(list(rows.scalars()))]


async def _claim_names(
    session: Session, target: Target, orders: Sequence[Imported], outcomes: dict[int, RecordOutcome]
) -> list[Imported]:
    """Take the orders' external ids; one that a rival has taken meanwhile is there already."""
    taken = await external_ids.claim(
        session, ORDER_KIND, [(order.name, order.id) for order in orders], now=target.now
    )
    for order in orders:
        if order.name not in taken:
            outcomes[order.record_number] = UNCHANGED
    return [order for order in orders if order.name in taken]


async def _count_on(session: Session, channel: Row[Any], numbers: Sequence[str]) -> None:
    """Let the channel's own numbers go on after imported ones that look like them."""
    prefix = channel.order_number_prefix
    digits = [number.removeprefix(prefix) for number in numbers if number.startswith(prefix)]
    highest = max((int(text) for text in digits if text.isascii() and text.isdigit()), default=0)
    if 0 < highest < 10**15:
        sequence = sa.literal(order_number_sequence(channel.id))
        await session.execute(
            sa.select(
                sa.func.setval(
                    sequence, sa.func.greatest(sa.func.nextval(sequence), sa.cast(highest, sa.BigInteger()))
                )
            )
        )
