"""Discrepancies: facts that fit no transition are written down for staff, who settle them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import Row
from sqlalchemy.dialects.postgresql import insert

from db import visibility
from db.base import new_id
from db.discrepancies import Discrepancy
from db.engine import Session
from db.returns import Return
from domain import text
from domain.access import SYSTEM, Principal, VisibilityClass
from domain.discrepancies import DISCREPANCY, DiscrepancyKind, DiscrepancyStatus
from domain.events import EventType
from domain.states import transition
from services import order_changes
from services.events import Event
from services.order_changes import OrderChange, lock_order, not_found
from services.return_changes import ReturnChange, lock_return, save_return

_INSERT = (
    insert(Discrepancy)
    .values(
        id=sa.bindparam("id", type_=sa.Uuid()),
        kind=sa.bindparam("kind", type_=Discrepancy.kind.type),
        status=DiscrepancyStatus.OPEN,
        order_id=sa.bindparam("order_id", type_=sa.Uuid()),
        subject_kind=sa.bindparam("subject_kind", type_=sa.Text()),
        subject_id=sa.bindparam("subject_id", type_=sa.Uuid()),
        report=sa.bindparam("report", type_=sa.Text()),
        details=sa.bindparam("details", type_=Discrepancy.details.type),
    )
    .on_conflict_do_nothing()
    .returning(Discrepancy.id)
)


async def record_discrepancy(
    session: Session,
    change: OrderChange | ReturnChange,
    kind: DiscrepancyKind,
    *,
    subject_kind: str,
    subject_id: UUID,
    report: str,
    details: Mapping[str, Any],
) -> UUID | None:
    """Write down a fact that fits nothing, with its event on the locked order (or return).

    `report` names the report among those on this subject: its repetition is
    recorded once, and then the answer is None. `details` hold no personal data.
    """
    order_id = change.id if isinstance(change, OrderChange) else change.order_id
    recorded: UUID | None = (
        await session.execute(
            _INSERT,
            {
                "id": new_id(),
                "kind": kind,
                "order_id": order_id,
                "subject_kind": subject_kind,
                "subject_id": subject_id,
                "report": report,
                "details": dict(details),
            },
        )
    ).scalar_one_or_none()
    if recorded is not None:
        change.record(
            Event(
                type=EventType.DISCREPANCY_RECORDED,
                subject_kind="DISCREPANCY",
                subject_id=recorded,
                to_status=DiscrepancyStatus.OPEN,
                details={
                    **details,
                    "kind": kind,
                    "subjectKind": subject_kind,
                    "subjectId": str(subject_id),
                    "report": report,
                },
            )
        )
    return recorded


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolveDiscrepancy:
    """Staff have settled it; `resolution` says how, for the next who asks."""

    discrepancy_id: UUID
    resolution: str


@lru_cache(maxsize=256)
def _visible(caller: VisibilityClass) -> sa.Select[Any]:
    table = Discrepancy.__table__
    return sa.select(table).where(
        table.c.id == sa.bindparam("id", type_=sa.Uuid()),
        visibility.predicate("discrepancy", table, caller),
    )


async def resolve_discrepancy(
    session: Session, command: ResolveDiscrepancy, /, *, actor: Principal, now: datetime
) -> UUID:
    """Close a discrepancy. An order that waited for it may complete by that.

    Raises `Refused`: InvalidInput, NotFound, or InvalidTransition when it is resolved already.
    """
    text.require(command.resolution, text.MAX_NOTE, field=("resolution",), multiline=True)
    statement = _visible(VisibilityClass.of(actor))
    parameters = {"id": command.discrepancy_id, **visibility.values(actor)}
    seen = (await session.execute(statement, parameters)).one_or_none()
    if seen is None:
        raise not_found("dsc", command.discrepancy_id)
    event = Event(
        type=EventType.DISCREPANCY_RESOLVED,
        subject_kind="DISCREPANCY",
        subject_id=seen.id,
        from_status=DiscrepancyStatus.OPEN,
        to_status=DiscrepancyStatus.RESOLVED,
        details={"kind": seen.kind, "subjectKind": seen.subject_kind, "subjectId": str(seen.subject_id)},
    )
    if seen.order_id is not None:
        change = await lock_order(session, seen.order_id, actor=SYSTEM, now=now)
        change.actor = actor
        await _close(session, command, actor=actor, now=now)
        change.record(event)
        await order_changes.save(session, change)
    elif await _is_return(session, seen):
        of_return = await lock_return(session, seen.subject_id, actor=actor, now=now)
        await _close(session, command, actor=actor, now=now)
        of_return.record(event)
        await save_return(session, of_return)
    else:
        # Of a stock level: the level's own history tells what happened, staff's answer stands on the row.
        await _close(session, command, actor=actor, now=now)
    return command.discrepancy_id


async def _is_return(session: Session, seen: Row[Any]) -> bool:
    if seen.subject_kind != "RETURN":
        return False
    found = await session.execute(sa.select(Return.id).where(Return.id == seen.subject_id))
    return found.scalar_one_or_none() is not None


async def _close(session: Session, command: ResolveDiscrepancy, *, actor: Principal, now: datetime) -> None:
    """Under the lock of whatever it belongs to, so that two people do not both resolve it."""
    status: DiscrepancyStatus = (
        await session.execute(
            sa.select(Discrepancy.status).where(Discrepancy.id == command.discrepancy_id).with_for_update()
        )
    ).scalar_one()
    transition(DISCREPANCY, status, DiscrepancyStatus.RESOLVED)
    await session.execute(
        sa.update(Discrepancy)
        .where(Discrepancy.id == command.discrepancy_id)
        .values(
            status=DiscrepancyStatus.RESOLVED,
            resolution=command.resolution,
            resolved_by=actor.account,
            resolved_at=now,
        )
    )
