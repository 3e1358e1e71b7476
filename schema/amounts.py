"""Amounts that callers send: decimals in major units, as text, in a currency said beside them."""

from __future__ import annotations

from decimal import Decimal

from domain.money import parse_amount


def minor_units(amount: Decimal, currency: str, *field: str) -> int:
    """Minor units; Refused(InvalidInput) for more decimals than the currency has, or too large an amount."""
    return parse_amount(format(amount, "f"), currency, field=field)


def optional_minor_units(amount: Decimal | None, currency: str, *field: str) -> int | None:
    return None if amount is None else minor_units(amount, currency, *field)
