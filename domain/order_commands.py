"""What callers ask of orders, as values: already parsed, not yet checked against anything stored."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any
from uuid import UUID

from domain import text
from domain.checks import Checks
from domain.orders import HoldReason
from domain.payments import PaymentMethod
from domain.pricing import Charge, Discount, StatedTotals, Tax

MAX_LINES = 500
MAX_PARTS = 20
"""External ids of an order; discounts, taxes or charges of one line or order."""
MAX_TAX_RATE = 10
"""1,000 %: excise on tobacco and spirits passes 100 %."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalId:
    """What `system` calls an entity of ours."""

    system: str
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A postal address; `country` is free text for history, `country_code` ISO 3166-1 alpha-2."""

    name: str | None = None
    company: str | None = None
    line1: str | None = None
    line2: str | None = None
    city: str | None = None
    region: str | None = None
    postal_code: str | None = None
    country: str | None = None
    country_code: str | None = None
    phone: str | None = None

    def to_json(self) -> dict[str, str]:
        """What is stored: only what was given."""
        given = {
            "name": self.name,
            "company": self.company,
            "line1": self.line1,
            "line2": self.line2,
            "city": self.city,
            "region": self.region,
            "postal_code": self.postal_code,
            "country": self.country,
            "country_code": self.country_code,
            "phone": self.phone,
        }
        return {name: value for name, value in given.items() if value is not None}


NO_ADDRESS = Address()


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentIntent:
    """How the order is to be paid. `token` is what the provider needs; `amount` None means all of it."""

    method: PaymentMethod
    provider: str | None = None
    token: str | None = None
    amount: int | None = None
    reference: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceLine:
    """`unit_price` in minor units: stated by partners that set prices, else None."""

    sku: str
    quantity: int
    unit_price: int | None = None
    discounts: tuple[Discount, ...] = ()
    taxes: tuple[Tax, ...] = ()
    external_id: str | None = None
    name: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceOrder:
    """An order to place. The channel decides what is left out: currency, prices, release gate, due time.

    `reservation_id` is a checkout's hold that this order consumes. `placed_at` is
    when a partner's customer ordered; ours is the database's now.
    """

    channel_id: UUID
    lines: tuple[PlaceLine, ...]
    currency: str | None = None
    number: str | None = None
    external_ids: tuple[ExternalId, ...] = ()
    customer_id: UUID | None = None
    company_id: UUID | None = None
    sales_representative: str | None = None
    email: str | None = None
    phone: str | None = None
    shipping_address: Address = NO_ADDRESS
    billing_address: Address | None = None
    note: str | None = None
    priority: int = 0
    discounts: tuple[Discount, ...] = ()
    shipping: tuple[Charge, ...] = ()
    fees: tuple[Charge, ...] = ()
    taxes: tuple[Tax, ...] = ()
    stated: StatedTotals | None = None
    payment: PaymentIntent | None = None
    reservation_id: UUID | None = None
    placed_at: datetime | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    private_metadata: Mapping[str, Any] = field(default_factory=dict)

    def demand(self) -> dict[str, int]:
        """Units asked for by SKU, summed over lines."""
        units: dict[str, int] = {}
        for line in self.lines:
            units[line.sku] = units.get(line.sku, 0) + line.quantity
        return units


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelUnits:
    line_id: UUID
    quantity: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelOrder:
    """Cancel what has not left: `lines`, or everything when it is empty."""

    order_id: UUID
    lines: tuple[CancelUnits, ...] = ()
    reason: str | None = None
    expected_version: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldOrder:
    order_id: UUID
    reason: HoldReason
    note: str | None = None
    expected_version: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseHold:
    """Release one hold, or every hold of the order when `hold_id` is None."""

    order_id: UUID
    hold_id: UUID | None = None
    expected_version: int | None = None


_ADDRESS_FIELDS = {
    field.name: re.sub("_(.)", lambda part: part[1].upper(), field.name) for field in fields(Address)
}
"""As the API names them."""


def check_place_order(command: PlaceOrder, *, lines_too: bool = True) -> None:
    """Refused with every error of form at once; what is stored decides the rest later.

    `lines_too`: unless each line has passed `check_place_line`.
    """
    checks = Checks()
    checks.that(1 <= len(command.lines) <= MAX_LINES, f"An order has 1 to {MAX_LINES} lines.", "lines")
    for index, line in enumerate(command.lines[:MAX_LINES] if lines_too else ()):
        _check_line(checks, line, "lines", str(index))
    _check_external_ids(checks, command.external_ids)
    checks.currency(command.currency, "currency")
    checks.code(command.number, "number")
    checks.email(command.email, "email")
    checks.text(command.phone, text.MAX_PHONE, "phone")
    checks.text(command.note, text.MAX_NOTE, "note", multiline=True)
    checks.text(command.sales_representative, text.MAX_NAME, "salesRepresentative")
    check_address(checks, command.shipping_address, "shippingAddress")
    check_address(checks, command.billing_address, "billingAddress")
    check_priority(checks, command.priority)
    _check_discounts(checks, command.discounts, "discounts")
    _check_taxes(checks, command.taxes, "taxLines")
    _check_charges(checks, command.shipping, "shipping")
    _check_charges(checks, command.fees, "fees")
    _check_payment(checks, command.payment)
    checks.metadata(command.metadata, "metadata")
    checks.metadata(command.private_metadata, "privateMetadata")
    checks.refuse()


def check_place_line(line: PlaceLine) -> None:
    """Refused with every error of one line's form."""
    checks = Checks()
    _check_line(checks, line)
    checks.refuse()


def check_priority(checks: Checks, priority: int | None) -> None:
    """A higher one matters more; 0 is usual."""
    checks.that(priority is None or -100 <= priority <= 100, "It is between -100 and 100.", "priority")


def check_address(checks: Checks, address: Address | None, *at: str) -> None:
    """Every part is one line of text; a country code is one."""
    if address is None:
        return
    for name, value in address.to_json().items():
        checks.text(value, text.MAX_LINE, *at, _ADDRESS_FIELDS[name])
    checks.country_code(address.country_code, *at, "countryCode")


def _check_line(checks: Checks, line: PlaceLine, *at: str) -> None:
    checks.sku(line.sku, *at, "sku")
    checks.quantity(line.quantity, *at, "quantity")
    checks.amount(line.unit_price, *at, "unitPrice")
    checks.text(line.external_id, text.MAX_EXTERNAL_ID, *at, "externalId")
    checks.text(line.name, text.MAX_NAME, *at, "name")
    checks.metadata(line.metadata, *at, "metadata")
    _check_discounts(checks, line.discounts, *at, "discounts")
    _check_taxes(checks, line.taxes, *at, "taxLines")


def _check_external_ids(checks: Checks, external_ids: tuple[ExternalId, ...]) -> None:
    systems = {external.system for external in external_ids}
    few = len(external_ids) <= MAX_PARTS and len(systems) == len(external_ids)
    checks.that(few, f"There are at most {MAX_PARTS} external ids, one per system.", "externalIds")
    for index, external in enumerate(external_ids[:MAX_PARTS]):
        checks.code(external.system, "externalIds", str(index), "system")
        checks.text(external.id, text.MAX_EXTERNAL_ID, "externalIds", str(index), "id")


def _check_discounts(checks: Checks, discounts: tuple[Discount, ...], *at: str) -> None:
    if not discounts:
        return
    checks.that(len(discounts) <= MAX_PARTS, f"There are at most {MAX_PARTS} discounts.", *at)
    for index, discount in enumerate(discounts[:MAX_PARTS]):
        checks.amount(discount.amount, *at, str(index), "amount")
        checks.fraction(discount.fraction, 1, *at, str(index), "fraction")
        checks.text(discount.code, text.MAX_CODE, *at, str(index), "code")
        checks.text(discount.label, text.MAX_LINE, *at, str(index), "label")


def _check_taxes(checks: Checks, taxes: tuple[Tax, ...], *at: str) -> None:
    if not taxes:
        return
    checks.that(len(taxes) <= MAX_PARTS, f"There are at most {MAX_PARTS} tax lines.", *at)
    for index, tax in enumerate(taxes[:MAX_PARTS]):
        checks.text(tax.kind, text.MAX_CODE, *at, str(index), "kind")
        checks.text(tax.jurisdiction, text.MAX_CODE, *at, str(index), "jurisdiction")
        checks.amount(tax.amount, *at, str(index), "amount")
        checks.amount(tax.base, *at, str(index), "base")
        checks.fraction(tax.rate, MAX_TAX_RATE, *at, str(index), "rate")


def _check_charges(checks: Checks, charges: tuple[Charge, ...], at: str) -> None:
    checks.that(len(charges) <= MAX_PARTS, f"There are at most {MAX_PARTS} charges.", at)
    for index, charge in enumerate(charges[:MAX_PARTS]):
        checks.amount(charge.amount, at, str(index), "amount")
        checks.text(charge.label, text.MAX_LINE, at, str(index), "label")
        checks.text(charge.code, text.MAX_CODE, at, str(index), "code")


def _check_payment(checks: Checks, payment: PaymentIntent | None) -> None:
    if payment is None:
        return
    checks.code(payment.provider, "payment", "provider")
    checks.text(payment.token, text.MAX_TOKEN, "payment", "token")
    checks.text(payment.reference, text.MAX_EXTERNAL_ID, "payment", "reference")
    checks.amount(payment.amount, "payment", "amount", minimum=1)
