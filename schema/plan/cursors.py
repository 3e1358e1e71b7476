"""Cursors of pages: the sort's name and the row's sort values, as opaque text."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import TIMESTAMP

from schema.plan.arguments import Binder, Given, InputError, is_uuid
from schema.plan.leaves import timestamp
from schema.plan.sqltext import Piece, as_text

LONGEST_CURSOR = 2_000


def cursor_of(name: str, columns: Sequence[Any]) -> Any:
    """An opaque cursor: the sort's name and the row's sort values, base64 over a JSON array."""
    pieces: list[Piece] = [f'["{name}"']
    for column in columns:
        pieces.append(",")
        if isinstance(column.type, sa.DateTime | TIMESTAMP):
            pieces.extend(['"', timestamp(column), '"'])
        else:
            pieces.append(sa.cast(sa.func.to_json(sa.cast(column, sa.Text())), sa.Text()))
    pieces.append("]")
    encoded = sa.func.encode(
        sa.func.convert_to(as_text(pieces), sa.literal_column("'UTF8'")), sa.literal_column("'base64'")
    )
    return sa.func.translate(encoded, sa.literal_column("E'+/\\n'"), sa.literal_column("'-_'"))


def beyond(binder: Binder, name: str, columns: Sequence[Any], given: Given, *, greater: bool) -> Any:
    """Rows with greater (or less) sort values than the cursor's: one row comparison, which an index serves."""
    types = [_cursor_type(column.type) for column in columns]
    bound = [
        binder.parameter(given, sql_type, _cursor_value(name, place, len(columns), parse))
        for place, (sql_type, parse) in enumerate(types)
    ]
    left, right = (columns[0], bound[0]) if len(columns) == 1 else (sa.tuple_(*columns), sa.tuple_(*bound))
    return left > right if greater else left < right


def _cursor_value(name: str, place: int, length: int, parse: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def value(cursor: Any) -> Any:
        try:
            if len(cursor) > LONGEST_CURSOR:
                raise ValueError
            decoded = orjson.loads(base64.urlsafe_b64decode(cursor.encode("ascii")))
            if not isinstance(decoded, list) or len(decoded) != length + 1 or decoded[0] != name:
                raise ValueError
            return parse(decoded[place + 1])
        except (ValueError, TypeError, InvalidOperation, binascii.Error, OverflowError):
            message = "The cursor is not of this sort: use one that this connection gave for the same sort."
            raise InputError(message) from None

    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise ValueError
    return value


def _uuid(value: Any) -> Any:
    if not is_uuid(_text(value)):
        raise ValueError
    return value


def _instant(value: Any) -> datetime:
    parsed = datetime.fromisoformat(_text(value))
    if parsed.tzinfo is None:
        raise ValueError
    return parsed


def _integer(value: Any) -> int:
    number = int(_text(value)) if len(_text(value)) < 20 else 2**63
    if not -(2**63) <= number < 2**63:
        raise ValueError
    return number


def _decimal(value: Any) -> Decimal:
    number = Decimal(_text(value))
    if not number.is_finite():
        raise ValueError
    return number


def _cursor_type(type_: Any) -> tuple[Any, Callable[[Any], Any]]:
    """What a sort column is bound as, and how its text in a cursor is read back."""
    match type_:
        case sa.Uuid():
            return sa.Uuid(), _uuid
        case sa.DateTime():
            return TIMESTAMP(timezone=True), _instant
        case sa.Date():
            return sa.Date(), lambda value: date.fromisoformat(_text(value))
        case sa.Integer():
            return sa.BigInteger(), _integer
        case sa.Numeric():
            return sa.Numeric(), _decimal
    return sa.Text(), _text
