"""Money: whole minor units of one currency, rounded in one place.

10.50 EUR is 1050, 1,000 JPY is 1000. Decimals appear only where a value enters
(`parse_amount`, `to_minor_units`) or leaves (`format_amount`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from domain.errors import InvalidInput, Refused

MAX_AMOUNT = 10**15
"""The largest amount, in minor units, that the API takes; sums of a thousand of them fit a bigint."""

_TWO_DECIMALS = (
    "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD "
    "CDF CHE CHF CHW CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD "
    "GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA "
    "MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR "
    "RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD "
    "TZS UAH USD USN UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG"
)

_NO_DECIMALS = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
_THREE_DECIMALS = "BHD IQD JOD KWD LYD OMR TND"
_FOUR_DECIMALS = "CLF UYW"

EXPONENTS: dict[str, int] = {
    **dict.fromkeys(_NO_DECIMALS.split(), 0),
    **dict.fromkeys(_TWO_DECIMALS.split(), 2),
    **dict.fromkeys(_THREE_DECIMALS.split(), 3),
    **dict.fromkeys(_FOUR_DECIMALS.split(), 4),
}
"""Decimals of each currency: ISO 4217, list one."""

_AMOUNT = re.compile(r"(-?)(\d{1,16})(?:\.(\d{1,20}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Money:
    """`amount` minor units of `currency`."""

    amount: int
    currency: str

    def __str__(self) -> str:
        return f"{format_amount(self.amount, self.currency)} {self.currency}"


def require_currency(code: str, *, field: tuple[str, ...] = ()) -> str:
    """`code`, if it is a currency of ISO 4217; else Refused(InvalidInput)."""
    if code in EXPONENTS:
        return code
    shown = code if len(code) <= 10 and code.isprintable() else "what was sent"
    raise Refused(InvalidInput(message=f"{shown!r} is not a currency code of ISO 4217.", field=field))


def require_amount(amount: int, *, field: tuple[str, ...] = (), minimum: int = 0) -> int:
    """`amount`, if it lies between `minimum` and MAX_AMOUNT minor units; else Refused(InvalidInput)."""
    if minimum <= amount <= MAX_AMOUNT:
        return amount
    message = f"The amount must be between {minimum} and {MAX_AMOUNT} minor units."
    raise Refused(InvalidInput(message=message, field=field))


def round_half_up(value: Decimal | Fraction | int) -> int:
    """The nearest whole number; halves go away from zero, so that a refund mirrors its charge."""
    if isinstance(value, int):
        return value
    exact = Fraction(value)
    rounded = (2 * abs(exact.numerator) + exact.denominator) // (2 * exact.denominator)
    return rounded if exact.numerator >= 0 else -rounded


def to_minor_units(value: Decimal | Fraction, currency: str) -> int:
    """`value` major units as minor units, rounded half up: for prices that other systems kept as floats."""
    return round_half_up(Fraction(value) * 10 ** EXPONENTS[currency])


def parse_amount(text: str, currency: str, *, field: tuple[str, ...] = ()) -> int:
    """Minor units of a decimal such as "10.50".

    Raises Refused(InvalidInput) for anything but plain digits with at most the
    currency's decimals ("10.000" EUR may mean ten or ten thousand), and beyond
    MAX_AMOUNT.
    """
    exponent = EXPONENTS[require_currency(currency, field=field)]
    match = _AMOUNT.fullmatch(text)
    if match is None:
        raise Refused(InvalidInput(message='An amount is a decimal such as "10.50".', field=field))
    sign, whole, decimals = match.group(1), match.group(2), match.group(3) or ""
    if len(decimals) > exponent:
        message = f"{currency} has {exponent} decimals; the amount has {len(decimals)}."
        raise Refused(InvalidInput(message=message, field=field))
    amount = int(sign + whole + decimals.ljust(exponent, "0"))
    if abs(amount) > MAX_AMOUNT:
        message = f"An amount is at most {format_amount(MAX_AMOUNT, currency)} {currency}."
        raise Refused(InvalidInput(message=message, field=field))
    return amount


def format_amount(amount: int, currency: str) -> str:
    """A decimal with exactly the currency's decimals: 1050 EUR is "10.50"."""
    exponent = EXPONENTS[currency]
    sign = "-" if amount < 0 else ""
    digits = str(abs(amount)).rjust(exponent + 1, "0")
    return f"{sign}{digits[:-exponent]}.{digits[-exponent:]}" if exponent else f"{sign}{digits}"


def spread(total: int, weights: Sequence[int]) -> list[int]:
    """Whole parts of `total` in proportion to `weights` that sum to it exactly.

    By largest remainder, the earlier part first among equals. No part exceeds its
    weight while `total` does not exceed their sum. Raises ValueError for a negative
    weight, or when there is something to spread and nothing to spread it over.
    """
    if any(weight < 0 for weight in weights):
        raise ValueError("weights are not negative")
    if not total:
        return [0] * len(weights)
    whole = sum(weights)
    if whole == 0:
        raise ValueError("nothing to spread over")
    size = abs(total)
    parts = [size * weight // whole for weight in weights]
    by_remainder = sorted(range(len(weights)), key=lambda i: (-(size * weights[i] % whole), i))
    for index in by_remainder[: size - sum(parts)]:
        parts[index] += 1
    return parts if total >= 0 else [-part for part in parts]


def refund_of(total: int, units: int, of: int, already: int) -> int:
    """What to give back when `units` of the `of` units that cost `total` have come back in all.

    `already` was given back before. Step by step this adds up to exactly `total`,
    however the units are divided; it never asks for money back.
    """
    if not 0 <= units <= of or of == 0:
        raise ValueError(f"{units} of {of} units")
    return max(0, round_half_up(Fraction(total * units, of)) - already)
