"""The outbox, the durable event log it is moved into, and who reads the log.

A change writes its outbox row in its own transaction, under its aggregate's
lock. The relay moves committed rows into `event_log` with dense positions.
`event` (log and outbox together) serves timelines, so that a payload sees its own event.
Rows never hold personal data.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base, CreatedAt, JSONObject
from domain.events import AggregateKind, EventType
from domain.orders import Origin


class EventColumns:
    """What outbox and log have in common; an event's own id is its identity in both."""

    event_id: Mapped[UUID]
    type: Mapped[EventType]
    aggregate_kind: Mapped[AggregateKind]
    aggregate_id: Mapped[UUID]
    version: Mapped[int] = mapped_column(sa.BigInteger())
    subject_kind: Mapped[str]  # what changed within the aggregate: a table's name in upper case
    subject_id: Mapped[UUID]
    from_status: Mapped[str | None]
    to_status: Mapped[str | None]
    order_id: Mapped[UUID | None]
    channel_id: Mapped[UUID | None]
    customer_id: Mapped[UUID | None]
    company_id: Mapped[UUID | None]
    location_id: Mapped[UUID | None]
    product_id: Mapped[UUID | None]
    return_id: Mapped[UUID | None]
    details: Mapped[JSONObject] = mapped_column(JSONB(), server_default=sa.text("'{}'::jsonb"))
    origin: Mapped[Origin]
    actor: Mapped[str]
    occurred_at: Mapped[datetime]


class Outbox(EventColumns, Base):
    __tablename__ = "outbox"

    id: Mapped[int] = mapped_column(sa.BigInteger(), sa.Identity(always=True), primary_key=True)
    created_at: Mapped[CreatedAt]

    __table_args__ = (
        sa.Index(
            "ix_outbox_order_id", "order_id", "version", postgresql_where=sa.text("order_id is not null")
        ),
        sa.Index(
            "ix_outbox_aggregate",
            "aggregate_id",
            "version",
            postgresql_where=sa.text("product_id is null"),  # nobody asks for a stock level's timeline
        ),
    )


class EventLog(EventColumns, Base):
    __tablename__ = "event_log"

    position: Mapped[int] = mapped_column(sa.BigInteger(), primary_key=True, autoincrement=False)
    created_at: Mapped[datetime]
    logged_at: Mapped[CreatedAt]

    __table_args__ = (
        sa.UniqueConstraint("aggregate_id", "version"),
        sa.Index(
            "ix_event_log_order_id", "order_id", "position", postgresql_where=sa.text("order_id is not null")
        ),
        sa.Index(
            "ix_event_log_customer",
            "customer_id",
            "position",
            postgresql_where=sa.text("customer_id is not null"),
        ),
        sa.Index(
            "ix_event_log_product",
            "product_id",
            "position",
            postgresql_where=sa.text("product_id is not null"),
        ),
    )


class Relay(Base):
    """One row: the last position given, and the epoch that a restore or promotion changes."""

    __tablename__ = "relay"

    one: Mapped[bool] = mapped_column(primary_key=True, server_default=sa.true())
    position: Mapped[int] = mapped_column(sa.BigInteger(), server_default="0")
    epoch: Mapped[UUID] = mapped_column(server_default=sa.func.gen_random_uuid())
    horizon: Mapped[int] = mapped_column(sa.BigInteger(), server_default="0")  # cursors below it are expired

    __table_args__ = (sa.CheckConstraint("one", name="single_row"),)


class Consumer(Base):
    """How far a reader that makes jobs of events has come."""

    __tablename__ = "consumer"

    name: Mapped[str] = mapped_column(primary_key=True)
    position: Mapped[int] = mapped_column(sa.BigInteger(), server_default="0")
    updated_at: Mapped[CreatedAt]


_COLUMNS = [column.name for column in Outbox.__table__.columns if column.name not in ("id", "created_at")]

event = sa.Table(
    "event",
    sa.MetaData(),  # a view: kept out of the tables that migrations compare
    sa.Column("position", sa.BigInteger()),
    *(sa.Column(name, Outbox.__table__.c[name].type) for name in _COLUMNS),
)
"""The view of log and outbox; `position` is null until the relay has come by."""
