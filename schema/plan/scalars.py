"""Scalars whose rendering by SQL and by Python cannot disagree."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from typing import Any, NewType

import orjson
import strawberry
from graphql import GraphQLError
from strawberry.scalars import JSON
from strawberry.schema.types.scalar import DEFAULT_SCALAR_REGISTRY
from strawberry.types.scalar import ScalarDefinition

BigInt = NewType("BigInt", int)
"""A whole number beyond 32 bits, within ±(2^53 - 1), so that every JSON reader keeps it exact."""

LARGEST_EXACT = 2**53 - 1
LONGEST_DECIMAL = 40


def timestamp_text(value: dt.datetime) -> str:
    """The one format for timestamps: UTC, microseconds, `Z`."""
    if value.tzinfo is not None:
        value = value.astimezone(dt.UTC)
    return value.strftime("%Y-%m-%dT%H:%M:%S.%f").rjust(26, "0") + "Z"


def parse_timestamp(value: Any) -> dt.datetime:
    """An ISO 8601 timestamp; one without an offset is refused, because it names no instant."""
    if isinstance(value, str):
        try:
            parsed = dt.datetime.fromisoformat(value)
        except ValueError:
            parsed = None
        if parsed is not None and parsed.tzinfo is not None:
            try:
                return parsed.astimezone(dt.UTC)
            except OverflowError:
                pass
    raise GraphQLError(
        f"DateTime cannot represent {value!r}: write 2025-01-31T13:45:00Z, with an offset or Z."
    )


def parse_big_int(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST_EXACT:
        return value
    raise GraphQLError(f"BigInt cannot represent {str(value)[:40]!r}: a whole number within ±(2^53 - 1).")


def parse_decimal(value: Any) -> Decimal:
    if isinstance(value, str | int) and not isinstance(value, bool) and len(str(value)) <= LONGEST_DECIMAL:
        try:
            parsed = Decimal(value)
        except InvalidOperation:
            parsed = None
        if parsed is not None and parsed.is_finite():
            return parsed
    raise GraphQLError(f'Decimal cannot represent {str(value)[:40]!r}: write it as text, like "12.50".')


def parse_json(value: Any) -> Any:
    """What a document spells out, or a deep body, may hold what no JSON that we write can."""
    try:
        orjson.dumps(value)
    except orjson.JSONEncodeError:
        raise GraphQLError(
            "JSON cannot represent that: whole numbers have 64 bits at most, and 250 levels are enough."
        ) from None
    return value


def decimal_text(value: Decimal) -> str:
    return format(value, "f")


SCALARS: dict[object, ScalarDefinition] = {
    BigInt: strawberry.scalar(
        name="BigInt",
        description="A whole number within ±(2^53 - 1), beyond the 32 bits of Int.",
        serialize=int,
        parse_value=parse_big_int,
    ),
    Decimal: strawberry.scalar(
        name="Decimal",
        description='An exact decimal number, as text: "12.50".',
        serialize=decimal_text,
        parse_value=parse_decimal,
    ),
    JSON: replace(DEFAULT_SCALAR_REGISTRY[JSON], parse_value=parse_json),
    dt.datetime: strawberry.scalar(
        name="DateTime",
        description="An instant, ISO 8601. Shown in UTC with microseconds: 2025-01-31T13:45:00.000000Z.",
        serialize=timestamp_text,
        parse_value=parse_timestamp,
    ),
}
"""For `StrawberryConfig(scalar_map=SCALARS)`."""
