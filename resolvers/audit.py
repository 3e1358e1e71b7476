"""Root fields of the audit."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from domain.access import Scope
from domain.audit import AuditOutcome
from schema.audit import AuditEntry
from schema.plan import Connection, among, filter_input, query_connection, where

_HOUR: sa.ColumnClause[timedelta] = sa.literal_column("interval '1 hour'")


def _ids(texts: sa.ColumnElement[Sequence[str]]) -> sa.ColumnElement[Sequence[UUID]]:
    """The UUIDs of texts that end with one, as an array that an index can be asked for."""
    text = sa.func.right(sa.func.unnest(texts).column_valued("text"), 36)
    uuid = sa.case((text.op("~")("^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"), sa.cast(text, sa.Uuid())))
    return sa.cast(sa.select(sa.func.array_agg(uuid)).scalar_subquery(), ARRAY(sa.Uuid()))


def _near(instant: sa.ColumnElement[datetime], last: str) -> sa.ColumnElement[UUID]:
    """The first or last id of a moment: ids are UUIDs of version 7, which begin with milliseconds."""
    milliseconds = sa.cast(sa.func.floor(sa.extract("epoch", instant) * 1000), sa.BigInteger())
    digits = sa.func.lpad(sa.func.to_hex(milliseconds), 12, "0")
    return sa.cast(digits.concat(sa.func.repeat(sa.literal_column(f"'{last}'"), 20)), sa.Uuid())


@filter_input(description="Which entries: each field that is given must hold.")
class AuditFilter:
    accounts: list[str] | None = among(lambda row: row.account, "Of one of these accounts.")
    entities: list[str] | None = where(
        lambda row, v: row.entity_id == sa.any_(_ids(v)), "About one of these, by global id or UUID."
    )
    actions: list[str] | None = where(lambda row, v: row.action == sa.any_(v), "Of one of these root fields.")
    outcome: list[AuditOutcome] | None = where(
        lambda row, v: row.outcome == sa.any_(v), "With one of these outcomes."
    )
    # Ids are made by clocks that may differ from the database's, whose time is shown: by an hour never.
    occurred_from: datetime | None = where(
        lambda row, v: sa.and_(row.occurred_at >= v, row.id >= _near(v - _HOUR, "0")), "At or after."
    )
    occurred_before: datetime | None = where(
        lambda row, v: sa.and_(row.occurred_at < v, row.id <= _near(v + _HOUR, "f")), "Before."
    )


class AuditQueries:
    audit_entries: Connection[AuditEntry] = query_connection(
        AuditEntry,
        scope=Scope.AUDIT_READ,
        filter=AuditFilter,
        order_by=lambda row: (),
        descending=True,
        description="What was called, the newest first.",
    )
