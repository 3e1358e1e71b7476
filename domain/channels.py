"""Channels: where orders come from, and what a channel of each kind usually asks of its orders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from domain import text
from domain.checks import Checks
from domain.invoices import InvoiceRequirement
from domain.orders import ChannelKind, CollectedBy, PricingAuthority, ReleaseGate
from domain.stock import MAX_QUANTITY
from domain.upserts import ABSENT, Absent, Upsert, check_metadata, sent

MAX_PAYMENT_DUE_MINUTES = 525_600
MAX_COMPLETES_AFTER_DAYS = 365
MAX_LOCATIONS = 1_000
"""Locations that serve one channel."""

USUAL: dict[ChannelKind, tuple[PricingAuthority, CollectedBy, ReleaseGate]] = {
    ChannelKind.ECOMMERCE: (PricingAuthority.OMS, CollectedBy.MERCHANT, ReleaseGate.AUTHORIZED),
    ChannelKind.MARKETPLACE: (
        PricingAuthority.PARTNER,
        CollectedBy.MARKETPLACE,
        ReleaseGate.MARKETPLACE,
    ),
    ChannelKind.STORE: (PricingAuthority.OMS, CollectedBy.MERCHANT, ReleaseGate.CAPTURED),
    ChannelKind.PHONE: (PricingAuthority.OMS, CollectedBy.MERCHANT, ReleaseGate.AUTHORIZED),
    ChannelKind.SALES_REPRESENTATIVE: (PricingAuthority.PARTNER, CollectedBy.MERCHANT, ReleaseGate.TERMS),
    ChannelKind.SOCIAL: (PricingAuthority.OMS, CollectedBy.MERCHANT, ReleaseGate.AUTHORIZED),
    ChannelKind.EDI: (PricingAuthority.PARTNER, CollectedBy.MERCHANT, ReleaseGate.TERMS),
}
"""Who sets prices, who collects and what releases orders, for a new channel that does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingLocation:
    """A location that serves a channel; the lowest rank is asked first."""

    location_id: UUID
    rank: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class UpsertChannel(Upsert):
    """A channel. `locations`, when sent, replaces the whole list of locations that serve it."""

    code: str | Absent = ABSENT
    name: str | Absent = ABSENT
    kind: ChannelKind | Absent = ABSENT
    currency: str | Absent = ABSENT
    pricing_authority: PricingAuthority | Absent = ABSENT
    prices_include_tax: bool | Absent = ABSENT
    collected_by: CollectedBy | Absent = ABSENT
    release_gate: ReleaseGate | Absent = ABSENT
    invoice_required_before: InvoiceRequirement | Absent = ABSENT
    payment_due_minutes: int | Absent = ABSENT
    completes_after_days: int | Absent = ABSENT
    stock_buffer: int | Absent = ABSENT
    order_number_prefix: str | Absent | None = ABSENT
    active: bool | Absent = ABSENT
    metadata_: Mapping[str, Any] | Absent | None = ABSENT
    private_metadata: Mapping[str, Any] | Absent | None = ABSENT
    locations: tuple[ServingLocation, ...] | Absent = ABSENT

    def given(self) -> dict[str, Any]:
        values = Upsert.given(self)
        values.pop("locations", None)
        if values.get("order_number_prefix", "") is None:
            values["order_number_prefix"] = ""
        return values

    def usual(self) -> dict[str, Any]:
        """What a new channel of this kind gets for the rules it does not state."""
        kind = sent(self.kind)
        if kind is None:
            return {}
        pricing, collector, gate = USUAL[kind]
        return {"pricing_authority": pricing, "collected_by": collector, "release_gate": gate}


def check_channel(checks: Checks, command: UpsertChannel) -> None:
    """Collect what is wrong with the form of the fields that were sent."""
    checks.code(sent(command.code), "code")
    checks.text(sent(command.name), text.MAX_NAME, "name")
    checks.currency(sent(command.currency), "currencyCode")
    _between(checks, sent(command.payment_due_minutes), 1, MAX_PAYMENT_DUE_MINUTES, "paymentDueMinutes")
    _between(checks, sent(command.completes_after_days), 1, MAX_COMPLETES_AFTER_DAYS, "completesAfterDays")
    _between(checks, sent(command.stock_buffer), 0, MAX_QUANTITY, "stockBuffer")
    if prefix := sent(command.order_number_prefix):
        checks.code(prefix, "orderNumberPrefix")
        checks.that(len(prefix) <= 20, "A prefix has at most 20 characters.", "orderNumberPrefix")
    locations = sent(command.locations) or ()
    distinct = len({serving.location_id for serving in locations}) == len(locations) <= MAX_LOCATIONS
    checks.that(distinct, f"A channel has up to {MAX_LOCATIONS} locations, each once.", "locations")
    for index, serving in enumerate(locations[:MAX_LOCATIONS]):
        _between(checks, serving.rank, 0, 10_000, "locations", str(index), "rank")
    check_metadata(checks, command.given())


def _between(checks: Checks, value: int | None, low: int, high: int, *field: str) -> None:
    fits = value is None or low <= value <= high
    checks.that(fits, f"It is between {low} and {high}.", *field)
