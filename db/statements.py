"""SQLAlchemy Core statements as text and values for asyncpg, compiled once.

SQLAlchemy's own execution costs several times what the driver takes for a short statement.
What is kept of it is what makes it worth having: typed statements, compiled by its compiler,
with its types' conversions both ways, and its `Result`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, cast
from uuid import UUID
from weakref import WeakKeyDictionary

import orjson
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.dialects.postgresql.asyncpg import dialect as asyncpg_dialect
from sqlalchemy.engine import Dialect
from sqlalchemy.engine.result import IteratorResult, Result, SimpleResultMetaData
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.dml import Delete, Insert, Update
from sqlalchemy.util import LRUCache

from db.base import Base

Parameters = Mapping[str, Any]
Convert = Callable[[Any], Any]


def _dump(value: Any) -> str:
    return orjson.dumps(value, default=_json).decode()


DIALECT: Dialect = asyncpg_dialect(  # type: ignore[no-untyped-call]
    json_serializer=_dump, json_deserializer=orjson.loads
)

VIEWS = {"event": frozenset({"outbox", "event_log"})}
"""Views, and the tables that they show."""

_NAME = re.compile(r"[a-z_]+")
_PLACE = re.compile(r"\$(\d+)")
_MISSING: Any = object()
_MADE: Any = object()


def tables_in(text: str) -> frozenset[str]:
    """Every table that the text may read or write; rather one too many than one too few."""
    words = set(_NAME.findall(text))
    shown = [VIEWS[view] for view in words & VIEWS.keys()]
    return frozenset(words & Base.metadata.tables.keys()).union(*shown)


def shifted(text: str, by: int) -> str:
    """The same text with its parameters numbered from `by` + 1 on."""
    return _PLACE.sub(lambda place: f"${int(place[1]) + by}", text) if by else text


def places(text: str) -> list[str]:
    """The numbers of the text's parameters."""
    return _PLACE.findall(text)


@dataclass(frozen=True, slots=True)
class _Bound:
    """One place of a text: the parameter's name, its value where none is given, and its conversion."""

    key: str
    value: Any
    convert: Convert | None
    made: Convert | None = None
    """A column's own default, made anew for each row."""


@dataclass(slots=True)
class Columns:
    """The columns of the rows that a text returns."""

    metadata: SimpleResultMetaData
    converts: tuple[tuple[int, Convert], ...]

    def result(self, records: Sequence[Sequence[Any]]) -> Result[*tuple[Any, ...]]:
        return IteratorResult(self.metadata, iter(self.rows(records)))

    def rows(self, records: Sequence[Sequence[Any]]) -> list[tuple[Any, ...]]:
        if not self.converts:
            return [tuple(record) for record in records]
        rows = []
        for record in records:
            row = list(record)
            for place, convert in self.converts:
                if row[place] is not None:
                    row[place] = convert(row[place])
            rows.append(tuple(row))
        return rows


@dataclass(frozen=True, slots=True)
class Prepared:
    """A statement as the driver takes it. `columns` is None for a text whose columns only the server knows."""

    text: str
    bound: tuple[_Bound, ...]
    columns: Columns | None
    tables: frozenset[str]
    writes: bool
    """It changes rows and returns none: nobody waits for what it answers."""

    opaque: bool
    """Written as text: what it reads and does is not known from its name."""

    def values(self, parameters: Parameters) -> list[Any]:
        """Raises KeyError for a parameter that is missing."""
        values = []
        for place in self.bound:
            value = parameters.get(place.key, place.value)
            if value is _MADE:
                value = cast("Convert", place.made)(None)
            elif value is _MISSING:
                raise KeyError(f"the statement needs a value for {place.key!r}")
            if place.convert is not None:
                value = place.convert(value)
            values.append(value)
        return values


_NONE: Parameters = {}
_shapes: LRUCache[Any, Any] = LRUCache(1_000)
_known: WeakKeyDictionary[Any, dict[tuple[str, ...], Prepared]] = WeakKeyDictionary()


def prepared(statement: Any, parameters: Parameters = _NONE) -> Prepared:
    """The statement compiled: found by identity, else by structure, else made.

    Only INSERT and UPDATE depend on which parameters are given.
    """
    keys = tuple(parameters) if isinstance(statement, Insert | Update) else ()
    variants = _known.get(statement)
    if variants is None:
        variants = _known[statement] = {}
    found = variants.get(keys)
    if found is None:
        found = variants[keys] = _prepare(statement, sorted(parameters))
    return found


def _prepare(statement: Any, keys: list[str]) -> Prepared:
    compiled, extracted, collected, _ = statement._compile_w_cache(
        DIALECT, compiled_cache=_shapes, column_keys=keys
    )
    values = compiled.construct_params(
        None, extracted, escape_names=False, _check=False, _collected_params=collected
    )
    given = {name: bind for bind, name in compiled.bind_names.items()}
    made: dict[str, Convert] = {}
    for column in getattr(compiled, "insert_prefetch", ()):
        default = column.default.arg
        if callable(default):
            made[column.key] = default
        values[column.key] = _MADE if callable(default) else default
    text, places = compiled.string, compiled.positiontup or ()
    converts = dict(compiled._bind_processors)
    if compiled.post_compile_params:
        expanded = compiled._process_parameters_for_postcompile(values)
        text, places, values = expanded.statement, expanded.positiontup or (), expanded.parameters
        converts |= expanded.processors
    return Prepared(
        text=text,
        bound=tuple(
            _Bound(
                key=given[name].key if name in given else name,
                value=_MISSING if name in given and given[name].required else values[name],
                convert=converts.get(name),
                made=made.get(name),
            )
            for name in places
        ),
        columns=_columns(compiled),
        tables=tables_in(text),
        writes=isinstance(statement, Insert | Update | Delete) and not compiled._result_columns,
        opaque=isinstance(statement, sa.TextClause),
    )


def _columns(compiled: SQLCompiler) -> Columns | None:
    kept: Columns | None = getattr(compiled, "_oms_columns", None)
    if kept is None and compiled._result_columns:
        entries = compiled._result_columns
        converts = ((place, _result_convert(entry.type)) for place, entry in enumerate(entries))
        kept = Columns(
            SimpleResultMetaData([entry.keyname for entry in entries], [entry.objects for entry in entries]),
            tuple((place, convert) for place, convert in converts if convert is not None),
        )
        compiled._oms_columns = kept  # type: ignore[attr-defined] # kept with what it was made of
    return kept


def _result_convert(type_: sa.types.TypeEngine[Any]) -> Convert | None:
    if isinstance(type_, sa.Enum) and type_.enum_class is not None:
        return type_.enum_class.__members__.__getitem__
    if isinstance(type_, sa.Numeric):
        return None if type_.asdecimal else float  # the driver's own are decimals
    convert: Convert | None = type_._cached_result_processor(DIALECT, None)
    return convert


def columns_of(record: Any) -> Columns:
    """For a text: the columns are what the server called them."""
    return Columns(SimpleResultMetaData(list(record.keys())), ())


NOTHING = SimpleResultMetaData([])


# Rows of one table, written in one statement whatever their number.


class Insertion:
    """INSERT of rows of a table that all have the columns `keys`.

    Many rows go as one JSON document: the driver takes several times as long over arrays, of
    which it asks each element whether it is an array too.
    """

    def __init__(self, table: sa.Table, keys: tuple[str, ...]) -> None:
        # What the server has no default for; what it has one for, it fills in more cheaply.
        made = [
            column
            for column in table.c
            if column.key not in keys and column.default is not None and column.server_default is None
        ]
        columns = [*(table.c[key] for key in keys), *made]
        if any(isinstance(column.type, ARRAY) for column in columns):
            raise TypeError(f"{table.name} has arrays: say how they are inserted")
        self.table = table.name
        self._keys = keys
        self._made = {column.name: cast("sa.ColumnDefault", column.default).arg for column in made}
        self._converts = tuple(_column_convert(column) for column in columns)
        names = ", ".join(column.name for column in columns)
        types = [_type_name(column.type) for column in columns]
        one = ", ".join(f"${place}::{name}" for place, name in enumerate(types, 1))
        row = ", ".join(f"{column.name} {name}" for column, name in zip(columns, types, strict=True))
        self._one = f"INSERT INTO {table.name} ({names}) VALUES ({one})"
        rows = f"json_to_recordset($1::JSON) AS row ({row})"
        self.many = f"INSERT INTO {table.name} ({names}) SELECT {names} FROM {rows}"

    def text(self, rows: Sequence[Parameters]) -> str:
        return self._one if len(rows) == 1 else self.many

    def values(self, rows: Sequence[Parameters]) -> list[Any]:
        if len(rows) > 1:
            return self.document(rows)
        row = rows[0]
        one = [row[key] for key in self._keys]
        one += self._defaults().values()
        return [
            value if convert is None else convert(value)
            for value, convert in zip(one, self._converts, strict=True)
        ]

    def document(self, rows: Sequence[Parameters]) -> list[Any]:
        """The one value of `many`."""
        if self._made:
            rows = [{**row, **self._defaults()} for row in rows]
        return [orjson.dumps(rows, default=_json).decode()]

    def _defaults(self) -> Parameters:
        return {name: made(None) if callable(made) else made for name, made in self._made.items()}


def of_rows(statement: Insert, rows: Sequence[Parameters]) -> tuple[Prepared, list[Any]] | None:
    """An INSERT of rows that says what becomes of conflicts, or returns something, as one statement.

    None where what it says has parameters of its own.
    """
    if not isinstance(statement.table, sa.Table):
        return None
    prepared_for_one = prepared(statement, rows[0])
    says = _after_parentheses(prepared_for_one.text.partition(" VALUES (")[2])
    if "$" in says:
        return None
    how = insertion(statement.table, rows[0])
    return replace(prepared_for_one, text=how.many + says, bound=()), how.document(rows)


def _after_parentheses(text: str) -> str:
    """What follows the parenthesis that was open before the text."""
    depth = 1
    for place, sign in enumerate(text):
        depth += (sign == "(") - (sign == ")")
        if not depth:
            return text[place + 1 :]
    raise ValueError("a parenthesis is never closed")


_SHOWN_AS_TEXT = (UUID, Decimal)  # the driver's ids are of a class of its own


def _json(value: Any) -> str:
    """As PostgreSQL reads it, what orjson leaves to us."""
    if isinstance(value, _SHOWN_AS_TEXT):
        return str(value)
    if isinstance(value, bytes):
        return "\\x" + value.hex()
    raise TypeError(f"{type(value).__name__} has no form in JSON")


_insertions: dict[tuple[str, tuple[str, ...]], Insertion] = {}


def insertion(table: sa.Table, row: Parameters) -> Insertion:
    """How rows like this one are inserted."""
    key = (table.name, tuple(row))
    found = _insertions.get(key)
    if found is None:
        found = _insertions[key] = Insertion(table, key[1])
    return found


def rows_of(statement: Any) -> sa.Table | None:
    """The table of an INSERT that says nothing but the table: its rows come as parameters."""
    if not isinstance(statement, Insert) or not isinstance(statement.table, sa.Table):
        return None
    says_more = (
        statement._values
        or statement._multi_values
        or statement.select is not None
        or statement._returning
        or getattr(statement, "_post_values_clause", None) is not None
    )
    return None if says_more else statement.table


def _column_convert(column: sa.Column[Any]) -> Convert | None:
    if isinstance(column.type, sa.Enum):
        return _text
    if isinstance(column.type, JSONB):
        return column.type._cached_bind_processor(DIALECT)
    return None


def _text(value: Any) -> Any:
    return None if value is None else value.value


def _type_name(type_: sa.types.TypeEngine[Any]) -> str:
    """The type of a value to come. Lengths are left to the column: a cast to one would cut."""
    if isinstance(type_, sa.String | sa.Enum):
        return "TEXT"
    if isinstance(type_, sa.Numeric):
        return "NUMERIC"
    return type_.compile(DIALECT)
