"""Declarations of what connections take: filters and sorts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from enum import Enum
from typing import Any, TypeVar, dataclass_transform

import sqlalchemy as sa
import strawberry

from domain.access import Scope
from schema.plan.fields import PlannedField, argument, register, with_need
from schema.plan.reading import PLAN, OrderBy, Sort, SortKey

T = TypeVar("T")


@strawberry.enum(description="Ascending or descending.")
class SortDirection(Enum):
    ASC = "ASC"
    DESC = "DESC"


def sort_enum(
    name: str,
    description: str | None = None,
    *,
    default: str | None = None,
    descending: bool = False,
    **keys: OrderBy,
) -> Sort:
    """The ways a connection can be sorted: each name gives NOT NULL columns; the row's key breaks ties.

    Every one needs an index over its columns and the key, for paging never to sort more than a page.
    """
    if not keys:
        raise ValueError(f"{name} offers no way to sort")
    members = Enum(name, {key: key for key in keys})  # type: ignore[misc] # the members come from the caller
    return Sort(
        keys={key: SortKey(key, columns) for key, columns in keys.items()},
        enum=strawberry.enum(members, description=description),
        default=default or next(iter(keys)),
        descending=descending,
    )


def sort_of(
    order_by: OrderBy | None,
    descending: bool,
    sort: Sort | None,
    default_sort: tuple[str, SortDirection] | None,
) -> Sort:
    if sort is None:
        columns = order_by or (lambda row: ())
        return Sort(keys={"": SortKey("", columns)}, enum=None, default="", descending=descending)
    if default_sort is None:
        return sort
    default, direction = default_sort
    if default not in sort.keys:
        raise ValueError(f"{default} is not one of {sorted(sort.keys)}")
    return dataclasses.replace(sort, default=default, descending=direction is SortDirection.DESC)


def page_arguments(filter_type: type | None, sort: Sort) -> list[Any]:
    """`first`, `after`, `last`, `before`, and what this connection offers besides."""
    arguments = [
        argument("first", int | None, "How many from the front; at most 100."),
        argument("after", str | None, "Only what follows this cursor."),
        argument("last", int | None, "How many from the back; at most 100."),
        argument("before", str | None, "Only what precedes this cursor."),
    ]
    if filter_type is not None:
        arguments.append(argument("filter", filter_type | None))
    if sort.enum is not None:
        arguments.append(argument("sort", sort.enum | None, f"By default {sort.default}."))
        default = "DESC" if sort.descending else "ASC"
        arguments.append(argument("direction", SortDirection | None, f"By default {default}."))
    return arguments


@dataclasses.dataclass(frozen=True, slots=True)
class Where:
    """A filter field: the condition it adds when a value is given; `node` is the prefix of ids it takes.

    `candidates` is how many rows that fulfil the filter are sorted at most; `each` is the column that has one of
    the values, where the value is a list of them. A caller without `scope` gets the condition `unscoped`, or is
    refused where there is none.
    """

    condition: Callable[[Any, Any], Any]
    node: str | None = None
    candidates: int | None = None
    each: Callable[[Any], Any] | None = None
    scope: Scope | None = None
    unscoped: Callable[[Any, Any], Any] | None = None


def where(
    condition: Callable[[Any, Any], Any],
    description: str | None = None,
    *,
    node: str | None = None,
    candidates: int | None = None,
    scope: Scope | None = None,
    unscoped: Callable[[Any, Any], Any] | None = None,
) -> Any:
    """`condition(row, value)`; with `node` the value is a global id (or a list of them), bound as UUID.

    `candidates` is for a condition whose index gives rows in no order that could be asked for, such as a
    search of text: of the rows that the whole filter leaves and the caller may see, so many are taken as they
    come, and only those are sorted, paged through and counted.

    `scope` is that of the fields whose values the condition betrays. `unscoped` is what the filter means to a
    caller without it, over what that caller may read; without `unscoped` it is refused, as the fields are.
    """
    if candidates is not None:
        bounded = (
            f"When more than {candidates:,} fulfil the whole filter, {candidates:,} of them are sorted, shown and "
            "counted, not the first of any sort: search for more words, or filter further."
        )
        description = bounded if description is None else f"{description} {bounded}"
    return _filter_field(description, Where(condition, node, candidates, scope=scope, unscoped=unscoped))


def among(
    column: Callable[[Any], Any],
    description: str | None = None,
    *,
    node: str | None = None,
    scope: Scope | None = None,
) -> Any:
    """A list of values, one of which `column(row)` has; an empty list leaves no row. `scope` as for `where`.

    Where an index begins with the column and goes on as the page is sorted, the page is merged from a
    page for each value.
    """
    return _filter_field(
        description,
        Where(lambda row, values: column(row) == sa.any_(values), node, each=column, scope=scope),
    )


def _filter_field(description: str | None, where: Where) -> PlannedField:
    if where.scope is not None and where.unscoped is None:
        description = with_need(description, where.scope)
    return PlannedField(default=strawberry.UNSET, description=description, metadata={PLAN: where})


@dataclasses.dataclass(frozen=True, slots=True)
class TakesId:
    """A field of an input object that takes a global id with this prefix."""

    node: str


def global_id(prefix: str, description: str | None = None) -> Any:
    """A field of an input object inside a filter or a `by`: the condition gets the id's UUID."""
    return PlannedField(default=strawberry.UNSET, description=description, metadata={PLAN: TakesId(prefix)})


@dataclass_transform(kw_only_default=True)
def filter_input(cls: type[T] | None = None, *, description: str | None = None) -> Any:
    """An input whose fields each add one condition; absent and null add nothing."""

    def declare(cls: type[T]) -> type[T]:
        declared: type[T] = strawberry.input(cls, description=description)
        register(declared)
        return declared

    return declare if cls is None else declare(cls)
