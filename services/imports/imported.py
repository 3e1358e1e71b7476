"""An order of another system on its way in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from db import bulk
from db.base import new_id
from domain.order_commands import PlaceLine, PlaceOrder
from domain.pricing import PricedLine, PricedOrder
from domain.upserts import ExternalName


class KnownProduct(NamedTuple):
    id: UUID
    sku: str
    name: str


SENT = "sku external_id quantity unit_price discount_total net_total tax_total gross_total"


class ImportedLine(NamedTuple):
    """What a line says, and what it came to. Files repeat themselves: orders may share one."""

    line: PlaceLine
    amounts: PricedLine
    sent: bytes
    """Its columns `SENT` as they are written."""

    @classmethod
    def of(cls, line: PlaceLine, amounts: PricedLine) -> ImportedLine:
        sums = (line.unit_price or 0, amounts.discount, amounts.net, amounts.tax, amounts.gross)
        texts = bulk.text(line.sku) + bulk.text(line.external_id)
        sent = texts + bulk.integer(line.quantity) + b"".join(map(bulk.bigint, sums))
        return cls(line, amounts, sent)


@dataclass(slots=True, kw_only=True)
class Imported:
    """An order of another system: what was ordered, what it came to, and what has become of it."""

    command: PlaceOrder
    priced: PricedOrder
    lines: Sequence[ImportedLine]
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
    written: bool = False
    """Its rows have been made: nothing of it was left to be decided."""

    @property
    def name(self) -> ExternalName:
        external_id = self.command.external_ids[0]
        return ExternalName(system=external_id.system, id=external_id.id, channel_id=self.command.channel_id)

    @property
    def is_open(self) -> bool:
        return self.shipped_at is None and self.delivered_at is None and self.cancelled_at is None

    @property
    def left_at(self) -> datetime | None:
        return self.shipped_at or self.delivered_at


@dataclass(frozen=True, slots=True)
class Claimed:
    """Units of an open order's line that a stock level keeps for it, or owes it."""

    line: int
    level_id: UUID
    location_id: UUID
    quantity: int
