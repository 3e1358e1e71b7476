"""An order of another system on its way in, and the rows that it becomes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from db.base import Base, new_id
from db.bulk import copy_rows
from db.engine import Session
from db.events import Outbox
from db.fulfillment import FulfillmentOrder, FulfillmentOrderLine
from db.orders import Order, OrderAdjustment, OrderLine
from db.payments import Payment, PaymentTransaction
from db.shipments import CarrierEvent, Package, Shipment, ShipmentLine
from db.stock import Allocation, Backorder
from domain.events import ORDER_EVENTS, EventType
from domain.order_commands import PlaceOrder
from domain.orders import OrderStatus
from domain.pricing import PricedOrder
from domain.upserts import ExternalName
from services.events import Event

TABLES: tuple[type[Base], ...] = (
    Order,
    OrderLine,
    OrderAdjustment,
    Payment,
    PaymentTransaction,
    FulfillmentOrder,
    FulfillmentOrderLine,
    Shipment,
    ShipmentLine,
    Package,
    CarrierEvent,
    Allocation,
    Backorder,
    Outbox,
)
"""In an order in which every foreign key finds its row."""


class Rows:
    """Rows to insert, by table."""

    def __init__(self) -> None:
        self._rows: defaultdict[type[Base], list[dict[str, Any]]] = defaultdict(list)

    def add(self, table: type[Base], **values: Any) -> UUID:
        made: UUID = values.setdefault("id", new_id())
        self._rows[table].append(values)
        return made

    def tell(self, rows: Sequence[dict[str, Any]]) -> None:
        self._rows[Outbox] += rows

    def take(self, others: Rows) -> None:
        for table, rows in others._rows.items():
            self._rows[table] += rows

    async def insert(self, session: Session) -> None:
        """A statement a table, however many rows there are."""
        for table in TABLES:
            await copy_rows(session, table, self._rows[table])


class KnownProduct(NamedTuple):
    id: UUID
    sku: str
    name: str


@dataclass(slots=True, kw_only=True)
class Imported:
    """An order of another system: what was ordered, what it came to, and what has become of it."""

    command: PlaceOrder
    priced: PricedOrder
    products: Sequence[KnownProduct]
    number: str | None
    """The channel gives it one when it has none."""
    company_id: UUID | None
    placed_at: datetime
    shipped_at: datetime | None = None
    delivered_at: datetime | None = None
    cancelled_at: datetime | None = None
    carrier: str | None = None
    tracking_number: str | None = None
    record_number: int = 0
    """Its place in a file, from 1 on."""
    id: UUID = field(default_factory=new_id)
    line_ids: list[UUID] = field(default_factory=list)
    happened: list[Event] = field(default_factory=list)
    rows: Rows | None = None
    """Everything that it becomes, once that is known."""

    def __post_init__(self) -> None:
        self.line_ids = [new_id() for _ in self.command.lines]

    @property
    def name(self) -> ExternalName:
        external_id = self.command.external_ids[0]
        return ExternalName(system=external_id.system, id=external_id.id, channel_id=self.command.channel_id)

    @property
    def is_open(self) -> bool:
        return self.shipped_at is None and self.delivered_at is None and self.cancelled_at is None

    @property
    def units(self) -> int:
        return sum(line.quantity for line in self.command.lines)

    def step(self, status: OrderStatus, before: OrderStatus | None, at: datetime) -> None:
        self.happened.append(
            Event(
                type=EventType.ORDER_IMPORTED if before is None else ORDER_EVENTS[status],
                subject_kind="ORDER",
                subject_id=self.id,
                from_status=before,
                to_status=status,
                details={"units": self.units, "total": self.priced.total, "currency": self.command.currency}
                if before is None
                else {},
                occurred_at=at,
            )
        )


@dataclass(frozen=True, slots=True)
class Claimed:
    """Units of an open order's line that a stock level keeps for it, or owes it."""

    line: int
    level_id: UUID
    location_id: UUID
    quantity: int
