"""The audit, as the API shows it to staff."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from db import audit as tables
from domain.access import PrincipalKind, Scope
from domain.audit import AuditOutcome
from schema import enums  # noqa: F401 - registers the enumerations that fields name
from schema.plan import Node, column, expression, planned


@planned(
    tables.AuditEntry,
    node="aud",
    scope=Scope.AUDIT_READ,
    description=(
        "One call of a mutation: who, what, from where, when. Entries are never changed or removed and hold no "
        "personal data of customers. Staff with unbounded access see them."
    ),
)
class AuditEntry(Node):
    occurred_at: datetime = column(tables.AuditEntry.occurred_at, "When.")
    account: str = column(
        tables.AuditEntry.account, "Who: the token's subject, `key:<UUID>` of an API key, `customer:<UUID>`."
    )
    kind: PrincipalKind = column(tables.AuditEntry.kind, "What kind of caller that was.")
    credential: str | None = column(
        tables.AuditEntry.credential, "By which credential: the token's id (`jti`) or the API key."
    )
    action: str = column(tables.AuditEntry.action, 'The root field: "orderCancel".')
    outcome: AuditOutcome = column(
        tables.AuditEntry.outcome,
        "DONE was written together with what was done. REFUSED is written up to a second later.",
    )
    error: str | None = column(tables.AuditEntry.error, "Of a refusal: the code of the first user error.")
    entity_id: str | None = expression(
        lambda entry: sa.cast(entry.entity_id, sa.Text()),
        "The UUID of what was made or changed, the first of several: a global id without its prefix.",
    )
    address: str | None = column(
        tables.AuditEntry.address, "The client's IP address; of staff and partners only."
    )
    request_id: str | None = column(
        tables.AuditEntry.request_id, "The request's id, under which the log has the rest."
    )
