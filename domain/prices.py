"""Price lists, and what one unit costs on them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from domain import text
from domain.checks import Checks
from domain.money import Money
from domain.upserts import ABSENT, Absent, Upsert, sent


@dataclass(frozen=True, slots=True, kw_only=True)
class UpsertPriceList(Upsert):
    """Prices of one currency for one channel or (None) all; its currency never changes."""

    code: str | Absent = ABSENT
    name: str | Absent = ABSENT
    currency: str | Absent = ABSENT
    channel_id: UUID | Absent | None = ABSENT
    valid_from: datetime | Absent | None = ABSENT
    valid_until: datetime | Absent | None = ABSENT
    active: bool | Absent = ABSENT


@dataclass(frozen=True, slots=True, kw_only=True)
class SetPrice:
    """What one unit of a product costs from `minimum_quantity` units on; None takes the price off the list.

    List and product are named by id or by code and SKU.
    """

    price_list_id: UUID | None = None
    price_list_code: str | None = None
    product_id: UUID | None = None
    sku: str | None = None
    minimum_quantity: int = 1
    price: Money | None = None


def check_price_list(checks: Checks, command: UpsertPriceList) -> None:
    """Collect what is wrong with the form of the fields that were sent."""
    checks.code(sent(command.code), "code")
    checks.text(sent(command.name), text.MAX_NAME, "name")
    checks.currency(sent(command.currency), "currencyCode")
    begin, end = sent(command.valid_from), sent(command.valid_until)
    ordered = begin is None or end is None or begin < end
    checks.that(ordered, "A price list ends after it begins.", "validUntil")


def check_price(checks: Checks, command: SetPrice) -> None:
    """Collect what is wrong with the form of a price."""
    one_list = (command.price_list_id is None) != (command.price_list_code is None)
    checks.that(one_list, "Name the price list by id or by code.", "priceListCode")
    one_product = (command.product_id is None) != (command.sku is None)
    checks.that(one_product, "Name the product by id or by SKU.", "sku")
    checks.quantity(command.minimum_quantity, "minimumQuantity")
    if command.price is not None:
        checks.currency(command.price.currency, "price", "currencyCode")
        checks.amount(command.price.amount, "price", "amount")
