"""Stock that came in or was found to be there, as the API takes it."""

from __future__ import annotations

from datetime import datetime

import strawberry

from domain.ids import Prefix
from domain.stock import Bucket, StockOwner
from domain.stock_commands import AdjustStock, ReceiveStock, StockPlace
from schema import enums  # noqa: F401 - registers the enumerations that fields name
from schema.external_ids import global_id_of


@strawberry.input(description="A SKU at a location, each named by id, or by SKU and code.")
class StockPlaceInput:
    product_id: strawberry.ID | None = None
    sku: str | None = None
    location_id: strawberry.ID | None = None
    location_code: str | None = None
    owner: StockOwner = strawberry.field(default=StockOwner.OWN, description="Whose stock it is.")

    def to_place(self) -> StockPlace:
        product, location = self.product_id, self.location_id
        return StockPlace(
            product_id=None if product is None else global_id_of(Prefix.PRODUCT, "productId")(product),
            sku=self.sku,
            location_id=None if location is None else global_id_of(Prefix.LOCATION, "locationId")(location),
            location_code=self.location_code,
            owner=self.owner,
        )


@strawberry.input(description="Units that have come in.")
class StockReceiveInput(StockPlaceInput):
    quantity: int = strawberry.field(description="Units, 1 to 1,000,000.")
    bucket: Bucket = strawberry.field(
        default=Bucket.SELLABLE, description="In what condition; only SELLABLE units can be promised."
    )
    reference: str | None = strawberry.field(
        default=None, description="The document behind it, such as a delivery note; at most 128 characters."
    )
    note: str | None = None
    occurred_at: datetime | None = strawberry.field(default=None, description="When; now if it is left out.")

    def to_command(self) -> ReceiveStock:
        return ReceiveStock(
            place=self.to_place(),
            quantity=self.quantity,
            bucket=self.bucket,
            reference=self.reference,
            note=self.note,
            occurred_at=self.occurred_at,
        )


@strawberry.input(
    description=(
        "A correction of the books: `delta` units more or (negative) fewer, or `counted` units found there. "
        "If fewer are left than were promised, the weakest promises become backorders."
    )
)
class StockAdjustInput(StockPlaceInput):
    reason: str = strawberry.field(description="Why: damage, theft, a count, …; kept in the ledger.")
    delta: int | None = strawberry.field(
        default=None, description="Units; no more can be taken away than the books say are there."
    )
    counted: int | None = strawberry.field(default=None, description="Units that are there: 0 to 1,000,000.")
    bucket: Bucket = Bucket.SELLABLE
    reference: str | None = None
    occurred_at: datetime | None = strawberry.field(default=None, description="When; now if it is left out.")

    def to_command(self) -> AdjustStock:
        return AdjustStock(
            place=self.to_place(),
            reason=self.reason,
            delta=self.delta,
            counted=self.counted,
            bucket=self.bucket,
            reference=self.reference,
            occurred_at=self.occurred_at,
        )
