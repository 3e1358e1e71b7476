"""What a declaration says: how a field is read. Plain values that the compiler matches on.

`Read` values stand in a Strawberry field's metadata under `PLAN`; `Planned` values
say which table a type is read from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, InstrumentedAttribute
from strawberry.types.field import StrawberryField

from domain.access import Scope

PLAN = "plan"
"""The metadata key under which a field keeps its `Read`."""

Expression = sa.ColumnElement[Any]
Source = type[DeclarativeBase] | sa.FromClause
Column = InstrumentedAttribute[Any] | sa.ColumnElement[Any]
T = TypeVar("T")


class Row:
    """One row in a statement: `row.quantity` is that column of this alias of its table.

    Columns are found under the name their declarative class gives them, else under
    their own name in the table.
    """

    def __init__(self, source: sa.FromClause, names: Mapping[str, str]) -> None:
        self._source = source
        self._names = names

    def __getattr__(self, name: str) -> Expression:
        try:
            return self._source.c[self._names.get(name, name)]
        except KeyError:
            raise AttributeError(f"{self._source!r} has no column {name!r}") from None

    @property
    def source(self) -> sa.FromClause:
        """The alias itself, for what needs a FROM clause and not a column."""
        return self._source


Join = Callable[[Any, Any], Expression]
OrderBy = Callable[[Any], Sequence[Expression]]


@dataclass(frozen=True, slots=True)
class Planned:
    """A GraphQL object type that is read from rows of `table`."""

    name: str  # of the Python class
    table: sa.FromClause
    table_name: str  # what visibility predicates know it by
    names: Mapping[str, str]  # attribute of the declarative class -> column key
    key: str  # the column that identifies a row
    node: str | None  # prefix of its global ids
    scope: Scope | None  # what reading it by its global id alone demands
    stream_key: str | None = None  # the column that subscriptions find it by, where that is another

    def row(self, source: sa.FromClause) -> Row:
        return Row(source, self.names)


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """How one field is read; `scope` is what a caller needs to select it."""

    scope: Scope | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadExpression(Read):
    """A scalar, an enum or a list of them: any SQL over the row."""

    of: Callable[[Any], Any]
    nullable: bool = True  # whether the SQL may be NULL, as far as the table says


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadId(Read):
    """The row's global id: its type's prefix and its key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadMoney(Read):
    """Minor units and a currency code, shown as a decimal with the currency's decimals."""

    amount: Callable[[Any], Any]
    currency: Callable[[Any], Any]
    nullable: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadEmbedded(Read):
    """An object (or a list of objects) kept in a jsonb value; its fields are keys of it."""

    of: Callable[[Any], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOne(Read):
    """At most one row of another type."""

    target: str
    on: Join
    visible_with_parent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOneOf(Read):
    """A row of the type that `kind` names."""

    kind: Callable[[Any], Any]
    targets: Mapping[str, str]  # value of `kind` -> name of the type
    id: Callable[[Any], Any]
    visible_with_parent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadMany(Read):
    """All rows of another type that belong to this one; `size` is how many to expect, for the cost."""

    target: str
    on: Join
    order_by: OrderBy
    visible_with_parent: bool = True
    size: int = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadConnection(Read):
    """A page of the rows of another type; `on` is None for a root field."""

    target: str
    sort: Sort
    on: Join | None = None
    filter: type | None = None
    sort_argument: bool = True
    visible_with_parent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadRootOne(Read):
    """One row found by exactly one of several groups of arguments."""

    target: str
    by: Sequence[By]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadRootMany(Read):
    """All rows of a source that the arguments shape; `source` gets the bound arguments."""

    target: str
    source: Callable[[Any], Any] | None
    arguments: Mapping[str, Any]
    order_by: OrderBy | None
    condition: Callable[[Any, Any], Any] | None
    visible: bool = True
    size: int = 20
    limit: Callable[[Any], Any] | None = None  # of the arguments: how many of the visible rows are shown


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadRootExpression(Read):
    """One scalar that needs no row."""

    of: Callable[[], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadNode(Read):
    """The row that a global id names, whatever its type; `many` takes a list of ids."""

    many: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Read):
    """A declared function: a mutation, or a subscription's source."""

    function: Callable[..., Any]
    parameters: frozenset[str] = field(default_factory=frozenset)


@dataclass(frozen=True, slots=True)
class By:
    """A group of arguments that together find one row."""

    arguments: Mapping[str, Any]  # name -> annotation
    condition: Callable[..., Any]  # (row, *bound values) in the order of `arguments`


@dataclass(frozen=True, slots=True)
class SortKey:
    """One way to sort: NOT NULL expressions; the row's key is added as the tie-break."""

    name: str
    columns: OrderBy


@dataclass(frozen=True, slots=True)
class Sort:
    """The ways a connection can be sorted, and the one it is sorted by unless told."""

    keys: Mapping[str, SortKey]
    enum: type | None
    default: str
    descending: bool = False


def read_of(strawberry_field: StrawberryField | None) -> Read | None:
    """How a field is read, or None for a field of a value type."""
    return None if strawberry_field is None else strawberry_field.metadata.get(PLAN)


def reader(source: Any) -> Callable[[Any], Any]:
    """A column as a function of the row; a function stays as it is."""
    if isinstance(source, InstrumentedAttribute):
        key = source.property.columns[0].key
        return lambda row: row.source.c[key]
    if isinstance(source, sa.Column):
        return lambda row: row.source.c[source.key]
    if isinstance(source, sa.ColumnElement):
        name = getattr(source, "key", None)
        if not isinstance(name, str):
            raise TypeError(f"{source} is not a column; give a function of the row instead")
        return lambda row: row.source.c[name]
    if callable(source):
        return source  # type: ignore[no-any-return] # a function of the row, by contract
    raise TypeError(f"{source!r} is neither a column nor a function of the row")


def may_be_null(source: Any) -> bool:
    """Whether a column may hold NULL; an expression always may."""
    if isinstance(source, InstrumentedAttribute):
        return bool(source.property.columns[0].nullable)
    if isinstance(source, sa.Column):
        return bool(source.nullable)
    return True
