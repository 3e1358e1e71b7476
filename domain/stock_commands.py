"""What callers report of stock: units that came in, and units found to be there or not."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from domain import text
from domain.checks import Checks
from domain.stock import MAX_QUANTITY, Bucket, StockOwner


@dataclass(frozen=True, slots=True, kw_only=True)
class StockPlace:
    """One SKU at one location of one owner; each named by id, or by SKU and code."""

    product_id: UUID | None = None
    sku: str | None = None
    location_id: UUID | None = None
    location_code: str | None = None
    owner: StockOwner = StockOwner.OWN


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiveStock:
    """`quantity` units have come in; `occurred_at` is when, if that was not now."""

    place: StockPlace
    quantity: int
    bucket: Bucket = Bucket.SELLABLE
    reference: str | None = None
    note: str | None = None
    occurred_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AdjustStock:
    """Either `delta` units more (or, negative, fewer) than the books say, or `counted` units found there."""

    place: StockPlace
    reason: str
    delta: int | None = None
    counted: int | None = None
    bucket: Bucket = Bucket.SELLABLE
    reference: str | None = None
    occurred_at: datetime | None = None


def check_receipt(checks: Checks, command: ReceiveStock) -> None:
    """Collect what is wrong with the form of a receipt."""
    _check_place(checks, command.place)
    checks.quantity(command.quantity, "quantity")
    checks.text(command.reference, text.MAX_EXTERNAL_ID, "reference")
    checks.text(command.note, text.MAX_NOTE, "note", multiline=True)


def check_adjustment(checks: Checks, command: AdjustStock) -> None:
    """Collect what is wrong with the form of an adjustment."""
    _check_place(checks, command.place)
    either = (command.delta is None) != (command.counted is None)
    checks.that(either, "Give a delta or a counted number of units, not both.", "delta")
    if command.delta is not None:
        fits = command.delta != 0 and abs(command.delta) <= MAX_QUANTITY
        checks.that(fits, f"A delta is not 0 and at most {MAX_QUANTITY} units either way.", "delta")
    checks.quantity(command.counted, "counted", minimum=0)
    checks.text(command.reason, text.MAX_NOTE, "reason", multiline=True)
    checks.text(command.reference, text.MAX_EXTERNAL_ID, "reference")


def _check_place(checks: Checks, place: StockPlace) -> None:
    one_product = (place.product_id is None) != (place.sku is None)
    checks.that(one_product, "Name the product by id or by SKU.", "sku")
    one_location = (place.location_id is None) != (place.location_code is None)
    checks.that(one_location, "Name the location by id or by code.", "locationCode")
