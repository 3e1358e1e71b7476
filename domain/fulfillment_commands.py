"""What locations answer when they are asked to send something, as values."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from domain import text
from domain.checks import Checks
from domain.shipment_commands import MAX_LINES


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptFulfillmentOrder:
    fulfillment_order_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectFulfillmentOrder:
    """`reason` is for staff: closed, out of stock, cannot ship there."""

    fulfillment_order_id: UUID
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldFulfillmentOrder:
    fulfillment_order_id: UUID
    note: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseFulfillmentOrder:
    fulfillment_order_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptCancellation:
    fulfillment_order_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectCancellation:
    fulfillment_order_id: UUID
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShortUnits:
    """Units of a fulfillment order line that are not where the books say."""

    fulfillment_order_line_id: UUID
    quantity: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkShort:
    """A short pick. What is missing is sent from elsewhere, or waits for stock."""

    fulfillment_order_id: UUID
    lines: tuple[ShortUnits, ...]
    note: str | None = None


def check_reason(reason: str | None, *field: str) -> None:
    """Refused unless it is absent or one line of text."""
    checks = Checks()
    checks.text(reason, text.MAX_LINE, *field)
    checks.refuse()


def check_mark_short(command: MarkShort) -> None:
    checks = Checks()
    checks.that(1 <= len(command.lines) <= MAX_LINES, f"Name 1 to {MAX_LINES} lines.", "lines")
    named = [line.fulfillment_order_line_id for line in command.lines]
    checks.that(len(set(named)) == len(named), "Each line is named once.", "lines")
    for index, line in enumerate(command.lines[:MAX_LINES]):
        checks.quantity(line.quantity, "lines", str(index), "quantity")
    checks.text(command.note, text.MAX_LINE, "note")
    checks.refuse()
