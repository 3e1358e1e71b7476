from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import InvalidInput, Refused
from domain.money import (
    EXPONENTS,
    MAX_AMOUNT,
    Money,
    format_amount,
    parse_amount,
    refund_of,
    require_amount,
    round_half_up,
    spread,
    to_minor_units,
)

AMOUNTS = st.integers(0, MAX_AMOUNT)
CURRENCIES = st.sampled_from(sorted(EXPONENTS))


@pytest.mark.parametrize(
    ("text", "currency", "amount"),
    [
        ("10.50", "EUR", 1050),
        ("10.5", "EUR", 1050),
        ("-0.01", "EUR", -1),
        ("1000", "JPY", 1000),
        ("1.234", "KWD", 1234),
        ("1.2345", "CLF", 12345),
        ("0", "BRL", 0),
        ("10000000000000.00", "USD", 10**15),
    ],
)
def test_a_decimal_becomes_minor_units(text: str, currency: str, amount: int) -> None:
    assert parse_amount(text, currency) == amount


@pytest.mark.parametrize(
    "text",
    [
        "",
        " 1",
        "1 ",
        "+1",
        "1.",
        ".5",
        "1,5",
        "NaN",
        "inf",
        "1e3",
        "0x10",
        "1_000",
        "\u0661",
        "10.000",
        "9" * 5000,
    ],
)
def test_what_is_not_a_plain_decimal_is_refused(text: str) -> None:
    with pytest.raises(Refused) as refused:
        parse_amount(text, "EUR", field=("lines", "0", "unitPrice"))
    (error,) = refused.value.errors
    assert isinstance(error, InvalidInput)
    assert error.field == ("lines", "0", "unitPrice")


def test_an_amount_beyond_the_largest_is_refused() -> None:
    with pytest.raises(Refused, match=r"at most 10000000000000\.00 EUR"):
        parse_amount("10000000000000.01", "EUR")


@pytest.mark.parametrize("code", ["EURO", "eur", "XXX", ""])
def test_an_unknown_currency_is_refused(code: str) -> None:
    with pytest.raises(Refused, match="ISO 4217"):
        parse_amount("1", code)


@given(st.integers(-MAX_AMOUNT, MAX_AMOUNT), CURRENCIES)
def test_every_amount_survives_formatting_and_parsing(amount: int, currency: str) -> None:
    assert parse_amount(format_amount(amount, currency), currency) == amount


def test_money_shows_the_decimals_of_its_currency() -> None:
    assert [str(Money(5, code)) for code in ("EUR", "JPY", "KWD")] == ["0.05 EUR", "5 JPY", "0.005 KWD"]
    assert str(Money(-1234, "EUR")) == "-12.34 EUR"


@pytest.mark.parametrize(
    ("value", "rounded"),
    [
        ("0.5", 1),
        ("1.5", 2),
        ("2.5", 3),
        ("-0.5", -1),
        ("-2.5", -3),
        ("2.4999", 2),
        ("-2.4999", -2),
        ("7", 7),
    ],
)
def test_halves_go_away_from_zero(value: str, rounded: int) -> None:
    assert round_half_up(Decimal(value)) == rounded


@given(st.fractions())
def test_rounding_moves_by_at_most_a_half_and_mirrors(value: Fraction) -> None:
    assert abs(round_half_up(value) - value) <= Fraction(1, 2)
    assert round_half_up(-value) == -round_half_up(value)


def test_prices_that_were_floats_become_exact() -> None:
    assert to_minor_units(Decimal("9.80000019"), "EUR") == 980
    assert to_minor_units(Decimal("32.3800011"), "EUR") == 3238


@given(AMOUNTS, st.lists(st.integers(0, 10**9), min_size=1, max_size=30))
def test_parts_sum_to_the_whole_and_stay_within_one_of_their_share(total: int, weights: list[int]) -> None:
    if sum(weights) == 0:
        weights = [weight + 1 for weight in weights]
    parts = spread(total, weights)
    assert sum(parts) == total
    for part, weight in zip(parts, weights, strict=True):
        assert abs(part - Fraction(total * weight, sum(weights))) < 1
    if total <= sum(weights):
        assert all(part <= weight for part, weight in zip(parts, weights, strict=True))
    assert spread(-total, weights) == [-part for part in parts]


def test_the_earlier_part_is_first_among_equals() -> None:
    assert spread(100, [1, 1, 1]) == [34, 33, 33]


def test_there_must_be_something_to_spread_over() -> None:
    assert spread(0, [0, 0]) == [0, 0]
    with pytest.raises(ValueError, match="nothing to spread over"):
        spread(1, [0, 0])
    with pytest.raises(ValueError, match="not negative"):
        spread(1, [2, -1])


@given(AMOUNTS, st.integers(1, 1000), st.data())
def test_refunds_in_any_steps_add_up_to_the_total(total: int, units: int, data: st.DataObject) -> None:
    given_back = 0
    returned = 0
    while returned < units:
        returned += data.draw(st.integers(1, units - returned))
        step = refund_of(total, returned, units, given_back)
        assert step >= 0
        given_back += step
        assert given_back == round_half_up(Fraction(total * returned, units))
    assert given_back == total


def test_a_third_of_ten_is_refunded_exactly_over_three_units() -> None:
    assert [refund_of(1000, 1, 3, 0), refund_of(1000, 2, 3, 333), refund_of(1000, 3, 3, 667)] == [
        333,
        334,
        333,
    ]


def test_what_was_given_beyond_is_not_asked_back() -> None:
    assert refund_of(1000, 1, 2, 900) == 0


@pytest.mark.parametrize(("units", "of"), [(3, 2), (-1, 2), (0, 0)])
def test_more_units_than_there_were_is_a_mistake(units: int, of: int) -> None:
    with pytest.raises(ValueError, match="units"):
        refund_of(1000, units, of, 0)


@pytest.mark.parametrize("amount", [-1, MAX_AMOUNT + 1])
def test_an_amount_out_of_bounds_is_refused(amount: int) -> None:
    with pytest.raises(Refused):
        require_amount(amount)
