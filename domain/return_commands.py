"""What callers ask of returns, as values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from domain import text
from domain.checks import Checks
from domain.returns import Disposition, ReturnReason

MAX_LINES = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class ReturnUnits:
    """Units of an order line (or, in a return without an order, of a SKU) to send back."""

    quantity: int
    reason: ReturnReason
    order_line_id: UUID | None = None
    sku: str | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestReturn:
    """Ask to send goods back: of `order_id`, or, without one, to `channel_id`."""

    lines: tuple[ReturnUnits, ...]
    order_id: UUID | None = None
    channel_id: UUID | None = None
    customer_id: UUID | None = None
    location_id: UUID | None = None
    note: str | None = None
    tracking_number: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkReturnSent:
    """The customer has sent it, under this tracking number."""

    return_id: UUID
    tracking_number: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelReturn:
    return_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseReturn:
    return_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpireReturns:
    """At most `limit` returns whose time has run out; a schedule asks."""

    limit: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class ApproveReturn:
    """Approve; goods go to `location_id` until `expires_at`, when nothing has come by then."""

    return_id: UUID
    location_id: UUID | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclineReturn:
    return_id: UUID
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedUnits:
    line_id: UUID
    quantity: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UnexpectedUnits:
    """Units in the box that the return does not name."""

    sku: str
    quantity: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiveReturn:
    """A fact: these units came in, at this location, at that time (None: now)."""

    return_id: UUID
    lines: tuple[ReceivedUnits, ...]
    unexpected: tuple[UnexpectedUnits, ...] = ()
    location_id: UUID | None = None
    received_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectedUnits:
    """Of the received units, those accepted (and what becomes of them) and those rejected."""

    line_id: UUID
    accepted: int
    rejected: int = 0
    disposition: Disposition | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectReturn:
    """`refund`: give back what the accepted units cost, once it is known."""

    return_id: UUID
    lines: tuple[InspectedUnits, ...]
    refund: bool = True


def check_request_return(command: RequestReturn) -> None:
    """Refused with every error of form at once."""
    checks = Checks()
    checks.that(1 <= len(command.lines) <= MAX_LINES, f"A return has 1 to {MAX_LINES} lines.", "lines")
    with_order = command.order_id is not None
    checks.that(
        with_order or command.channel_id is not None,
        "A return names its order or, without one, its channel.",
        "orderId",
    )
    for index, line in enumerate(command.lines[:MAX_LINES]):
        at = ("lines", str(index))
        checks.quantity(line.quantity, *at, "quantity")
        checks.text(line.note, text.MAX_NOTE, *at, "note", multiline=True)
        if with_order:
            checks.that(line.order_line_id is not None, "It names a line of the order.", *at, "orderLineId")
        else:
            checks.that(line.sku is not None, "Without an order it names a SKU.", *at, "sku")
    lines = [line.order_line_id for line in command.lines if line.order_line_id is not None]
    checks.that(len(set(lines)) == len(lines), "Each order line is named once.", "lines")
    checks.text(command.note, text.MAX_NOTE, "note", multiline=True)
    checks.text(command.tracking_number, text.MAX_CODE, "trackingNumber")
    checks.refuse()


def check_approve_return(command: ApproveReturn, now: datetime) -> None:
    checks = Checks()
    checks.time(command.expires_at, "expiresAt")
    checks.refuse()
    checks.that(command.expires_at is None or command.expires_at > now, "The time is past.", "expiresAt")
    checks.refuse()


def check_receive_return(command: ReceiveReturn) -> None:
    checks = Checks()
    parts = len(command.lines) + len(command.unexpected)
    checks.that(1 <= parts <= MAX_LINES, f"Name 1 to {MAX_LINES} lines.", "lines")
    _once_each(checks, [line.line_id for line in command.lines])
    for index, line in enumerate(command.lines[:MAX_LINES]):
        checks.quantity(line.quantity, "lines", str(index), "quantity")
    for index, other in enumerate(command.unexpected[:MAX_LINES]):
        checks.sku(other.sku, "unexpected", str(index), "sku")
        checks.quantity(other.quantity, "unexpected", str(index), "quantity")
    checks.time(command.received_at, "receivedAt")
    checks.refuse()


def check_return_text(value: str | None, maximum: int, *field: str) -> None:
    """Refused unless it is absent or text of at most `maximum` characters."""
    checks = Checks()
    checks.text(value, maximum, *field)
    checks.refuse()


def check_inspect_return(command: InspectReturn) -> None:
    """Accepted units need a disposition that keeps them; RETURN_TO_CUSTOMER is for rejected ones."""
    checks = Checks()
    checks.that(1 <= len(command.lines) <= MAX_LINES, f"Name 1 to {MAX_LINES} lines.", "lines")
    _once_each(checks, [line.line_id for line in command.lines])
    for index, line in enumerate(command.lines[:MAX_LINES]):
        at = ("lines", str(index))
        checks.quantity(line.accepted, *at, "accepted", minimum=0)
        checks.quantity(line.rejected, *at, "rejected", minimum=0)
        checks.that(line.accepted + line.rejected > 0, "Judge at least one unit.", *at, "accepted")
        kept = line.disposition not in (None, Disposition.RETURN_TO_CUSTOMER)
        checks.that(
            not line.accepted or kept,
            "Say what becomes of accepted units: RESTOCK, DAMAGED, QUARANTINE or SCRAP.",
            *at,
            "disposition",
        )
    checks.refuse()


def _once_each(checks: Checks, lines: list[UUID]) -> None:
    checks.that(len(set(lines)) == len(lines), "Each line is named once.", "lines")
