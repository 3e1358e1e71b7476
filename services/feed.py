"""Reading the event log: what came after a position, and what of it somebody asked for.

Everything that tells the outside world about a change reads here: subscriptions,
jobs, webhooks, exports. Positions are dense, so a reader that was at 41 and is
given 43 knows that something is wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from db.base import JSONObject
from db.engine import Session
from db.events import EventLog, Outbox, Relay
from db.products import Product
from db.shipments import Shipment
from domain.events import AggregateKind, EventType
from domain.orders import Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedEvent:
    """A row of the log; see `db.events.EventLog`."""

    position: int
    event_id: UUID
    type: EventType
    aggregate_kind: AggregateKind
    aggregate_id: UUID
    version: int
    subject_kind: str
    subject_id: UUID
    from_status: str | None
    to_status: str | None
    order_id: UUID | None
    channel_id: UUID | None
    customer_id: UUID | None
    company_id: UUID | None
    location_id: UUID | None
    product_id: UUID | None
    return_id: UUID | None
    details: JSONObject
    origin: Origin
    actor: str
    occurred_at: datetime


_LOG = EventLog.__table__.c
_AFTER = _LOG.position > sa.bindparam("after", type_=sa.BigInteger())
_LIMIT = sa.bindparam("limit", type_=sa.Integer())
_READ_AFTER = (
    sa.select(*(_LOG[field.name] for field in fields(LoggedEvent)))
    .where(_AFTER)
    .order_by(_LOG.position)
    .limit(_LIMIT)
)


async def read_after(session: Session, position: int, limit: int) -> list[LoggedEvent]:
    """The events after `position`, oldest first, at most `limit`; density is the relay's promise."""
    rows = await session.execute(_READ_AFTER, {"after": position, "limit": limit})
    return [LoggedEvent(**row) for row in rows.mappings()]


@dataclass(frozen=True, slots=True)
class Head:
    """Where the log stands: cursors of another epoch, beyond `position` or below `horizon` lead nowhere."""

    epoch: UUID
    position: int
    horizon: int


WAITING: sa.Select[Any] = (
    sa.select(sa.func.extract("epoch", sa.func.clock_timestamp() - Outbox.created_at).cast(sa.Double()))
    .order_by(Outbox.id)
    .limit(sa.literal_column("1"))
)
"""For how long the oldest committed event has waited for its place in the log, in seconds; no row when none waits."""

READ_HEAD = sa.select(Relay.epoch, Relay.position, Relay.horizon)


async def read_head(session: Session) -> Head:
    return Head(**(await session.execute(READ_HEAD)).mappings().one())


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which events somebody follows: in every set that is given, one member must match.

    `statuses` are those that an event's subject arrived at. An empty set matches nothing.
    """

    orders: frozenset[UUID] | None = None
    products: frozenset[UUID] | None = None
    returns: frozenset[UUID] | None = None
    shipments: frozenset[UUID] | None = None
    customers: frozenset[UUID] | None = None
    channels: frozenset[UUID] | None = None
    locations: frozenset[UUID] | None = None
    types: frozenset[str] | None = None
    statuses: frozenset[str] | None = None
    subjects: frozenset[str] | None = None
    aggregates: frozenset[str] | None = None

    def given(self) -> list[tuple[str, frozenset[Any]]]:
        """Each set that is given with the column it is about, the most selective first."""
        sets = ((column, getattr(self, name)) for name, column in _COLUMNS.items())
        return [(column, values) for column, values in sets if values is not None]

    def of_products(self, products: Iterable[UUID]) -> Selection:
        """The same, narrowed to these products."""
        return replace(self, products=frozenset(products))

    @property
    def single(self) -> bool:
        """Whether it follows one order, one return or one shipment."""
        chosen = (self.orders, self.returns, self.shipments)
        return any(one is not None and len(one) == 1 for one in chosen)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of what is given, in the order of `given`."""
        return tuple(column for column, _ in self.given())

    def values(self) -> dict[str, list[Any]]:
        return {f"{column}s": sorted(values) for column, values in self.given()}


_COLUMNS = {
    "orders": "order_id",
    "products": "product_id",
    "returns": "return_id",
    "shipments": "shipment_id",
    "customers": "customer_id",
    "channels": "channel_id",
    "locations": "location_id",
    "types": "type",
    "statuses": "to_status",
    "subjects": "subject_kind",
    "aggregates": "aggregate_kind",
}
MATCHED = ("position", "created_at", "logged_at", "subject_id", *_COLUMNS.values())
"""The columns that decide who is told of an event and what it is newer than, and when it was recorded."""

SUBJECTS = ("order_id", "return_id", "subject_id")
"""Columns that name what an event is about, for those who want the newest of each alone."""

INDEXED = frozenset({"order_id", "product_id", "customer_id", "shipment_id"})
"""Columns by which the log can be read without reading what lies between."""


_SHIPMENT_ID = sa.case(
    (
        _LOG.subject_kind == sa.literal_column("'PACKAGE'"),
        sa.cast(_LOG.details.op("->>")(sa.literal_column("'shipmentId'")), sa.Uuid()),
    ),
    else_=_LOG.subject_id,
)
"""The subject, or the shipment of the parcel that it is; of other subjects it is no shipment's id."""


def _column(name: str) -> sa.ColumnElement[Any]:
    return _SHIPMENT_ID if name == "shipment_id" else _LOG[name]


def _type(column: str) -> sa.types.TypeEngine[Any]:
    kind = _column(column).type
    return sa.Text() if isinstance(kind, sa.Enum) else kind


def _conditions(columns: Sequence[str]) -> list[sa.ColumnElement[bool]]:
    """What a selection of these columns demands, the values bound under their names: see `Selection.values`."""
    chosen = {column: sa.bindparam(f"{column}s", type_=ARRAY(_type(column))) for column in columns}
    conditions = [_column(column) == sa.any_(values) for column, values in chosen.items()]
    if "shipment_id" in chosen:  # no index has it; their orders' events are few
        theirs = sa.select(Shipment.order_id).where(Shipment.id == sa.any_(chosen["shipment_id"]))
        conditions.append(_LOG.order_id == sa.any_(sa.func.array(theirs.scalar_subquery())))
    return conditions


def matched() -> list[sa.ColumnElement[Any]]:
    """`MATCHED` of a row of the log."""
    return [_column(name).label(name) for name in MATCHED]


def matched_after() -> sa.Select[Any]:
    """What decides who is told, of the events after `:after`, at most `:limit`."""
    return sa.select(*matched()).where(_AFTER).order_by(_LOG.position).limit(_LIMIT)


def selected(columns: Sequence[str]) -> sa.Select[Any]:
    """What `SUBJECTS` are and the position of the selected events after `:after` up to `:until`, at most `:limit`."""
    return (
        sa.select(_LOG.position, *(_LOG[name] for name in SUBJECTS))
        .where(
            _AFTER,
            _LOG.position <= sa.bindparam("until", type_=sa.BigInteger()),
            *_conditions(columns),
        )
        .order_by(_LOG.position)
        .limit(_LIMIT)
    )


def positions(columns: Sequence[str]) -> sa.Select[Any]:
    """The positions alone of what `selected` reads, as one row's array."""
    found = (
        sa.select(_LOG.position)
        .where(_AFTER, _LOG.position <= sa.bindparam("until", type_=sa.BigInteger()), *_conditions(columns))
        .order_by(_LOG.position)
        .limit(_LIMIT)
    )
    return sa.select(sa.func.array(found.scalar_subquery(), type_=ARRAY(sa.BigInteger())))


def newest(columns: Sequence[str]) -> sa.Select[int]:
    """The positions of the last selected events, the newest first, at most `:limit`."""
    return (
        sa.select(_LOG.position)
        .where(sa.true(), *_conditions(columns))
        .order_by(_LOG.position.desc())
        .limit(_LIMIT)
    )


def products_by_sku() -> sa.Select[UUID, str]:
    """The products with these `:skus`."""
    return sa.select(Product.id, Product.sku).where(
        Product.sku == sa.any_(sa.bindparam("skus", type_=ARRAY(sa.Text())))
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What a subscription follows, as its root field describes it; the live path runs it.

    `after` is a cursor, None for "from now on". `skus` narrow the selection to
    these products. `snapshots` asks for the entity's state as the event's column of
    that name identifies it, at once and after each change, in place of the events.
    `latest_by` names columns, the first that is not null telling what an event is
    about: of events about the same that wait together only the newest is shown.
    """

    selection: Selection
    after: str | None = None
    skus: Sequence[str] | None = None
    snapshots: str | None = None
    latest_by: tuple[str, ...] = ()
