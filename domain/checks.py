"""Checking the form of a command so that every error in it is told at once.

    checks = Checks()
    checks.text(command.note, MAX_NOTE, "note", multiline=True)
    checks.refuse()

Values that are None were not sent and pass. A field is its path as the caller
wrote it: ("lines", "0", "quantity").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from domain import text
from domain.errors import InvalidInput, Refused, UserError
from domain.money import MAX_AMOUNT, require_currency
from domain.stock import MAX_QUANTITY

MAX_DECIMALS = 18
"""Of a fraction or rate; more would only make the arithmetic slow."""


class Checks:
    """Collects what is wrong; `refuse` raises it."""

    def __init__(self) -> None:
        self.errors: list[UserError] = []

    def refuse(self) -> None:
        """Refused with everything that was found, if anything was."""
        if self.errors:
            raise Refused(*self.errors)

    def fail(self, message: str, *field: str) -> None:
        self.errors.append(InvalidInput(message=message, field=field))

    def that(self, holds: bool, message: str, *field: str) -> None:
        if not holds:
            self.fail(message, *field)

    def passes(self, check: Callable[[], object]) -> None:
        """Run a function that refuses, and keep what it refuses with."""
        try:
            check()
        except Refused as refused:
            self.errors += refused.errors

    def text(self, value: str | None, maximum: int, *field: str, multiline: bool = False) -> None:
        problem = None if value is None else text.problem_with(value, maximum, multiline=multiline)
        if problem is not None:
            self.fail(f"The text {problem}", *field)

    def code(self, value: str | None, *field: str) -> None:
        if value is not None:
            self.passes(lambda: text.require_code(value, field=field))

    def sku(self, value: str, *field: str) -> None:
        self.passes(lambda: text.require_sku(value, field=field))

    def email(self, value: str | None, *field: str) -> None:
        if value is not None:
            self.passes(lambda: text.require_email(value, field=field))

    def currency(self, value: str | None, *field: str) -> None:
        if value is not None:
            self.passes(lambda: require_currency(value, field=field))

    def country_code(self, value: str | None, *field: str) -> None:
        if value is not None:
            self.passes(lambda: text.require_country_code(value, field=field))

    def metadata(self, value: Mapping[str, Any] | None, *field: str) -> None:
        if value:
            self.passes(lambda: text.require_metadata(value, field=field))

    def time(self, value: datetime | None, *field: str) -> None:
        """A moment says its offset from UTC: without it, nobody can say when it was."""
        aware = value is None or value.tzinfo is not None
        self.that(aware, "A time says its offset, such as 2026-01-31T12:00:00Z.", *field)

    def quantity(self, value: int | None, *field: str, minimum: int = 1) -> None:
        if value is not None and not minimum <= value <= MAX_QUANTITY:
            self.fail(f"A quantity is between {minimum} and {MAX_QUANTITY} units.", *field)

    def amount(self, value: int | None, *field: str, minimum: int = 0) -> None:
        """Minor units between `minimum` and MAX_AMOUNT."""
        if value is not None and not minimum <= value <= MAX_AMOUNT:
            self.fail(f"The amount is below {minimum} or beyond any price.", *field)

    def fraction(self, value: Decimal | None, maximum: int, *field: str) -> None:
        """A fraction or rate from 0 to `maximum`: 0.19 is 19 %."""
        if value is None:
            return
        exponent = value.as_tuple().exponent
        fine = isinstance(exponent, int) and exponent >= -MAX_DECIMALS and 0 <= value <= maximum
        self.that(fine, f"It is a fraction between 0 and {maximum}, such as 0.19.", *field)
