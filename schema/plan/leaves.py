"""Rendering of single values by SQL: the JSON text of a column, as GraphQL would have coerced it."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from graphql import GraphQLEnumType, GraphQLList, GraphQLNonNull
from sqlalchemy.dialects.postgresql import aggregate_order_by

from domain.money import EXPONENTS
from schema.plan.sqltext import LiteralText, as_text

TIMESTAMP_FORMAT = 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'

_RAW_JSON = frozenset({"Int", "BigInt", "Boolean", "JSON"})
"""Scalars whose text is JSON already."""
_PLAIN_TEXT = frozenset({"Decimal", "Date", "UUID"})
"""Scalars whose text needs quotes and no escapes."""
_TO_JSON_ARRAYS = frozenset({"Int", "BigInt", "Boolean", "String", "ID", "Float"})


def timestamp(value: Any) -> sa.ColumnElement[str]:
    return sa.func.to_char(sa.func.timezone("UTC", value), sa.literal_column(f"'{TIMESTAMP_FORMAT}'"))


def leaf(type_: Any, value: Any) -> sa.ColumnElement[str]:  # noqa: PLR0911 - one for each kind of scalar
    """SQL for the JSON text of a value of this output type (nullability aside); NULL stays NULL."""
    if isinstance(type_, GraphQLNonNull):
        return leaf(type_.of_type, value)
    if isinstance(type_, GraphQLList):
        return _items(type_.of_type, value)
    if isinstance(type_, GraphQLEnumType):
        return as_text(['"', _text(value), '"'])
    name = type_.name
    if name in _RAW_JSON:
        return _text(value)
    if name in _PLAIN_TEXT:
        return as_text(['"', _text(value), '"'])
    if name == "DateTime":
        return as_text(['"', timestamp(value), '"'])
    if name == "Float":
        return sa.cast(sa.func.to_json(sa.cast(value, sa.Double())), sa.Text())
    if name in ("String", "ID"):
        return sa.cast(sa.func.to_json(_text(value)), sa.Text())
    raise TypeError(f"a stored field of type {name} cannot be rendered: tell leaves.py how")


def _text(value: Any) -> sa.ColumnElement[str]:
    if isinstance(value, sa.ColumnElement) and type(value.type) in (sa.Text, sa.TEXT):
        return value
    return sa.cast(value, sa.Text())


def _items(item: Any, value: Any) -> sa.ColumnElement[str]:
    nullable = not isinstance(item, GraphQLNonNull)
    inner = item if nullable else item.of_type
    if getattr(inner, "name", None) in _TO_JSON_ARRAYS or isinstance(inner, GraphQLEnumType):
        return sa.cast(sa.func.to_json(value), sa.Text())
    entries = sa.func.unnest(value).table_valued("entry", with_ordinality="place").render_derived()
    rendered: Any = leaf(inner, entries.c.entry)
    rendered = sa.func.coalesce(rendered, LiteralText("null"))
    joined = sa.select(
        sa.func.coalesce(string_agg(rendered, [entries.c.place]), LiteralText(""))
    ).select_from(entries)
    return sa.case((sa.cast(value, sa.Text()).is_not(None), as_text(["[", joined.scalar_subquery(), "]"])))


def string_agg(
    text: sa.ColumnElement[str], order_by: list[Any], *, only: sa.ColumnElement[bool] | None = None
) -> sa.ColumnElement[Any]:
    """The rows' texts, joined by commas; `only` leaves rows out before they are rendered."""
    comma: Any = sa.literal_column("','")
    joined = sa.func.string_agg(text, aggregate_order_by(comma, *order_by) if order_by else comma)
    return joined.filter(only) if only is not None else joined


def or_null(text: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """JSON null where the SQL is NULL: one NULL would null the whole concatenation."""
    return sa.func.coalesce(text, sa.literal_column("'null'"))


def amount(minor_units: Any, currency: Any) -> sa.ColumnElement[str]:
    """Minor units as a decimal: multiplying by 0.01 gives exactly two decimals in `numeric`.

    One look-up for the usual currencies, two for the others.
    """
    unusual: dict[int, list[str]] = {}
    for code, exponent in EXPONENTS.items():
        if exponent != 2:
            unusual.setdefault(exponent, []).append(code)
    others = sa.case(
        *(
            (currency.in_(sorted(codes)), sa.literal_column(_factor(exponent)))
            for exponent, codes in sorted(unusual.items())
        )
    )
    every = sorted(code for codes in unusual.values() for code in codes)
    factor = sa.case((currency.not_in(every), sa.literal_column(_factor(2))), else_=others)
    return as_text(['"', sa.cast(minor_units * factor, sa.Text()), '"'])


def _factor(exponent: int) -> str:
    return "1::numeric" if exponent == 0 else f"0.{'0' * (exponent - 1)}1"
