"""What an order costs: lines, discounts, charges and taxes, so that every sum is exact.

A line's amount after discounts is rounded half up, once; order discounts are
spread over the lines; taxes are snapshots from whoever worked them out. Amounts
are minor units of the order's one currency.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

from domain.errors import InvalidInput, Refused
from domain.money import MAX_AMOUNT, format_amount, round_half_up, spread
from domain.orders import PricingAuthority


@dataclass(frozen=True, slots=True, kw_only=True)
class Discount:
    """Off a line or an order: either `amount` minor units in all, or a `fraction` (0.15 for 15 %)."""

    amount: int | None = None
    fraction: Decimal | None = None
    code: str | None = None
    label: str = "Discount"

    def __post_init__(self) -> None:
        if (self.amount is None) == (self.fraction is None):
            raise ValueError("a discount is an amount or a fraction")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tax:
    """A tax as a provider or partner states it; `amount` is worked out from `rate` only when it is missing.

    `included` taxes are part of the prices, the others come on top.
    """

    kind: str
    rate: Decimal
    amount: int | None = None
    base: int | None = None
    jurisdiction: str | None = None
    included: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """Shipping or a fee, before taxes that are not included in prices."""

    amount: int
    label: str
    code: str | None = None


class LineToPrice(NamedTuple):
    unit_price: int
    quantity: int
    discounts: tuple[Discount, ...] = ()
    taxes: tuple[Tax, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PricedDiscount:
    discount: Discount
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PricedTax:
    tax: Tax
    base: int
    amount: int


class PricedLine(NamedTuple):
    """`net` + `tax` = `gross`; `discount` has the line's own and its share of the order's discounts.

    `net` holds no tax, whether prices include it or not.
    """

    undiscounted: int
    discount: int
    net: int
    tax: int
    gross: int
    discounts: tuple[PricedDiscount, ...] = ()
    taxes: tuple[PricedTax, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PricedOrder:
    """`total` = gross lines + shipping + fees + taxes on these that are not included in them."""

    lines: tuple[PricedLine, ...]
    subtotal: int
    discount_total: int
    shipping_total: int
    fee_total: int
    tax_total: int
    total: int
    discounts: tuple[PricedDiscount, ...] = ()  # of the whole order
    taxes: tuple[PricedTax, ...] = ()  # on shipping and fees


@dataclass(frozen=True, slots=True, kw_only=True)
class StatedTotals:
    """What a partner says the sums are; None where it says nothing."""

    subtotal: int | None = None
    discount_total: int | None = None
    shipping_total: int | None = None
    fee_total: int | None = None
    tax_total: int | None = None
    total: int | None = None
    lines: tuple[int | None, ...] = ()  # gross, by line


def unit_price(
    authority: PricingAuthority, stated: int | None, listed: int | None, *, field: tuple[str, ...] = ()
) -> int:
    """The price that counts: theirs or ours; Refused(InvalidInput) when it is missing or contradicted."""
    if authority is PricingAuthority.PARTNER:
        if stated is None:
            message = "This channel's partner sets prices: state the unit price."
            raise Refused(InvalidInput(message=message, field=field))
        return stated
    if listed is None:
        message = "No price list of this channel and currency prices this product."
        raise Refused(InvalidInput(message=message, field=field))
    if stated is not None and stated != listed:
        message = f"The unit price here is {listed} minor units, not {stated}."
        raise Refused(InvalidInput(message=message, field=field))
    return listed


def price_order(
    lines: Sequence[LineToPrice],
    *,
    discounts: Sequence[Discount] = (),
    shipping: Sequence[Charge] = (),
    fees: Sequence[Charge] = (),
    taxes: Sequence[Tax] = (),
) -> PricedOrder:
    """All sums of an order. `taxes` are those on shipping and fees.

    Raises Refused(InvalidInput) when discounts exceed what they are taken from or
    a sum exceeds MAX_AMOUNT.
    """
    own = [
        _discounted(line.unit_price * line.quantity, line.discounts, ("lines", str(index), "discounts"))
        for index, line in enumerate(lines)
    ]
    after_own = [amount for amount, _ in own]
    remaining, order_discounts = _discounted(sum(after_own), discounts, ("discounts",))
    shares = spread(sum(after_own) - remaining, after_own)
    priced = tuple(
        _priced_line(line, amount - share, parts, ("lines", str(index), "taxLines"))
        for index, (line, (amount, parts), share) in enumerate(zip(lines, own, shares, strict=True))
    )
    return sum_order(priced, discounts=order_discounts, shipping=shipping, fees=fees, taxes=taxes)


def sum_order(
    lines: Sequence[PricedLine],
    *,
    discounts: tuple[PricedDiscount, ...] = (),
    shipping: Sequence[Charge] = (),
    fees: Sequence[Charge] = (),
    taxes: Sequence[Tax] = (),
) -> PricedOrder:
    """The sums of an order whose lines are priced, with their shares of its `discounts`.

    Raises Refused(InvalidInput) when a sum exceeds MAX_AMOUNT.
    """
    charged = sum(charge.amount for charge in (*shipping, *fees))
    order_taxes = _taxes(charged, taxes, ("taxLines",))
    on_top = sum(part.amount for part in order_taxes if not part.tax.included)
    order = PricedOrder(
        lines=tuple(lines),
        subtotal=sum(line.net for line in lines),
        discount_total=sum(line.discount for line in lines),
        shipping_total=sum(charge.amount for charge in shipping),
        fee_total=sum(charge.amount for charge in fees),
        tax_total=sum(line.tax for line in lines) + sum(part.amount for part in order_taxes),
        total=sum(line.gross for line in lines) + charged + on_top,
        discounts=discounts,
        taxes=order_taxes,
    )
    if max(order.total, sum(line.undiscounted for line in lines)) > MAX_AMOUNT:
        raise Refused(InvalidInput(message="The order's total is beyond any amount.", field=("lines",)))
    return order


def verify(order: PricedOrder, stated: StatedTotals, currency: str) -> None:
    """Refused(InvalidInput), one per sum, when a partner's sums are not the order's."""
    sums: dict[tuple[str, ...], tuple[int | None, int]] = {
        ("subtotal",): (stated.subtotal, order.subtotal),
        ("discountTotal",): (stated.discount_total, order.discount_total),
        ("shippingTotal",): (stated.shipping_total, order.shipping_total),
        ("feeTotal",): (stated.fee_total, order.fee_total),
        ("taxTotal",): (stated.tax_total, order.tax_total),
        ("total",): (stated.total, order.total),
    }
    for index, (said, line) in enumerate(zip(stated.lines, order.lines, strict=False)):
        sums["lines", str(index), "total"] = (said, line.gross)
    wrong = [
        InvalidInput(
            message=f"Stated as {format_amount(said, currency)}, but the parts sum to "
            f"{format_amount(summed, currency)} {currency}.",
            field=field,
        )
        for field, (said, summed) in sums.items()
        if said is not None and said != summed
    ]
    if wrong:
        raise Refused(*wrong)


def _discounted(
    amount: int, discounts: Sequence[Discount], field: tuple[str, ...]
) -> tuple[int, tuple[PricedDiscount, ...]]:
    """`amount` less its discounts, and what each came to. Fractions add up: 10 % and 5 % are 15 %."""
    if not discounts:
        return amount, ()
    ratios = [(discount.fraction or 0).as_integer_ratio() for discount in discounts]
    scale = math.lcm(*(denominator for _, denominator in ratios))
    weights = [numerator * (scale // denominator) for numerator, denominator in ratios]
    fixed = sum(discount.amount or 0 for discount in discounts)
    # The remainder is what is rounded, not the discount: the two differ at halves.
    after_fractions = round_half_up(Fraction(amount * (scale - sum(weights)), scale))
    if after_fractions < fixed or any(weight < 0 for weight in weights):
        message = "Discounts are at most what they are taken from, and not negative."
        raise Refused(InvalidInput(message=message, field=field))
    shares = spread(amount - after_fractions, weights)
    parts = tuple(
        PricedDiscount(discount=discount, amount=share if discount.amount is None else discount.amount)
        for discount, share in zip(discounts, shares, strict=True)
    )
    return after_fractions - fixed, parts


def _priced_line(
    line: LineToPrice, amount: int, discounts: tuple[PricedDiscount, ...], field: tuple[str, ...]
) -> PricedLine:
    taxes = _taxes(amount, line.taxes, field)
    included = sum(part.amount for part in taxes if part.tax.included)
    tax = sum(part.amount for part in taxes)
    undiscounted = line.unit_price * line.quantity
    return PricedLine(
        undiscounted=undiscounted,
        discount=undiscounted - amount,
        net=amount - included,
        tax=tax,
        gross=amount - included + tax,
        discounts=discounts,
        taxes=taxes,
    )


def _taxes(amount: int, taxes: Sequence[Tax], field: tuple[str, ...]) -> tuple[PricedTax, ...]:
    """Each tax on `amount`; included ones share what lies in it above amount / (1 + their rates)."""
    if not taxes:
        return ()
    included_rate = sum((Fraction(tax.rate) for tax in taxes if tax.included), Fraction(0))
    bare = amount / (1 + included_rate)
    priced = [
        PricedTax(
            tax=tax,
            base=tax.base if tax.base is not None else round_half_up(bare),
            amount=tax.amount if tax.amount is not None else round_half_up(bare * Fraction(tax.rate)),
        )
        for tax in taxes
    ]
    if sum(part.amount for part in priced if part.tax.included) > amount:
        message = "Taxes included in an amount are at most that amount."
        raise Refused(InvalidInput(message=message, field=field))
    return tuple(priced)
