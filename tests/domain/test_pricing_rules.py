from __future__ import annotations

import csv
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from domain.errors import InvalidInput, Refused
from domain.money import to_minor_units
from domain.orders import PricingAuthority
from domain.pricing import (
    Charge,
    Discount,
    LineToPrice,
    PricedOrder,
    StatedTotals,
    Tax,
    price_order,
    unit_price,
    verify,
)

NORTHWIND = Path(__file__).parents[3] / "shared" / "data" / "northwind"

FRACTIONS = st.decimals(0, 1, places=4)
DISCOUNTS = st.lists(
    st.one_of(
        st.builds(Discount, fraction=st.decimals(0, Decimal("0.3"), places=4)),
        st.builds(Discount, amount=st.integers(0, 500)),
    ),
    max_size=3,
).map(tuple)
TAXES = st.lists(
    st.builds(
        Tax, kind=st.just("VAT"), rate=st.decimals(0, Decimal("0.3"), places=4), included=st.booleans()
    ),
    max_size=2,
).map(tuple)
LINES = st.builds(
    LineToPrice,
    unit_price=st.integers(0, 10**7),
    quantity=st.integers(1, 1000),
    discounts=DISCOUNTS,
    taxes=TAXES,
)
CHARGES = st.lists(st.builds(Charge, amount=st.integers(0, 10**5), label=st.just("Shipping")), max_size=2)


def _error(refused: pytest.ExceptionInfo[Refused]) -> Any:
    (error,) = refused.value.errors
    assert isinstance(error, InvalidInput)
    return error


def test_an_order_with_everything_comes_to_these_sums() -> None:
    order = price_order(
        [
            LineToPrice(
                unit_price=1999,
                quantity=3,
                discounts=(Discount(fraction=Decimal("0.10")),),
                taxes=(Tax(kind="VAT", rate=Decimal("0.19")),),
            ),
            LineToPrice(unit_price=500, quantity=2, taxes=(Tax(kind="VAT", rate=Decimal("0.07")),)),
        ],
        discounts=[Discount(amount=640, code="SUMMER")],
        shipping=[Charge(amount=490, label="Parcel")],
        fees=[Charge(amount=100, label="Gift wrap")],
        taxes=[Tax(kind="VAT", rate=Decimal("0.19"))],
    )
    first, second = order.lines
    assert (first.undiscounted, first.discount, first.net, first.tax, first.gross) == (
        5997,
        1140,
        4857,
        923,
        5780,
    )
    assert (second.undiscounted, second.discount, second.net, second.tax, second.gross) == (
        1000,
        100,
        900,
        63,
        963,
    )
    assert (order.subtotal, order.discount_total, order.shipping_total, order.fee_total) == (
        5757,
        1240,
        490,
        100,
    )
    assert (order.tax_total, order.total) == (923 + 63 + 112, 5780 + 963 + 590 + 112)
    assert [part.amount for part in order.discounts] == [640]
    assert [part.amount for part in first.discounts] == [600]


def test_taxes_that_prices_include_are_taken_out_not_added() -> None:
    taxes = (Tax(kind="VAT", rate=Decimal("0.19"), included=True),)
    order = price_order(
        [LineToPrice(unit_price=1190, quantity=1, taxes=taxes)],
        shipping=[Charge(amount=595, label="Parcel")],
        taxes=taxes,
    )
    (line,) = order.lines
    assert (line.net, line.tax, line.gross) == (1000, 190, 1190)
    assert (order.subtotal, order.tax_total, order.total) == (1000, 190 + 95, 1190 + 595)
    assert line.taxes[0].base == 1000


def test_a_stated_tax_is_kept_as_it_is() -> None:
    tax = Tax(kind="GST", rate=Decimal("0.1"), amount=7, base=70, jurisdiction="AU")
    (line,) = price_order([LineToPrice(unit_price=100, quantity=1, taxes=(tax,))]).lines
    assert (line.taxes[0].base, line.taxes[0].amount, line.gross) == (70, 7, 107)


def test_the_rest_is_rounded_and_not_the_discount() -> None:
    half = Discount(fraction=Decimal("0.5"))
    (line,) = price_order([LineToPrice(unit_price=1, quantity=1, discounts=(half,))]).lines
    assert (line.net, line.discount) == (1, 0)


@given(st.lists(LINES, min_size=1, max_size=8), DISCOUNTS, CHARGES, CHARGES, TAXES)
def test_every_sum_is_that_of_its_parts(
    lines: list[LineToPrice],
    discounts: tuple[Discount, ...],
    shipping: list[Charge],
    fees: list[Charge],
    taxes: tuple[Tax, ...],
) -> None:
    try:
        order = price_order(lines, discounts=discounts, shipping=shipping, fees=fees, taxes=taxes)
    except Refused:
        assume(False)
        raise
    for line, asked in zip(order.lines, lines, strict=True):
        assert line.net + line.tax == line.gross
        assert line.undiscounted == asked.unit_price * asked.quantity
        assert 0 <= line.discount <= line.undiscounted
        assert line.net >= 0
        included = sum(part.amount for part in line.taxes if part.tax.included)
        assert line.net + included == line.undiscounted - line.discount
    own = sum(part.amount for line in order.lines for part in line.discounts)
    assert order.discount_total == own + sum(part.amount for part in order.discounts)
    assert order.subtotal == sum(line.net for line in order.lines)
    on_top = sum(part.amount for part in order.taxes if not part.tax.included)
    charged = sum(charge.amount for charge in (*shipping, *fees))
    assert order.total == sum(line.gross for line in order.lines) + charged + on_top


@pytest.mark.parametrize(
    "discounts",
    [
        (Discount(amount=101),),
        (Discount(fraction=Decimal("0.6")), Discount(fraction=Decimal("0.6"))),
        (Discount(fraction=Decimal("0.5")), Discount(amount=51)),
    ],
)
def test_a_discount_beyond_its_line_is_refused(discounts: tuple[Discount, ...]) -> None:
    with pytest.raises(Refused) as refused:
        price_order([LineToPrice(unit_price=100, quantity=1, discounts=discounts)])
    assert _error(refused).field == ("lines", "0", "discounts")


def test_an_order_discount_beyond_the_lines_is_refused() -> None:
    with pytest.raises(Refused) as refused:
        price_order([LineToPrice(unit_price=100, quantity=1)], discounts=[Discount(amount=101)])
    assert _error(refused).field == ("discounts",)


def test_a_tax_larger_than_the_price_it_is_included_in_is_refused() -> None:
    tax = Tax(kind="VAT", rate=Decimal("0.19"), amount=101, included=True)
    with pytest.raises(Refused) as refused:
        price_order([LineToPrice(unit_price=100, quantity=1, taxes=(tax,))])
    assert _error(refused).field == ("lines", "0", "taxLines")


def test_a_total_beyond_any_amount_is_refused() -> None:
    with pytest.raises(Refused):
        price_order([LineToPrice(unit_price=10**12, quantity=1001)])


def test_a_discount_is_an_amount_or_a_fraction() -> None:
    with pytest.raises(ValueError, match="an amount or a fraction"):
        Discount()
    with pytest.raises(ValueError, match="an amount or a fraction"):
        Discount(amount=1, fraction=Decimal("0.1"))


def _order() -> PricedOrder:
    return price_order(
        [LineToPrice(unit_price=100, quantity=2)], shipping=[Charge(amount=50, label="Parcel")]
    )


def test_sums_that_agree_are_accepted() -> None:
    verify(_order(), StatedTotals(total=250, subtotal=200, shipping_total=50, lines=(200,)), "EUR")
    verify(_order(), StatedTotals(), "EUR")


def test_each_sum_that_disagrees_is_named_with_both_sums() -> None:
    with pytest.raises(Refused) as refused:
        verify(_order(), StatedTotals(total=251, lines=(199,)), "EUR")
    assert [(error.field, error.message) for error in refused.value.errors] == [
        (("total",), "Stated as 2.51, but the parts sum to 2.50 EUR."),
        (("lines", "0", "total"), "Stated as 1.99, but the parts sum to 2.00 EUR."),
    ]


@pytest.mark.parametrize(
    ("authority", "stated", "listed", "price"),
    [
        (PricingAuthority.PARTNER, 5, None, 5),
        (PricingAuthority.PARTNER, 5, 9, 5),
        (PricingAuthority.PARTNER, None, 9, None),
        (PricingAuthority.OMS, None, 9, 9),
        (PricingAuthority.OMS, 9, 9, 9),
        (PricingAuthority.OMS, 5, 9, None),
        (PricingAuthority.OMS, 5, None, None),
    ],
)
def test_the_channels_authority_says_whose_price_counts(
    authority: PricingAuthority, stated: int | None, listed: int | None, price: int | None
) -> None:
    if price is None:
        with pytest.raises(Refused):
            unit_price(authority, stated, listed)
    else:
        assert unit_price(authority, stated, listed) == price


@pytest.mark.skipif(not NORTHWIND.is_dir(), reason="the Northwind files are not here")
def test_the_northwind_orders_come_to_their_known_sums() -> None:
    with (NORTHWIND / "order_details.csv").open() as file:
        nets = []
        for row in csv.DictReader(file):
            discount = Discount(fraction=round(Decimal(row["discount"]), 4))
            line = LineToPrice(
                unit_price=to_minor_units(Decimal(row["unit_price"]), "USD"),
                quantity=int(row["quantity"]),
                discounts=(discount,),
            )
            nets.append(price_order([line]).total)
    with (NORTHWIND / "orders.csv").open() as file:
        freight = sum(to_minor_units(Decimal(row["freight"]), "USD") for row in csv.DictReader(file))
    assert (len(nets), sum(nets), freight) == (2155, 126_579_329, 6_494_269)
