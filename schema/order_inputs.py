"""What callers send to place, change, hold and cancel orders."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import TypeVar
from uuid import UUID

import strawberry
from strawberry.scalars import JSON

from domain.errors import InvalidInput, Refused
from domain.ids import Prefix, parse_id
from domain.money import require_currency
from domain.order_commands import (
    NO_ADDRESS,
    Address,
    CancelOrder,
    CancelUnits,
    ExternalId,
    HoldOrder,
    PaymentIntent,
    PlaceLine,
    PlaceOrder,
    ReleaseHold,
)
from domain.order_edits import UpdateOrder
from domain.orders import HoldReason
from domain.payments import PaymentMethod
from domain.pricing import Charge, Discount, StatedTotals, Tax
from domain.upserts import ABSENT, Absent
from schema import enums  # noqa: F401 - registers the enumerations that fields name
from schema.addresses import AddressInput
from schema.amounts import minor_units, optional_minor_units
from schema.plan import BigInt

T = TypeVar("T")


@strawberry.input(description="What a partner's system calls the order; one per system.")
class OrderExternalIdInput:
    system: str = strawberry.field(
        description='The system, such as "erp" or "amazon"; at most 64 characters.'
    )
    id: str = strawberry.field(description="Its id there; at most 128 characters.")


@strawberry.input(description="Off a line or an order: either an amount in all, or a fraction of it.")
class DiscountInput:
    amount: Decimal | None = strawberry.field(default=None, description="Major units, positive.")
    fraction: Decimal | None = strawberry.field(default=None, description='"0.15" is 15 %.')
    code: str | None = None
    label: str | None = None

    def to_discount(self, currency: str, *at: str) -> Discount:
        if (self.amount is None) == (self.fraction is None):
            message = "A discount is either an amount or a fraction."
            raise Refused(InvalidInput(message=message, field=at))
        return Discount(
            amount=optional_minor_units(self.amount, currency, *at, "amount"),
            fraction=self.fraction,
            code=self.code,
            label=self.label or "Discount",
        )


@strawberry.input(description="A tax as its provider or the partner worked it out; stored as it is.")
class TaxLineInput:
    kind: str = strawberry.field(description="Which tax: VAT, ICMS, SALES_TAX, …")
    rate: Decimal = strawberry.field(description='As a fraction: "0.19" is 19 %.')
    amount: Decimal | None = strawberry.field(
        default=None, description="The tax; worked out from the rate when it is left out."
    )
    base: Decimal | None = strawberry.field(default=None, description="What it was worked out on.")
    jurisdiction: str | None = None
    included: bool = strawberry.field(default=False, description="Whether the prices contain it.")

    def to_tax(self, currency: str, *at: str) -> Tax:
        return Tax(
            kind=self.kind,
            rate=self.rate,
            amount=optional_minor_units(self.amount, currency, *at, "amount"),
            base=optional_minor_units(self.base, currency, *at, "base"),
            jurisdiction=self.jurisdiction,
            included=self.included,
        )


@strawberry.input(description="Shipping or a fee, without taxes that come on top.")
class ChargeInput:
    amount: Decimal = strawberry.field(description="Major units, not negative.")
    label: str = strawberry.field(description="What the customer reads.")
    code: str | None = None

    def to_charge(self, currency: str, *at: str) -> Charge:
        return Charge(
            amount=minor_units(self.amount, currency, *at, "amount"), label=self.label, code=self.code
        )


@strawberry.input(description="How the order is to be paid.")
class PaymentInput:
    method: PaymentMethod
    provider: str | None = strawberry.field(
        default=None, description="Which payment provider; by default the method's."
    )
    token: str | None = strawberry.field(
        default=None, description="What the provider needs to authorise. Never shown again."
    )
    amount: Decimal | None = strawberry.field(
        default=None, description="Major units; by default all that is due."
    )
    reference: str | None = strawberry.field(
        default=None, description="What the collector calls this payment, where it has been paid already."
    )

    def to_intent(self, currency: str, *at: str) -> PaymentIntent:
        return PaymentIntent(
            method=self.method,
            provider=self.provider,
            token=self.token,
            amount=optional_minor_units(self.amount, currency, *at, "amount"),
            reference=self.reference,
        )


@strawberry.input(description="A line to order.")
class OrderPlaceLineInput:
    sku: str
    quantity: int = strawberry.field(description="Units, 1 to 1,000,000.")
    unit_price: Decimal | None = strawberry.field(
        default=None,
        description="Of one unit, before discounts. Needed where the channel's partner sets prices; "
        "elsewhere it must be ours.",
    )
    discounts: list[DiscountInput] = strawberry.field(default_factory=list)
    tax_lines: list[TaxLineInput] = strawberry.field(default_factory=list)
    external_id: str | None = strawberry.field(default=None, description="What you call this line.")
    name: str | None = strawberry.field(default=None, description="The product's name as it was sold.")
    total: Decimal | None = strawberry.field(
        default=None, description="Its gross total as you work it out; refused when it is not ours."
    )
    metadata: JSON | None = None

    def to_line(self, currency: str, *at: str) -> PlaceLine:
        return PlaceLine(
            sku=self.sku,
            quantity=self.quantity,
            unit_price=optional_minor_units(self.unit_price, currency, *at, "unitPrice"),
            discounts=tuple(
                [
                    discount.to_discount(currency, *at, "discounts", str(index))
                    for index, discount in enumerate(self.discounts)
                ]
            ),
            taxes=tuple(
                [
                    tax.to_tax(currency, *at, "taxLines", str(index))
                    for index, tax in enumerate(self.tax_lines)
                ]
            ),
            external_id=self.external_id,
            name=self.name,
            metadata=metadata_of(self.metadata, *at, "metadata"),
        )


@strawberry.input(
    description="Sums as you work them out; each that is given must be ours, or all is refused."
)
class StatedTotalsInput:
    subtotal: Decimal | None = None
    discount_total: Decimal | None = None
    shipping_total: Decimal | None = None
    fee_total: Decimal | None = None
    tax_total: Decimal | None = None
    total: Decimal | None = None

    def to_totals(self, currency: str, lines: tuple[int | None, ...]) -> StatedTotals:
        return StatedTotals(
            subtotal=optional_minor_units(self.subtotal, currency, "stated", "subtotal"),
            discount_total=optional_minor_units(self.discount_total, currency, "stated", "discountTotal"),
            shipping_total=optional_minor_units(self.shipping_total, currency, "stated", "shippingTotal"),
            fee_total=optional_minor_units(self.fee_total, currency, "stated", "feeTotal"),
            tax_total=optional_minor_units(self.tax_total, currency, "stated", "taxTotal"),
            total=optional_minor_units(self.total, currency, "stated", "total"),
            lines=lines,
        )


@strawberry.input(
    description="An order to place. What the channel decides (price lists, release gate, due time) is left out."
)
class OrderPlaceInput:
    channel_id: strawberry.ID
    currency_code: str = strawberry.field(
        description="ISO 4217; the channel's currency. All amounts of this input are in it."
    )
    lines: list[OrderPlaceLineInput] = strawberry.field(description="1 to 500 lines; a SKU may repeat.")
    number: str | None = strawberry.field(
        default=None, description="By default the channel's next number is given."
    )
    external_ids: list[OrderExternalIdInput] = strawberry.field(default_factory=list)
    customer_id: strawberry.ID | None = None
    company_id: strawberry.ID | None = None
    sales_representative: str | None = None
    email: str | None = None
    phone: str | None = None
    shipping_address: AddressInput | None = None
    billing_address: AddressInput | None = strawberry.field(
        default=None, description="By default the shipping address."
    )
    note: str | None = None
    priority: int = strawberry.field(
        default=0, description="-100 to 100; when stock falls short, the lower loses it first."
    )
    discounts: list[DiscountInput] = strawberry.field(
        default_factory=list, description="On the whole order; spread over its lines."
    )
    shipping: list[ChargeInput] = strawberry.field(default_factory=list)
    fees: list[ChargeInput] = strawberry.field(default_factory=list)
    tax_lines: list[TaxLineInput] = strawberry.field(
        default_factory=list, description="Taxes on shipping and fees."
    )
    stated: StatedTotalsInput | None = None
    payment: PaymentInput | None = None
    reservation_id: strawberry.ID | None = strawberry.field(
        default=None, description="A reservation whose stock this order takes over."
    )
    placed_at: datetime | None = strawberry.field(
        default=None, description="When your customer bought; by default now."
    )
    metadata: JSON | None = None

    def to_command(self) -> PlaceOrder:
        currency = require_currency(self.currency_code, field=("currencyCode",))
        return PlaceOrder(
            channel_id=parse_id(self.channel_id, Prefix.CHANNEL, field=("channelId",)),
            currency=currency,
            lines=tuple(
                [line.to_line(currency, "lines", str(index)) for index, line in enumerate(self.lines)]
            ),
            number=self.number,
            external_ids=tuple([ExternalId(system=one.system, id=one.id) for one in self.external_ids]),
            customer_id=parse_optional_id(self.customer_id, Prefix.CUSTOMER, "customerId"),
            company_id=parse_optional_id(self.company_id, Prefix.COMPANY, "companyId"),
            sales_representative=self.sales_representative,
            email=self.email,
            phone=self.phone,
            shipping_address=self.shipping_address.to_address() if self.shipping_address else NO_ADDRESS,
            billing_address=self.billing_address.to_address() if self.billing_address else None,
            note=self.note,
            priority=self.priority,
            discounts=tuple(
                [
                    discount.to_discount(currency, "discounts", str(index))
                    for index, discount in enumerate(self.discounts)
                ]
            ),
            shipping=_charges(self.shipping, currency, "shipping"),
            fees=_charges(self.fees, currency, "fees"),
            taxes=tuple(
                [tax.to_tax(currency, "taxLines", str(index)) for index, tax in enumerate(self.tax_lines)]
            ),
            stated=self._stated(currency),
            payment=self.payment.to_intent(currency, "payment") if self.payment else None,
            reservation_id=parse_optional_id(self.reservation_id, Prefix.RESERVATION, "reservationId"),
            placed_at=self.placed_at,
            metadata=metadata_of(self.metadata, "metadata"),
        )

    def _stated(self, currency: str) -> StatedTotals | None:
        if self.stated is None and all(line.total is None for line in self.lines):
            return None
        stated = self.stated or StatedTotalsInput()
        lines = [
            optional_minor_units(line.total, currency, "lines", str(index), "total")
            for index, line in enumerate(self.lines)
        ]
        return stated.to_totals(currency, tuple(lines))


def _charges(charges: Sequence[ChargeInput], currency: str, name: str) -> tuple[Charge, ...]:
    return tuple([charge.to_charge(currency, name, str(index)) for index, charge in enumerate(charges)])


def parse_optional_id(text: str | None, prefix: Prefix, *field: str) -> UUID | None:
    """The UUID of an optional global id."""
    return None if text is None else parse_id(text, prefix, field=field)


def given(value: T | None) -> T | Absent | None:
    """The domain's word for an input field that was not sent."""
    return ABSENT if value is strawberry.UNSET else value


def _given_address(value: AddressInput | None) -> Address | Absent | None:
    if value is strawberry.UNSET:
        return ABSENT
    return value.to_address() if value is not None else None


def metadata_of(value: object, *field: str) -> dict[str, object]:
    """Metadata is a JSON object; its size is checked with the rest of the command."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Refused(InvalidInput(message="Metadata is a JSON object.", field=field))
    return value


@strawberry.input(description="Units of one line to cancel.")
class OrderCancelLineInput:
    line_id: strawberry.ID
    quantity: int


@strawberry.input(
    description="What to cancel: units of lines, or (no lines given) everything that has not left."
)
class OrderCancelInput:
    order_id: strawberry.ID
    lines: list[OrderCancelLineInput] = strawberry.field(default_factory=list)
    reason: str | None = strawberry.field(default=None, description="At most 200 characters.")
    expected_version: BigInt | None = strawberry.field(
        default=None, description="Refused with VersionConflict when the order is at another version."
    )

    def to_command(self) -> CancelOrder:
        return CancelOrder(
            order_id=parse_id(self.order_id, Prefix.ORDER, field=("orderId",)),
            lines=tuple(
                CancelUnits(
                    line_id=parse_id(line.line_id, Prefix.ORDER_LINE, field=("lines", str(index), "lineId")),
                    quantity=line.quantity,
                )
                for index, line in enumerate(self.lines)
            ),
            reason=self.reason,
            expected_version=self.expected_version,
        )


@strawberry.input(description="Why an order must not be sent for now.")
class OrderHoldInput:
    order_id: strawberry.ID
    reason: HoldReason
    note: str | None = None
    expected_version: BigInt | None = None

    def to_command(self) -> HoldOrder:
        return HoldOrder(
            order_id=parse_id(self.order_id, Prefix.ORDER, field=("orderId",)),
            reason=self.reason,
            note=self.note,
            expected_version=self.expected_version,
        )


@strawberry.input(description="Which hold to release: one, or (none given) all of the order.")
class OrderReleaseInput:
    order_id: strawberry.ID
    hold_id: strawberry.ID | None = None
    expected_version: BigInt | None = None

    def to_command(self) -> ReleaseHold:
        return ReleaseHold(
            order_id=parse_id(self.order_id, Prefix.ORDER, field=("orderId",)),
            hold_id=parse_optional_id(self.hold_id, Prefix.HOLD, "holdId"),
            expected_version=self.expected_version,
        )


@strawberry.input(
    description="What to change of an order. What is left out stays; null clears. Goods and money stay as they are."
)
class OrderUpdateInput:
    order_id: strawberry.ID
    email: str | None = strawberry.UNSET
    phone: str | None = strawberry.UNSET
    shipping_address: AddressInput | None = strawberry.UNSET
    billing_address: AddressInput | None = strawberry.UNSET
    note: str | None = strawberry.UNSET
    priority: int | None = strawberry.UNSET
    metadata: JSON | None = strawberry.UNSET
    expected_version: BigInt | None = None

    def to_command(self) -> UpdateOrder:
        return UpdateOrder(
            order_id=parse_id(self.order_id, Prefix.ORDER, field=("orderId",)),
            email=given(self.email),
            phone=given(self.phone),
            shipping_address=_given_address(self.shipping_address),
            billing_address=_given_address(self.billing_address),
            note=given(self.note),
            priority=(ABSENT if self.priority is strawberry.UNSET else self.priority or 0),
            metadata=(
                ABSENT if self.metadata is strawberry.UNSET else metadata_of(self.metadata, "metadata")
            ),
            expected_version=self.expected_version,
        )
