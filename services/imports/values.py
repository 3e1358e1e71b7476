"""Cells as values: text, numbers, money, dates, as each field needs them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from functools import lru_cache, partial
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from domain.imports import MapError, RecordError
from domain.money import EXPONENTS, MAX_AMOUNT, to_minor_units

REMEMBERED = 4_096
"""Different cells of a field whose values are at hand: dates, prices, quantities come again and again."""

TRUE = frozenset({"true", "t", "yes", "y", "1"})
FALSE = frozenset({"false", "f", "no", "n", "0"})
_NUMBER = re.compile(r"[+-]?\d{1,20}(\.\d{1,40})?([eE][+-]?\d{1,2})?", re.ASCII)

_PLAIN = {
    "%Y-%m-%d": re.compile(r"\d{4}-\d\d-\d\d", re.ASCII),
    "%Y-%m-%d %H:%M:%S": re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", re.ASCII),
}
"""What is read in a tenth of the time where it is written as ISO 8601 has it."""


class FieldType(StrEnum):
    """What a field of an entity holds; the map cannot change it."""

    TEXT = "TEXT"
    INTEGER = "INTEGER"
    MONEY = "MONEY"  # minor units of the map's currency
    FRACTION = "FRACTION"
    DATE = "DATE"  # an instant
    BOOLEAN = "BOOLEAN"


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """How the cells of one field are read.

    `rounded`: more decimals than the currency has are rounded half up instead of
    refused, for files that kept prices as floats. `decimals` does the same for
    fractions. `formats` are tried in turn (strptime); none means ISO 8601.
    """

    type: FieldType
    formats: tuple[str, ...] = ()
    zone: tzinfo = UTC
    rounded: bool = False
    decimals: int | None = None
    decimal_mark: str = "."
    meanings: Mapping[str, str] = field(default_factory=dict)

    def reader(self, currency: str | None) -> Callable[[str], Any]:
        """`convert` for one file: files repeat themselves, so it remembers what it has read."""
        if self.type is FieldType.TEXT and not self.meanings:
            return str
        return lru_cache(REMEMBERED)(partial(self.convert, currency=currency))

    def convert(self, text: str, currency: str | None) -> Any:
        """The value of a cell that is not empty. Raises RecordError with what is wrong."""
        text = self.meanings.get(text, text)
        match self.type:
            case FieldType.TEXT:
                return text
            case FieldType.INTEGER:
                return self._integer(text)
            case FieldType.FRACTION:
                number = self._number(text)
                return number if self.decimals is None else round(number, self.decimals)
            case FieldType.MONEY:
                return self._money(text, currency)
            case FieldType.DATE:
                return self._date(text)
            case FieldType.BOOLEAN:
                return _boolean(text)

    def _number(self, text: str) -> Decimal:
        plain = text.replace(self.decimal_mark, ".") if self.decimal_mark != "." else text
        if _NUMBER.fullmatch(plain) is None:
            raise RecordError(f"{_shown(text)} is not a number")
        try:
            return Decimal(plain)
        except InvalidOperation:
            raise RecordError(f"{_shown(text)} is not a number") from None

    def _integer(self, text: str) -> int:
        number = self._number(text)
        if number != number.to_integral_value():
            raise RecordError(f"{_shown(text)} is not a whole number")
        if abs(number) > MAX_AMOUNT:
            raise RecordError(f"{_shown(text)} is too large")
        return int(number)

    def _money(self, text: str, currency: str | None) -> int:
        if currency is None:
            raise MapError("amounts need a currency: write it into the map's [channel] or [price_list].")
        number = self._number(text)
        exact = number.quantize(Decimal(1).scaleb(-EXPONENTS[currency])) == number if number else True
        if not exact and not self.rounded:
            raise RecordError(
                f"{_shown(text)} has more decimals than {currency}; allow it with round = true in the map"
            )
        amount = to_minor_units(number, currency)
        if abs(amount) > MAX_AMOUNT:
            raise RecordError(f"{_shown(text)} is beyond any amount")
        return amount

    def _date(self, text: str) -> datetime:
        if not self.formats:
            return self._placed(_try(lambda: datetime.fromisoformat(text)), text)
        for pattern in self.formats:
            plain = _PLAIN.get(pattern)
            found = None
            if plain is not None and plain.fullmatch(text) is not None:
                found = _try(partial(datetime.fromisoformat, text))
            found = found or _try(partial(datetime.strptime, text, pattern))
            if found is not None:
                return self._placed(found, text)
        raise RecordError(f"{_shown(text)} is not a date like {' or '.join(self.formats)}")

    def _placed(self, found: datetime | None, text: str) -> datetime:
        if found is None:
            raise RecordError(f"{_shown(text)} is not a date: give its format in the map")
        local = found if found.tzinfo is not None else found.replace(tzinfo=self.zone)
        if not 1900 <= local.year <= 9000:
            raise RecordError(f"{_shown(text)} is not a date of any order")
        return local.astimezone(UTC)


def time_zone(name: str) -> tzinfo:
    """A zone of the IANA database. Raises MapError for another name."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise MapError(f"{name!r} is not a time zone; write one such as Europe/Berlin.") from None


def _try(parse: Any) -> datetime | None:
    try:
        found: datetime = parse()
    except ValueError:
        return None
    return found


def _boolean(text: str) -> bool:
    lowered = text.lower()
    if lowered in TRUE | FALSE:
        return lowered in TRUE
    raise RecordError(f"{_shown(text)} is neither true nor false: give its meaning in the map")


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:40] + "…")
