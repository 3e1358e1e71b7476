"""Changing what an order says: contact, addresses, note, priority, metadata."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from db.engine import Session
from domain.access import Principal
from domain.events import EventType
from domain.order_edits import UpdateOrder, check_update_order
from services.events import Event
from services.order_changes import lock_order, save


async def update_order(session: Session, command: UpdateOrder, /, *, actor: Principal, now: datetime) -> UUID:
    """Change what was given and return the order's id. The event names the fields, never their values."""
    check_update_order(command)
    change = await lock_order(
        session, command.order_id, actor=actor, now=now, expected_version=command.expected_version
    )
    changes = {
        name: value for name, value in command.changes().items() if getattr(change.order, name) != value
    }
    if not changes:
        return change.id
    change.values |= changes
    change.record(
        Event(
            type=EventType.ORDER_UPDATED,
            subject_kind="ORDER",
            subject_id=change.id,
            details={"fields": sorted(name.rstrip("_") for name in changes)},
        )
    )
    await save(session, change)
    return change.id
