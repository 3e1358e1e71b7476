"""Goods come back: received as a fact, inspected unit by unit, put back into stock, paid for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from db.engine import Session
from db.orders import OrderLine
from db.payments import Refund
from db.returns import ReturnLine
from domain.access import Principal
from domain.discrepancies import DiscrepancyKind
from domain.errors import InvalidInput, NotFound, QuantityExceeded, Refused, UserError
from domain.events import EventType
from domain.ids import Prefix, format_id
from domain.money import refund_of
from domain.payments import RefundStatus
from domain.return_commands import (
    InspectedUnits,
    InspectReturn,
    ReceiveReturn,
    check_inspect_return,
    check_receive_return,
)
from domain.returns import BUCKETS, ReturnState
from domain.stock import MovementKind
from services import discrepancies, refunds, stock_changes
from services.events import Event
from services.return_changes import ReturnChange, load_return, lock_return, move, save_return
from services.return_money import to_ask_for
from services.return_requests import require_location
from services.returns import EXPIRES_AFTER, close_if_settled, sender
from services.stock_changes import Movement


async def receive_return(
    session: Session, command: ReceiveReturn, /, *, actor: Principal, now: datetime
) -> UUID:
    """Record what came in. A fact: more than expected, or something else, is a discrepancy.

    Goods of a return that nobody has approved yet approve it: they are here. Goods
    of one that has ended are recorded as a discrepancy alone. They are where the
    report says, else where they were to go, else where they came from.

    Raises `Refused`: NotFound, InvalidInput for another location while units that
    came in before were not inspected.
    """
    check_receive_return(command)
    change = await lock_return(session, command.return_id, actor=actor, now=now)
    await require_location(session, command.location_id, actor)
    _require_lines(change, [line.line_id for line in command.lines])
    units = {line.line_id: line.quantity for line in command.lines}
    location_id = command.location_id or change.row.location_id or await sender(session, change)
    if change.status is ReturnState.REQUESTED:
        await move(
            session,
            change,
            status=ReturnState.OPEN,
            location_id=location_id,
            approved_at=now,
            expires_at=now + EXPIRES_AFTER,
        )
    if change.status is not ReturnState.OPEN:
        await _came_too_late(session, change, units)
    elif units:
        _require_one_place(change, location_id)
        await _count_received(session, units)
        await move(
            session,
            change,
            event=EventType.RETURN_RECEIVED,
            details={"quantity": sum(units.values()), "lines": _told(units)},
            occurred_at=command.received_at,
            location_id=location_id,
        )
        change = await _reload(session, change)
        await _tell_excess(session, change, units)
    for other in command.unexpected:
        await discrepancies.record_discrepancy(
            session,
            change,
            DiscrepancyKind.EXCESS_RECEIPT,
            subject_kind="RETURN",
            subject_id=change.id,
            report=f"{other.sku}:{other.quantity}",
            details={"sku": other.sku, "quantity": other.quantity},
        )
    await save_return(session, change)
    return change.id


def _require_one_place(change: ReturnChange, location_id: UUID | None) -> None:
    """Units enter the stock of the return's location when they are judged: it stays until they are."""
    if change.row.location_id in (None, location_id) or change.inspected:
        return
    message = "Units of this return wait at another location: inspect them before more come in here."
    raise Refused(InvalidInput(message=message, field=("locationId",)))


async def _reload(session: Session, change: ReturnChange) -> ReturnChange:
    fresh = await load_return(session, change.id, order=change.order, actor=change.actor, now=change.now)
    fresh.own_events = change.own_events
    return fresh


def _require_lines(change: ReturnChange, line_ids: Sequence[UUID]) -> None:
    errors: list[UserError] = []
    for index, line_id in enumerate(line_ids):
        if line_id not in change.lines:
            shown = format_id(Prefix.RETURN_LINE, line_id)
            at = ("lines", str(index), "lineId")
            errors.append(NotFound(message=f"The return has no line {shown}.", field=at, id=shown))
    if errors:
        raise Refused(*errors)


def _told(units: Mapping[UUID, int]) -> list[dict[str, Any]]:
    return [{"returnLineId": str(line_id), "quantity": quantity} for line_id, quantity in units.items()]


async def _came_too_late(session: Session, change: ReturnChange, units: Mapping[UUID, int]) -> None:
    await discrepancies.record_discrepancy(
        session,
        change,
        DiscrepancyKind.UNEXPECTED_REPORT,
        subject_kind="RETURN",
        subject_id=change.id,
        report=";".join(f"{line_id}:{quantity}" for line_id, quantity in sorted(units.items())),
        details={"status": change.status, "lines": _told(units)},
    )


async def _count_received(session: Session, units: Mapping[UUID, int]) -> None:
    await session.execute(
        sa.update(ReturnLine)
        .where(ReturnLine.id == sa.bindparam("line_id"))
        .values(quantity_received=ReturnLine.quantity_received + sa.bindparam("units")),
        [{"line_id": line_id, "units": quantity} for line_id, quantity in units.items()],
    )


async def _tell_excess(session: Session, change: ReturnChange, units: Mapping[UUID, int]) -> None:
    for line_id in units:
        line = change.lines[line_id]
        beyond = line.quantity_received - line.quantity_expected
        if beyond > 0:
            await discrepancies.record_discrepancy(
                session,
                change,
                DiscrepancyKind.EXCESS_RECEIPT,
                subject_kind="RETURN_LINE",
                subject_id=line_id,
                report=f"{line.quantity_received}",
                details={"expected": line.quantity_expected, "received": line.quantity_received},
            )


async def inspect_return(
    session: Session, command: InspectReturn, /, *, actor: Principal, now: datetime
) -> UUID:
    """Judge received units: accepted ones go where their disposition says and are credited.

    RESTOCK enters sellable stock of the return's location, DAMAGED and QUARANTINE
    their buckets there; SCRAP enters no stock at all, nor do rejected units. The
    order is credited the accepted units' share of their line's gross total, and
    unless `refund` is off, what was paid of it is asked to be given back. The
    return closes by itself once everything came, was inspected and is paid back.

    Raises `Refused`: InvalidInput (no location to take units into stock at included),
    NotFound, InvalidTransition when it is not open, QuantityExceeded for more units
    than were received, or than ever left.
    """
    check_inspect_return(command)
    change = await lock_return(session, command.return_id, actor=actor, now=now)
    change.require_open()
    _require_lines(change, [line.line_id for line in command.lines])
    sold = await _order_lines(session, change)
    _check_units(change, command.lines, sold)
    amounts = _amounts(change, command.lines, sold)
    await _write_lines(session, command.lines, amounts)
    await _credit_order(session, change, command.lines, amounts)
    await _into_stock(session, change, command.lines)
    change = await _reload(session, change)
    change.record(_inspected(change, command.lines, amounts))
    asked = await _ask_refund(session, change) if command.refund else 0
    if not asked:  # else it closes once that is paid out
        await close_if_settled(session, change)
    await save_return(session, change)
    return change.id


async def _order_lines(session: Session, change: ReturnChange) -> dict[UUID, Any]:
    if change.order is None:
        return {}
    statement = sa.select(
        OrderLine.id,
        OrderLine.quantity,
        OrderLine.quantity_cancelled,
        OrderLine.quantity_fulfilled,
        OrderLine.quantity_returned,
        OrderLine.gross_total,
    ).where(OrderLine.order_id == change.order.id)
    return {row.id: row for row in await session.execute(statement)}


def _check_units(change: ReturnChange, judged: Sequence[InspectedUnits], sold: Mapping[UUID, Any]) -> None:
    errors: list[UserError] = []
    returned = {line_id: row.quantity_returned for line_id, row in sold.items()}
    for index, units in enumerate(judged):
        at = ("lines", str(index))
        line = change.lines[units.line_id]
        if units.accepted and units.disposition in BUCKETS and change.row.location_id is None:
            message = "Nothing says at which location these units are: they cannot enter its stock."
            errors.append(InvalidInput(message=message, field=(*at, "disposition")))
        waiting = line.quantity_received - line.quantity_accepted - line.quantity_rejected
        if units.accepted + units.rejected > waiting:
            errors.append(
                QuantityExceeded(
                    message=f"{waiting} received units of this line wait to be judged.",
                    field=(*at, "accepted"),
                    requested=units.accepted + units.rejected,
                    limit=waiting,
                )
            )
        if line.order_line_id is not None:
            limit = sold[line.order_line_id].quantity_fulfilled - returned[line.order_line_id]
            if units.accepted > limit:
                errors.append(
                    QuantityExceeded(
                        message=f"Of this line {limit} units are with the customer by the books.",
                        field=(*at, "accepted"),
                        requested=units.accepted,
                        limit=limit,
                    )
                )
            returned[line.order_line_id] += units.accepted
    if errors:
        raise Refused(*errors)


def _amounts(
    change: ReturnChange, judged: Sequence[InspectedUnits], sold: Mapping[UUID, Any]
) -> dict[UUID, int]:
    """Minor units to credit, by return line.

    Units that were cancelled and units that came back share one line's gross total:
    step by step, in whatever order, what both took off it adds up to it.
    """
    amounts: dict[UUID, int] = {}
    gone = {line_id: row.quantity_cancelled + row.quantity_returned for line_id, row in sold.items()}
    for units in judged:
        order_line_id = change.lines[units.line_id].order_line_id
        amounts[units.line_id] = 0
        if order_line_id is not None and units.accepted:
            line = sold[order_line_id]
            before = refund_of(line.gross_total, gone[order_line_id], line.quantity, 0)
            gone[order_line_id] += units.accepted
            amounts[units.line_id] = refund_of(line.gross_total, gone[order_line_id], line.quantity, before)
    return amounts


async def _write_lines(
    session: Session, judged: Sequence[InspectedUnits], amounts: Mapping[UUID, int]
) -> None:
    await session.execute(
        sa.update(ReturnLine)
        .where(ReturnLine.id == sa.bindparam("line_id"))
        .values(
            quantity_accepted=ReturnLine.quantity_accepted + sa.bindparam("accepted"),
            quantity_rejected=ReturnLine.quantity_rejected + sa.bindparam("rejected"),
            disposition=sa.func.coalesce(
                sa.bindparam("kept_as", type_=ReturnLine.__table__.c.disposition.type), ReturnLine.disposition
            ),
            refund_amount=ReturnLine.refund_amount + sa.bindparam("amount", type_=sa.BigInteger()),
        ),
        [
            {
                "line_id": units.line_id,
                "accepted": units.accepted,
                "rejected": units.rejected,
                "kept_as": units.disposition,
                "amount": amounts[units.line_id],
            }
            for units in judged
        ],
    )


async def _credit_order(
    session: Session,
    change: ReturnChange,
    judged: Sequence[InspectedUnits],
    amounts: Mapping[UUID, int],
) -> None:
    if change.order is None:
        return
    values = change.order.values
    before = values.get("credited_total", change.order.order.credited_total)
    values["credited_total"] = before + sum(amounts.values())
    rows = [
        {
            "line_id": change.lines[units.line_id].order_line_id,
            "units": units.accepted,
            "amount": amounts[units.line_id],
        }
        for units in judged
        if units.accepted
    ]
    if rows:
        await session.execute(
            sa.update(OrderLine)
            .where(OrderLine.id == sa.bindparam("line_id"))
            .values(
                quantity_returned=OrderLine.quantity_returned + sa.bindparam("units"),
                refunded_total=OrderLine.refunded_total + sa.bindparam("amount", type_=sa.BigInteger()),
            ),
            rows,
        )


async def _into_stock(session: Session, change: ReturnChange, judged: Sequence[InspectedUnits]) -> None:
    """Post accepted units to the bucket of their disposition; SCRAP has none."""
    kept = [
        (change.lines[units.line_id].product_id, BUCKETS[units.disposition], units.accepted)
        for units in judged
        if units.accepted and units.disposition in BUCKETS
    ]
    location_id = change.row.location_id
    if not kept or location_id is None:
        return
    level_ids = await stock_changes.ensure_levels(
        session, {(product_id, location_id) for product_id, _, _ in kept}
    )
    levels = await stock_changes.lock_levels(session, level_ids.values())
    await stock_changes.apply(
        session,
        levels,
        movements=[
            Movement(
                level_id=level_ids[product_id, location_id],
                bucket=bucket,
                quantity=quantity,
                kind=MovementKind.RETURN_RECEIPT,
                order_id=change.order_id,
                reference=format_id(Prefix.RETURN, change.id),
            )
            for product_id, bucket, quantity in kept
        ],
        actor=change.actor.account,
        now=change.now,
    )


def _inspected(change: ReturnChange, judged: Sequence[InspectedUnits], amounts: Mapping[UUID, int]) -> Event:
    details: dict[str, Any] = {
        "lines": [
            {
                "returnLineId": str(units.line_id),
                "accepted": units.accepted,
                "rejected": units.rejected,
                "disposition": units.disposition,
            }
            for units in judged
        ],
    }
    if change.order is not None:
        details |= {"amount": sum(amounts.values()), "currency": change.order.order.currency}
    return change.event(EventType.RETURN_INSPECTED, details=details)


async def _ask_refund(session: Session, change: ReturnChange) -> int:
    """Ask for what this return gives back and nobody has asked for yet; answers how much, in minor units."""
    if change.order is None:
        return 0
    asked = await session.execute(
        sa.select(sa.func.coalesce(sa.func.sum(Refund.amount), 0)).where(
            Refund.return_id == change.id, Refund.status != RefundStatus.FAILED
        )
    )
    amount = await to_ask_for(session, change, int(asked.scalar_one()))
    if amount > 0:
        await refunds.request_refund(
            session, change.order, amount=amount, return_id=change.id, reason="Returned goods."
        )
    return amount
