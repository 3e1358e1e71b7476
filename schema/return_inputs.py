"""What customers, staff and warehouses send about returns."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import strawberry

from domain.ids import Prefix, parse_id
from domain.return_commands import (
    ApproveReturn,
    InspectedUnits,
    InspectReturn,
    ReceivedUnits,
    ReceiveReturn,
    RequestReturn,
    ReturnUnits,
    UnexpectedUnits,
)
from domain.returns import Disposition, ReturnReason
from schema import enums  # noqa: F401 - registers the enumerations that fields name


def _optional(given: str | None, prefix: Prefix, *at: str) -> UUID | None:
    return None if given is None else parse_id(given, prefix, field=at)


@strawberry.input(description="Units to send back: of an order line, or, without an order, of a SKU.")
class ReturnUnitsInput:
    quantity: int = strawberry.field(description="Units, at least 1.")
    reason: ReturnReason
    order_line_id: strawberry.ID | None = None
    sku: str | None = None
    note: str | None = strawberry.field(default=None, description="At most 2,000 characters.")

    def to_units(self, *at: str) -> ReturnUnits:
        return ReturnUnits(
            quantity=self.quantity,
            reason=self.reason,
            order_line_id=_optional(self.order_line_id, Prefix.ORDER_LINE, *at, "orderLineId"),
            sku=self.sku,
            note=self.note,
        )


@strawberry.input(
    description="A return to ask for. Staff and partners may name a channel instead of an order."
)
class ReturnRequestInput:
    lines: list[ReturnUnitsInput]
    order_id: strawberry.ID | None = None
    channel_id: strawberry.ID | None = strawberry.field(
        default=None, description="For a return without an order: where the goods were bought."
    )
    customer_id: strawberry.ID | None = strawberry.field(
        default=None, description="For a return without an order: who sends it."
    )
    location_id: strawberry.ID | None = strawberry.field(
        default=None, description="Where the goods are to go; staff and partners may say so."
    )
    note: str | None = strawberry.field(default=None, description="At most 2,000 characters.")
    tracking_number: str | None = strawberry.field(default=None, description="When it is on its way already.")

    def to_command(self) -> RequestReturn:
        return RequestReturn(
            lines=tuple(line.to_units("lines", str(index)) for index, line in enumerate(self.lines)),
            order_id=_optional(self.order_id, Prefix.ORDER, "orderId"),
            channel_id=_optional(self.channel_id, Prefix.CHANNEL, "channelId"),
            customer_id=_optional(self.customer_id, Prefix.CUSTOMER, "customerId"),
            location_id=_optional(self.location_id, Prefix.LOCATION, "locationId"),
            note=self.note,
            tracking_number=self.tracking_number,
        )


@strawberry.input(description="A return to approve.")
class ReturnApproveInput:
    return_id: strawberry.ID
    location_id: strawberry.ID | None = strawberry.field(
        default=None, description="Where the goods are to go; by default to the location that sent them."
    )
    expires_at: datetime | None = strawberry.field(
        default=None, description="It expires when nothing has come by then; by default in 30 days."
    )

    def to_command(self) -> ApproveReturn:
        return ApproveReturn(
            return_id=parse_id(self.return_id, Prefix.RETURN, field=("returnId",)),
            location_id=_optional(self.location_id, Prefix.LOCATION, "locationId"),
            expires_at=self.expires_at,
        )


@strawberry.input(description="Units of a return line that came in.")
class ReceivedUnitsInput:
    return_line_id: strawberry.ID
    quantity: int = strawberry.field(description="Units, at least 1; more than expected is a discrepancy.")


@strawberry.input(description="Units in the box that the return does not name.")
class UnexpectedUnitsInput:
    sku: str
    quantity: int


@strawberry.input(description="What came in.")
class ReturnReceiveInput:
    return_id: strawberry.ID
    lines: list[ReceivedUnitsInput] = strawberry.field(description="Each line once.")
    unexpected: list[UnexpectedUnitsInput] | None = strawberry.field(
        default=None, description="What else was in the box; becomes a discrepancy."
    )
    location_id: strawberry.ID | None = strawberry.field(
        default=None, description="Where it came in; by default where it was to go."
    )
    received_at: datetime | None = strawberry.field(default=None, description="When; by default now.")

    def to_command(self) -> ReceiveReturn:
        return ReceiveReturn(
            return_id=parse_id(self.return_id, Prefix.RETURN, field=("returnId",)),
            lines=tuple(
                ReceivedUnits(
                    line_id=parse_id(
                        line.return_line_id,
                        Prefix.RETURN_LINE,
                        field=("lines", str(index), "returnLineId"),
                    ),
                    quantity=line.quantity,
                )
                for index, line in enumerate(self.lines)
            ),
            unexpected=tuple(
                UnexpectedUnits(sku=other.sku, quantity=other.quantity) for other in self.unexpected or ()
            ),
            location_id=_optional(self.location_id, Prefix.LOCATION, "locationId"),
            received_at=self.received_at,
        )


@strawberry.input(description="A verdict on received units of a line.")
class InspectedUnitsInput:
    return_line_id: strawberry.ID
    accepted: int = strawberry.field(default=0, description="Units that are accepted, and credited.")
    rejected: int = strawberry.field(default=0, description="Units that are not.")
    disposition: Disposition | None = strawberry.field(
        default=None,
        description=(
            "What becomes of them. Accepted: RESTOCK, DAMAGED or QUARANTINE enter that stock of the return's "
            "location, SCRAP enters none. Rejected: RETURN_TO_CUSTOMER, or none."
        ),
    )


@strawberry.input(description="Verdicts on what came in.")
class ReturnInspectInput:
    return_id: strawberry.ID
    lines: list[InspectedUnitsInput] = strawberry.field(description="Each line once.")
    refund: bool = strawberry.field(
        default=True,
        description="Whether to ask for the refund at once; without, staff make it with `refundCreate`.",
    )

    def to_command(self) -> InspectReturn:
        return InspectReturn(
            return_id=parse_id(self.return_id, Prefix.RETURN, field=("returnId",)),
            lines=tuple(
                InspectedUnits(
                    line_id=parse_id(
                        line.return_line_id,
                        Prefix.RETURN_LINE,
                        field=("lines", str(index), "returnLineId"),
                    ),
                    accepted=line.accepted,
                    rejected=line.rejected,
                    disposition=line.disposition,
                )
                for index, line in enumerate(self.lines)
            ),
            refund=self.refund,
        )
