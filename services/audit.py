"""The audit's rows: what was done is written by the transaction that does it.

What was refused has no transaction left. It changed nothing, so its rows are gathered and
written a moment later, many at once: a storm of refusals must not cost twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from db.audit import AuditEntry
from db.base import new_id
from db.engine import Engine, Session
from domain.access import Principal, PrincipalKind
from domain.audit import AuditOutcome
from services.outcomes import ItemOutcome

MAX_WAITING = 10_000
"""Refusals that wait to be written; more are counted, not kept."""
BATCH = 1_000

_INSERT = sa.insert(AuditEntry)


@dataclass(frozen=True, slots=True)
class Call:
    """What was called, from where: the root field, the client's address, the request's id."""

    action: str
    address: str | None = None
    request_id: str | None = None


async def record(session: Session, done: Iterable[tuple[Call, Principal, Any]], *, now: datetime) -> None:
    """Add the rows of calls that have done something, each with its actor and outcome, in their transaction."""
    await session.add(
        AuditEntry,
        [
            _row(call, actor, now, AuditOutcome.DONE, entity_id=_entity(outcome))
            for call, actor, outcome in done
        ],
    )


class RefusedCalls:
    """Gathers the rows of calls that were refused; `write` adds them."""

    def __init__(self) -> None:
        self._waiting: list[dict[str, Any]] = []
        self.dropped = 0

    def note(self, call: Call, code: str, *, actor: Principal, now: datetime) -> None:
        if len(self._waiting) >= MAX_WAITING:
            self.dropped += 1
            return
        self._waiting.append(_row(call, actor, now, AuditOutcome.REFUSED, error=code))

    async def write(self, engine: Engine) -> None:
        """Add what waits. Raises what the database raises, and keeps it then."""
        while self._waiting:
            batch = self._waiting[:BATCH]
            async with engine.begin() as session:
                await session.execute(_INSERT, batch)
            del self._waiting[: len(batch)]


def _row(
    call: Call,
    actor: Principal,
    now: datetime,
    outcome: AuditOutcome,
    *,
    error: str | None = None,
    entity_id: UUID | None = None,
) -> dict[str, Any]:
    # Where customers call from is personal data that nobody here needs.
    ours = actor.kind in (PrincipalKind.STAFF, PrincipalKind.PARTNER)
    return {
        "id": new_id(),
        "occurred_at": now,
        "account": actor.account,
        "kind": actor.kind,
        "credential": actor.credential,
        "action": call.action,
        "outcome": outcome,
        "error": error,
        "entity_id": entity_id,
        "address": call.address if ours else None,
        "request_id": call.request_id,
    }


def _entity(outcome: Any) -> UUID | None:
    """The entity that was made or changed, the first of several."""
    match outcome:
        case UUID():
            return outcome
        case ItemOutcome():
            return outcome.id
        case (first, *_):
            return _entity(first)
    return None
