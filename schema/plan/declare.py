"""Declarations of types and of their fields: the only mapping between GraphQL and SQL."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Generic, TypeVar, dataclass_transform, get_args
from uuid import UUID

import sqlalchemy as sa
import strawberry
from sqlalchemy.orm import DeclarativeBase

from domain.access import Scope
from domain.rights import who_sees
from schema.plan.fields import PlannedField, field, register
from schema.plan.inputs import SortDirection, page_arguments, sort_of
from schema.plan.reading import (
    Join,
    OrderBy,
    Planned,
    ReadConnection,
    ReadEmbedded,
    ReadExpression,
    ReadId,
    ReadMany,
    ReadMoney,
    ReadOne,
    ReadOneOf,
    Sort,
    Source,
    may_be_null,
    reader,
)

T = TypeVar("T")
Cls = TypeVar("Cls", bound=type)


@strawberry.interface(description="Anything with a global id. Read it back with `node(id)`.")
class Node:
    id: strawberry.ID = field(ReadId(), "The global id. Opaque: its prefix may tell people, not programs.")


@strawberry.type(description="An amount of money, with as many decimals as its currency has.")
class Money:
    amount: Decimal = field(None, 'In units of the currency: "12.50".')
    currency_code: str = field(None, "ISO 4217: EUR, BRL, JPY.")


@strawberry.type(description="Where a page stands among the others.")
class PageInfo:
    has_next_page: bool
    has_previous_page: bool
    start_cursor: str | None
    end_cursor: str | None


@strawberry.type(description="An entity on a page, and the cursor that stands for its place.")
class Edge(Generic[T]):
    cursor: str
    node: T


@strawberry.type(description="A page. Ask for `first` (with `after`) or `last` (with `before`), at most 100.")
class Connection(Generic[T]):
    edges: list[Edge[T]]
    nodes: list[T]
    page_info: PageInfo
    total_count: int = strawberry.field(
        description="How many there are in all, counted up to 10,000. Ask only when you show it."
    )


def planned_of(cls: Any) -> Planned | None:
    """The table behind a declared type; None for every other class."""
    found = vars(cls).get("__planned__") if isinstance(cls, type) else None
    return found if isinstance(found, Planned) else None


def planned(
    source: Source,
    *,
    node: str | None = None,
    key: str | None = None,
    scope: Scope | None = None,
    stream_key: str | None = None,
    description: str | None = None,
    name: str | None = None,
) -> Callable[[Cls], Cls]:
    """A GraphQL object type that is read from the rows of `source`.

    `node` is the prefix of its global ids (the class then inherits from `Node`);
    `key` names the identifying column (default `id`, else the primary key);
    `scope` is what `node(id)` demands, by default that of the root field that
    returns the type; `stream_key` is the column that subscriptions find rows by, where
    that is not the key.
    """

    def declare(cls: Cls) -> Cls:
        if node is not None and not issubclass(cls, Node):
            raise TypeError(f"{cls.__name__} has node={node!r} but does not inherit from Node")
        table, names = _table_of(source)
        seen = who_sees(str(getattr(table, "name", "")))
        shown = " ".join(part for part in (description, seen) if part) or None
        made = strawberry.type(cls, name=name, description=shown)
        made.__planned__ = Planned(  # type: ignore[attr-defined] # the compiler's mark on the class
            name=cls.__name__,
            table=table,
            table_name=str(getattr(table, "name", "")),
            names=names,
            key=key or _key_of(table),
            node=node,
            scope=scope,
            stream_key=stream_key,
        )
        register(made)
        return made

    return declare


def _table_of(source: Source) -> tuple[sa.FromClause, Mapping[str, str]]:
    if isinstance(source, type) and issubclass(source, DeclarativeBase):
        mapper = sa.inspect(source)
        names = {attribute.key: str(attribute.columns[0].key) for attribute in mapper.column_attrs}
        return mapper.local_table, names
    if isinstance(source, sa.FromClause):
        return source, {}
    raise TypeError(f"{source!r} is neither a declarative class nor a table or subquery")


def _key_of(table: sa.FromClause) -> str:
    if "id" in table.c:
        return "id"
    primary = list(table.primary_key)
    return str(primary[0].key) if primary else str(next(iter(table.c)).key)


@dataclass_transform(kw_only_default=True)
def value_type(cls: type[T] | None = None, *, description: str | None = None, name: str | None = None) -> Any:
    """A type rendered from Python objects: payloads, per-item results, embedded values.

    Optional fields default to None and `user_errors` to none at all.
    """

    def declare(cls: type[T]) -> type[T]:
        for field_name, annotation in list(vars(cls).get("__annotations__", {}).items()):
            given = vars(cls).get(field_name, dataclasses.MISSING)
            if isinstance(given, PlannedField):
                made = given
            elif isinstance(given, dataclasses.Field):
                continue
            else:
                made = PlannedField(default=given)
            if made.default is dataclasses.MISSING and made.default_factory is dataclasses.MISSING:
                if field_name == "user_errors":
                    made.default_factory = list
                elif _is_optional(annotation):
                    made.default = None
            setattr(cls, field_name, made)
        declared: type[T] = strawberry.type(cls, name=name, description=description)
        register(declared)
        return declared

    return declare if cls is None else declare(cls)


def _is_optional(annotation: object) -> bool:
    if isinstance(annotation, str):
        return "None" in (part.strip() for part in annotation.split("|"))
    return type(None) in get_args(annotation)


def column(
    source: Any,
    description: str | None = None,
    *,
    scope: Scope | None = None,
    deprecation_reason: str | None = None,
    name: str | None = None,
) -> Any:
    """A stored column: text, numbers, booleans, timestamps, jsonb, arrays, an enum by name."""
    read = ReadExpression(of=reader(source), nullable=may_be_null(source), scope=scope)
    return field(read, description, deprecation_reason=deprecation_reason, name=name)


def expression(
    of: Callable[[Any], Any],
    description: str | None = None,
    *,
    scope: Scope | None = None,
    deprecation_reason: str | None = None,
    name: str | None = None,
) -> Any:
    """A scalar, an enum or a list of them, computed by SQL from the row."""
    return field(
        ReadExpression(of=of, scope=scope), description, deprecation_reason=deprecation_reason, name=name
    )


def money(
    amount: Any,
    currency: Any,
    description: str | None = None,
    *,
    scope: Scope | None = None,
    deprecation_reason: str | None = None,
) -> Any:
    """`Money` from minor units and a currency code: columns, or functions of the row."""
    nullable = may_be_null(amount) or may_be_null(currency)
    read = ReadMoney(amount=reader(amount), currency=reader(currency), nullable=nullable, scope=scope)
    return field(read, description, deprecation_reason=deprecation_reason)


def embedded(
    source: Any,
    description: str | None = None,
    *,
    scope: Scope | None = None,
    deprecation_reason: str | None = None,
) -> Any:
    """A value type kept as a jsonb object, or a list of it as a jsonb array, under its Python field names."""
    return field(
        ReadEmbedded(of=reader(source), scope=scope), description, deprecation_reason=deprecation_reason
    )


def one(
    target: str | type,
    on: Join,
    description: str | None = None,
    *,
    visible_with_parent: bool = False,
    scope: Scope | None = None,
    deprecation_reason: str | None = None,
    name: str | None = None,
) -> Any:
    """The row of `target` that `on(parent, target)` finds, or null.

    The target's own visibility applies; `visible_with_parent` says that whoever sees
    the parent sees it too. `name` is the field's in the schema, where Python keeps the word for itself.
    """
    read = ReadOne(target=_name(target), on=on, visible_with_parent=visible_with_parent, scope=scope)
    return field(read, description, deprecation_reason=deprecation_reason, name=name)


def one_of(
    kind: Any,
    targets: Mapping[str, str | type],
    id: Any,
    description: str | None = None,
    *,
    visible_with_parent: bool = False,
    scope: Scope | None = None,
) -> Any:
    """The row whose type the column `kind` names and whose key is `id`: an interface or a union."""
    read = ReadOneOf(
        kind=reader(kind),
        targets={value: _name(target) for value, target in targets.items()},
        id=reader(id),
        visible_with_parent=visible_with_parent,
        scope=scope,
    )
    return field(read, description)


def many(
    target: str | type,
    on: Join,
    *,
    order_by: OrderBy,
    description: str | None = None,
    visible_with_parent: bool = True,
    size: int = 10,
    scope: Scope | None = None,
    deprecation_reason: str | None = None,
) -> Any:
    """All rows of `target` that belong to the parent: for children that are few by nature."""
    read = ReadMany(
        target=_name(target),
        on=on,
        order_by=order_by,
        visible_with_parent=visible_with_parent,
        size=size,
        scope=scope,
    )
    return field(read, description, deprecation_reason=deprecation_reason)


def connection(
    target: str | type,
    on: Join,
    *,
    order_by: OrderBy | None = None,
    descending: bool = False,
    filter: type | None = None,
    sort: Sort | None = None,
    default_sort: tuple[str, SortDirection] | None = None,
    visible_with_parent: bool = True,
    description: str | None = None,
    scope: Scope | None = None,
    deprecation_reason: str | None = None,
) -> Any:
    """A page of the rows of `target` that belong to the parent; sorted by `order_by`, or as `sort` offers."""
    chosen = sort_of(order_by, descending, sort, default_sort)
    read = ReadConnection(
        target=_name(target),
        on=on,
        sort=chosen,
        filter=filter,
        visible_with_parent=visible_with_parent,
        scope=scope,
    )
    return field(
        read,
        description,
        arguments=page_arguments(filter, chosen),
        deprecation_reason=deprecation_reason,
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Ref:
    """Stands in a payload for an entity that a plan reads after the write."""

    type_name: str
    id: UUID | int


def ref(target: type[T], id: UUID | int | None) -> T | None:
    """The entity of a payload, to be read after COMMIT; null when there is none or it is not visible."""
    if id is None:
        return None
    planned_type = planned_of(target)
    if planned_type is None:
        raise TypeError(f"{target!r} is not a planned type")
    return Ref(planned_type.name, id)  # type: ignore[return-value] # typed as what the field shows


def refs(target: type[T], ids: Sequence[UUID | int]) -> list[T]:
    """Several entities, in this order."""
    return [ref(target, id) for id in ids]  # type: ignore[misc] # no id is None


def _name(target: str | type) -> str:
    return target if isinstance(target, str) else target.__name__
