"""Products: what is sold, one a SKU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from domain import text
from domain.checks import Checks
from domain.money import Money
from domain.upserts import ABSENT, Absent, Upsert, check_metadata, sent

MAX_DESCRIPTION = 10_000
MAX_WEIGHT_GRAMS = 100_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class UpsertProduct(Upsert):
    """A product; `cost` is what one unit costs us, for those who may know."""

    sku: str | Absent = ABSENT
    name: str | Absent = ABSENT
    description: str | Absent | None = ABSENT
    barcode: str | Absent | None = ABSENT
    tax_class: str | Absent | None = ABSENT
    weight_grams: int | Absent | None = ABSENT
    cost: Money | Absent | None = ABSENT
    backorderable: bool | Absent = ABSENT
    active: bool | Absent = ABSENT
    metadata_: Mapping[str, Any] | Absent | None = ABSENT
    private_metadata: Mapping[str, Any] | Absent | None = ABSENT

    def given(self) -> dict[str, Any]:
        values = Upsert.given(self)
        if "cost" in values:
            cost = values.pop("cost")
            values["cost_amount"] = cost.amount if cost else None
            values["cost_currency"] = cost.currency if cost else None
        if values.get("description", "") is None:
            values["description"] = ""
        return values


def check_product(checks: Checks, command: UpsertProduct) -> None:
    """Collect what is wrong with the form of the fields that were sent."""
    sku = sent(command.sku)
    if sku is not None:
        checks.sku(sku, "sku")
    checks.text(sent(command.name), text.MAX_NAME, "name")
    if description := sent(command.description):
        checks.text(description, MAX_DESCRIPTION, "description", multiline=True)
    checks.text(sent(command.barcode), text.MAX_CODE, "barcode")
    checks.text(sent(command.tax_class), text.MAX_CODE, "taxClass")
    weight = sent(command.weight_grams)
    fits = weight is None or 0 <= weight <= MAX_WEIGHT_GRAMS
    checks.that(fits, f"A weight is between 0 and {MAX_WEIGHT_GRAMS} grams.", "weightGrams")
    if cost := sent(command.cost):
        checks.currency(cost.currency, "cost", "currencyCode")
        checks.amount(cost.amount, "cost", "amount")
    check_metadata(checks, command.given())
