"""Declarations of root fields: queries, mutations, subscriptions."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any, cast

import strawberry
from strawberry.annotation import StrawberryAnnotation
from strawberry.types.fields.resolver import StrawberryResolver
from strawberry.types.info import Info as StrawberryInfo

from domain.access import Scope
from schema.plan.declare import Node
from schema.plan.fields import PlannedField, argument, field, with_scope
from schema.plan.inputs import SortDirection, page_arguments, sort_of
from schema.plan.reading import (
    PLAN,
    By,
    Call,
    OrderBy,
    ReadConnection,
    ReadNode,
    ReadRootExpression,
    ReadRootMany,
    ReadRootOne,
    Sort,
)


class Info(StrawberryInfo[Any, Any]):
    """What a declared function gets beside its arguments.

    `context` is what the caller of the executor made for this request, `arguments`
    the arguments as sent (for idempotency fingerprints), `field_name` the field's
    GraphQL name.
    """

    def __init__(self, context: Any, field_name: str, arguments: Mapping[str, Any]) -> None:
        self._context = context
        self._name = field_name
        self.arguments = arguments

    @property
    def context(self) -> Any:
        return self._context

    @property
    def field_name(self) -> str:
        return self._name


class GlobalId:
    """The annotation of an argument that takes a global id with this prefix and binds its UUID."""

    def __init__(self, prefix: str, *, many: bool = False) -> None:
        self.prefix = prefix
        self.many = many

    @property
    def annotation(self) -> Any:
        return list[strawberry.ID] if self.many else strawberry.ID


def by_id(name: str = "id") -> By:
    """Find the row by the global id of the type the field returns."""
    return By({name: GlobalId("")}, lambda row, id: _key(row) == id)


def _key(row: Any) -> Any:
    return row.id


def by(condition: Callable[..., Any], **arguments: Any) -> By:
    """Find the row by these arguments together: `by(lambda o, number: o.number == number, number=str)`.

    An argument's type is a Python annotation, `GlobalId(prefix)` or an input type
    (its fields are attributes of the bound value).
    """
    return By(arguments, condition)


def query_one(
    target: type | str,
    *,
    by: Sequence[By] | By,
    scope: Scope,
    description: str | None = None,
    deprecation_reason: str | None = None,
) -> Any:
    """One row, or null: exactly one of the groups in `by` must be given."""
    groups = (by,) if isinstance(by, By) else tuple(by)
    alone = len(groups) == 1
    arguments = [
        argument(name, _annotation(kind) if alone else _annotation(kind) | None)
        for group in groups
        for name, kind in group.arguments.items()
    ]
    read = ReadRootOne(target=_name(target), by=groups, scope=scope)
    return field(read, description, arguments=arguments, deprecation_reason=deprecation_reason)


def query_connection(
    target: type | str,
    *,
    scope: Scope,
    filter: type | None = None,
    sort: Sort | None = None,
    default_sort: tuple[str, SortDirection] | None = None,
    order_by: OrderBy | None = None,
    descending: bool = False,
    description: str | None = None,
    deprecation_reason: str | None = None,
) -> Any:
    """A page of all rows the caller may see."""
    chosen = sort_of(order_by, descending, sort, default_sort)
    read = ReadConnection(target=_name(target), sort=chosen, filter=filter, scope=scope)
    return field(
        read, description, arguments=page_arguments(filter, chosen), deprecation_reason=deprecation_reason
    )


def query_many(
    target: type | str,
    *,
    scope: Scope,
    source: Callable[[Any], Any] | None = None,
    arguments: Mapping[str, Any] | None = None,
    where: Callable[[Any, Any], Any] | None = None,
    order_by: OrderBy | None = None,
    visible: bool = True,
    size: int = 20,
    limit: Callable[[Any], Any] | None = None,
    description: str | None = None,
    deprecation_reason: str | None = None,
) -> Any:
    """A list without pages. `source(arguments)` makes the select of its rows (default: the type's table).

    Bound arguments are attributes, None when not given. `limit(arguments)` is how many of the
    rows that the caller may see are shown at most, `size` how many to expect. `visible=False` is only for a
    source that holds nothing of any caller's, or that names the predicate itself.
    """
    offered = dict(arguments or {})
    made = [argument(name, _annotation(kind)) for name, kind in offered.items()]
    read = ReadRootMany(
        target=_name(target),
        source=source,
        arguments=offered,
        order_by=order_by,
        condition=where,
        visible=visible,
        size=size,
        limit=limit,
        scope=scope,
    )
    return field(read, description, arguments=made, deprecation_reason=deprecation_reason)


def query_expression(
    of: Callable[[], Any], *, scope: Scope | None = None, description: str | None = None
) -> Any:
    """One scalar: `of()` is SQL without a row."""
    return field(ReadRootExpression(of=of, scope=scope), description)


class NodeQueries:
    """`node` and `nodes`, over every type with a global id."""

    node: Node | None = field(
        ReadNode(),
        "Whatever has this global id, or null when nothing you may see has it.",
        arguments=[argument("id", strawberry.ID)],
    )
    nodes: list[Node | None] = field(
        ReadNode(many=True),
        "The same for up to 100 ids, in their order, with null where there is nothing.",
        arguments=[argument("ids", list[strawberry.ID])],
    )


NodeQueries = strawberry.type(NodeQueries)  # type: ignore[misc] # decorated here, so that the fields read as others do


def mutation(
    *, scope: Scope, description: str | None = None, deprecation_reason: str | None = None
) -> Callable[[Callable[..., Any]], Any]:
    """A mutation: an async function `(info, …) -> payload` that the executor calls with converted arguments.

    What it returns is a `value_type`; entities in it are `ref(Type, id)`.
    `domain.errors.Refused` becomes the payload's `user_errors`.
    """

    def declare(function: Callable[..., Any]) -> Any:
        return _call(function, scope, description, deprecation_reason, None)

    return declare


def subscription(
    item: type | str,
    *,
    scope: Scope,
    description: str | None = None,
    deprecation_reason: str | None = None,
) -> Callable[[Callable[..., Any]], Any]:
    """A subscription to `item`, a planned type: the function `(info, …)` describes where its keys come from.

    The live package runs that description; each key it yields is rendered by a plan.
    """

    def declare(function: Callable[..., Any]) -> Any:
        return _call(function, scope, description, deprecation_reason, item)

    return declare


def _call(
    function: Callable[..., Any],
    scope: Scope,
    description: str | None,
    deprecation_reason: str | None,
    item: type | str | None,
) -> PlannedField:
    parameters = frozenset(inspect.signature(function).parameters)
    call = Call(function=function, parameters=parameters, scope=scope)
    made = PlannedField(
        python_name=function.__name__,
        description=with_scope(description or inspect.getdoc(function), call),
        deprecation_reason=deprecation_reason,
        metadata={PLAN: call},
        is_subscription=item is not None,
    )
    made(cast("Any", StrawberryResolver(function)))
    if item is not None:
        made.type_annotation = StrawberryAnnotation(item, namespace=vars(inspect.getmodule(function)))
    return made


def root(name: str, *parts: type | ModuleType, description: str | None = None) -> type:
    """One root type, of the fields that classes declare and the mutations or subscriptions of modules."""
    namespace: dict[str, Any] = {}
    bases = []
    for part in parts:
        if isinstance(part, type):
            declared = part if hasattr(part, "__strawberry_definition__") else strawberry.type(part)
            bases.append(declared)
            continue
        for member_name, member in vars(part).items():
            if isinstance(member, PlannedField):
                if member_name in namespace:
                    raise ValueError(f"{part.__name__} declares {member_name} a second time")
                namespace[member_name] = member
    return strawberry.type(type(name, tuple(bases), namespace), name=name, description=description)


def _annotation(kind: Any) -> Any:
    return kind.annotation if isinstance(kind, GlobalId) else kind


def _name(target: type | str) -> str:
    return target if isinstance(target, str) else target.__name__
