"""What locations answer about fulfillment orders."""

from __future__ import annotations

import strawberry

from domain.fulfillment_commands import MarkShort, ShortUnits
from domain.ids import Prefix, parse_id


@strawberry.input(description="Units of a line that the location cannot find.")
class ShortUnitsInput:
    fulfillment_order_line_id: strawberry.ID
    quantity: int = strawberry.field(description="Units, at least 1.")

    def to_units(self, *at: str) -> ShortUnits:
        return ShortUnits(
            fulfillment_order_line_id=parse_id(
                self.fulfillment_order_line_id,
                Prefix.FULFILLMENT_ORDER_LINE,
                field=(*at, "fulfillmentOrderLineId"),
            ),
            quantity=self.quantity,
        )


@strawberry.input(description="A short pick.")
class FulfillmentOrderMarkShortInput:
    fulfillment_order_id: strawberry.ID
    lines: list[ShortUnitsInput] = strawberry.field(description="What is missing; each line once.")
    note: str | None = strawberry.field(default=None, description="For staff; at most 200 characters.")

    def to_command(self) -> MarkShort:
        return MarkShort(
            fulfillment_order_id=parse_id(
                self.fulfillment_order_id, Prefix.FULFILLMENT_ORDER, field=("fulfillmentOrderId",)
            ),
            lines=tuple(line.to_units("lines", str(index)) for index, line in enumerate(self.lines)),
            note=self.note,
        )
