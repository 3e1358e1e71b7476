"""The planner: from a document and a caller to a plan, each made once and kept within bounds."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar, cast

import strawberry
from graphql import FieldNode, GraphQLError, GraphQLObjectType, OperationType
from strawberry.exceptions import StrawberryInputCoercionError
from strawberry.types.field import StrawberryField

from domain.access import Principal, VisibilityClass
from schema.plan.arguments import Binder, InputError, Variables
from schema.plan.catalog import Catalog, Partition, Predicate, PrincipalValues, catalog_of, object_type
from schema.plan.collect import Collected, Collector
from schema.plan.converting import Converters
from schema.plan.limits import Limits, definition_of, measure, refusals
from schema.plan.operation import Operation, RequestError, refuse
from schema.plan.plans import (
    CallPlan,
    Cost,
    Entities,
    MutationPlan,
    QueryPlan,
    RootPlan,
    RootValue,
    Selection,
    together,
)
from schema.plan.reading import Call
from schema.plan.select import Compiler
from schema.plan.statements import is_nullable, root_value
from schema.plan.subscriptions import SubscriptionPlan, share_key

LONGEST_KEPT_DOCUMENT = 32_768
"""Longer documents are planned anew each time."""

MOST_KEPT_TEXT = 1_000_000
"""Characters of all documents that are kept: some 60 bytes each, once they are read."""

MOST_KEPT_FIELDS = 40_000
"""Fields of all plans that are kept: some 2 KB each."""

K = TypeVar("K")
V = TypeVar("V")


class _Recent(Generic[K, V]):
    """At most `capacity` entries that weigh at most `most` together; the least recently used go first."""

    def __init__(self, capacity: int, most: int) -> None:
        self._capacity = capacity
        self._most = most
        self._weight = 0
        self._entries: OrderedDict[K, tuple[V, int]] = OrderedDict()

    def get(self, key: K) -> V | None:
        found = self._entries.get(key)
        if found is None:
            return None
        self._entries.move_to_end(key)
        return found[0]

    def put(self, key: K, value: V, weight: int) -> None:
        self._weight += weight - self._entries.pop(key, (None, 0))[1]
        self._entries[key] = value, weight
        while len(self._entries) > self._capacity or (self._weight > self._most and len(self._entries) > 1):
            self._weight -= self._entries.popitem(last=False)[1][1]

    def __len__(self) -> int:
        return len(self._entries)


Plan = QueryPlan | MutationPlan


@dataclass(slots=True)
class Planned:
    """A request that may be executed: its plan and its variables' values."""

    plan: Plan
    values: Variables


class Planner:
    """Plans the operations of one schema.

    `predicate` and `principal_values` are the one place that knows who may see
    which row; `partition` makes bounded callers' pages quick. With `introspection` off,
    `__schema` and `__type` are refused, and no mistake is answered with names that come near it.
    """

    def __init__(
        self,
        schema: strawberry.Schema,
        predicate: Predicate,
        principal_values: PrincipalValues,
        *,
        partition: Partition | None = None,
        limits: Limits | None = None,
        operations: int = 1_000,
        plans: int = 2_000,
        introspection: bool = True,
    ) -> None:
        self.catalog: Catalog = catalog_of(schema)
        self._converters = Converters(self.catalog.strawberry)
        self.principal_values = principal_values
        self.limits = limits or Limits()
        self._predicate = predicate
        self._partition = partition
        self._introspection = introspection
        self._operations: _Recent[tuple[str, str | None], Operation] = _Recent(operations, MOST_KEPT_TEXT)
        self._plans: _Recent[Any, Plan] = _Recent(plans, MOST_KEPT_FIELDS)
        self._streams: _Recent[Any, tuple[CallPlan, Entities, Selection]] = _Recent(plans, MOST_KEPT_FIELDS)

    @property
    def kept_operations(self) -> int:
        """How many operations are kept, for metrics."""
        return len(self._operations)

    @property
    def kept_plans(self) -> int:
        """How many plans are kept, for metrics."""
        return len(self._plans)

    def reading(self, text: str, name: str | None) -> Callable[[], Operation] | None:
        """What reads this operation, in whichever thread; None when it is kept."""
        return None if self._operations.get((text, name)) is not None else partial(self._read, text, name)

    def _read(self, text: str, name: str | None) -> Operation:
        return Operation(self.catalog.schema, text, name, self.limits, suggestions=self._introspection)

    def operation(self, text: str, name: str | None, made: Operation | None = None) -> Operation:
        """The operation, parsed and validated; raises `RequestError`. `made` is what `reading` has read."""
        known = self._operations.get((text, name))
        if known is None:
            known = made or self._read(text, name)
            if len(text) <= LONGEST_KEPT_DOCUMENT:
                self._operations.put((text, name), known, len(text))
        return known

    def making(
        self, operation: Operation, raw: Mapping[str, Any], caller: VisibilityClass
    ) -> Callable[[], Plan] | None:
        """What makes this request's plan, in whichever thread; None when it is kept. Raises `RequestError`."""
        values = operation.coerce(raw)
        shape, inline = operation.shape(values)
        if self._plans.get((operation, caller, shape, inline)) is not None:
            return None
        return partial(self._make, operation, values, caller, inline=inline)

    def plan(
        self,
        operation: Operation,
        raw: Mapping[str, Any],
        caller: VisibilityClass,
        made: Plan | None = None,
    ) -> Planned:
        """The plan for this shape of variables and class of caller; raises `RequestError`.

        `made` is what `making` has made of them.
        """
        values = operation.coerce(raw)
        shape, inline = operation.shape(values)
        key = (operation, caller, shape, inline)
        plan = self._plans.get(key)
        if plan is None:
            plan = made or self._make(operation, values, caller, inline=inline)
            if len(operation.text) <= LONGEST_KEPT_DOCUMENT and not _has_failure(plan):
                self._plans.put(key, plan, operation.fields)
        return Planned(plan, values)

    def _make(
        self, operation: Operation, values: Variables, caller: VisibilityClass, *, inline: bool
    ) -> Plan:
        cost = self.cost(operation, values, inline=inline)
        collector = Collector(self.catalog.schema, operation.fragments, values)
        type_ = cast("GraphQLObjectType", self.catalog.schema.get_root_type(operation.kind))
        collected = collector.fields(type_, [operation.definition.selection_set])
        if operation.kind is OperationType.QUERY:
            roots, read = [], []
            for place, (key, nodes) in enumerate(collected.items()):
                root, value = self._root(
                    type_, key, nodes, f"r{place}_", collector, values, caller, inline=inline
                )
                roots.append(root)
                if value is not None:
                    root.alone = together([value])
                    read.append(value)
            alone = [root.alone for root in roots if root.alone is not None]
            statement = together(read) if len(read) > 1 else next(iter(alone), None)
            return QueryPlan(operation, tuple(roots), cost, statement)
        if operation.kind is OperationType.SUBSCRIPTION:
            raise refuse("Subscriptions need a transport that streams.", "BAD_REQUEST")
        entities = self.entities(collector, values, caller, inline=inline)
        calls = self._calls(type_, collected, caller)
        for call in calls:
            if isinstance(call, CallPlan):
                try:
                    entities.prepare(call.field.type, call.nodes)
                except InputError as error:
                    raise RequestError(input_error(error, call.key, call.nodes)) from None
        return MutationPlan(operation, calls, cost, entities)

    def mutations_of(self, operation: Operation, raw: Mapping[str, Any]) -> list[str]:
        """The names of the mutations that this request would run, one after the other."""
        if operation.kind is not OperationType.MUTATION:
            return []
        collector = Collector(self.catalog.schema, operation.fragments, operation.coerce(raw))
        type_ = cast("GraphQLObjectType", self.catalog.schema.mutation_type)
        collected = collector.fields(type_, [operation.definition.selection_set])
        names = [nodes[0].name.value for nodes in collected.values()]
        return [name for name in names if name in type_.fields]

    def plan_subscription(
        self, text: str, name: str | None, variables: Mapping[str, Any], principal: Principal
    ) -> SubscriptionPlan:
        """A subscription for this caller; raises `RequestError` for whatever cannot be subscribed to."""
        operation = self.operation(text, name)
        if operation.kind is not OperationType.SUBSCRIPTION:
            raise refuse("This is not a subscription.", "BAD_REQUEST")
        caller = VisibilityClass.of(principal)
        values = operation.coerce(variables)
        shape, inline = operation.shape(values)
        kept = self._streams.get((operation, caller, shape, inline))
        if kept is None:
            kept = self._stream(operation, values, caller, inline=inline)
            if len(operation.text) <= LONGEST_KEPT_DOCUMENT:
                self._streams.put((operation, caller, shape, inline), kept, operation.fields)
        call, entities, selection = kept
        try:
            statement = entities.stream(selection, call.nodes)
            shared = share_key(call, statement, values, self.values_of(principal))
            arguments = self.converted(call, call.arguments(values))
        except InputError as error:
            raise RequestError(input_error(error, call.key, call.nodes)) from None
        except StrawberryInputCoercionError as error:
            raise RequestError(input_error(InputError(str(error)), call.key, call.nodes)) from error
        return SubscriptionPlan(
            call, arguments, shared, selection, statement, entities, values, self.principal_values
        )

    def _stream(
        self, operation: Operation, values: Variables, caller: VisibilityClass, *, inline: bool
    ) -> tuple[CallPlan, Entities, Selection]:
        self.cost(operation, values, inline=inline)
        collector = Collector(self.catalog.schema, operation.fragments, values)
        type_ = cast("GraphQLObjectType", self.catalog.schema.subscription_type)
        collected = collector.fields(type_, [operation.definition.selection_set])
        if len(collected) != 1:
            raise refuse("A subscription selects exactly one root field.", "BAD_REQUEST")
        [(key, nodes)] = collected.items()
        call = self.call(type_, key, nodes, caller)
        item = self.catalog.by_graphql.get(object_type(call.field.type).name)
        if item is None:
            raise TypeError(f"{call.name} streams {call.field.type}, which is no planned type")
        entities = self.entities(collector, values, caller, inline=inline)
        return call, entities, (item.name, tuple(id(node) for node in nodes))

    def cost(self, operation: Operation, values: Variables, *, inline: bool) -> Cost:
        """What the operation costs with these page sizes; raises `RequestError` beyond the limit."""
        measured = measure(
            self.catalog.schema,
            operation.definition,
            operation.fragments,
            operation.page_size(values, inline=inline),
        )
        errors = refusals(measured, self.limits, ("cost",))
        if errors:
            raise RequestError(*errors)
        return Cost(measured.cost, self.limits.cost, measured.depth)

    def entities(
        self, collector: Collector, values: Variables, caller: VisibilityClass, *, inline: bool
    ) -> Entities:
        return Entities(self.catalog, self._predicate, caller, collector, values, inline=inline)

    def _root(
        self,
        type_: GraphQLObjectType,
        key: str,
        nodes: list[FieldNode],
        prefix: str,
        collector: Collector,
        values: Variables,
        caller: VisibilityClass,
        *,
        inline: bool,
    ) -> tuple[RootPlan, RootValue | None]:
        """How a root field is answered, and its SQL if it is read."""
        special = self._special(type_, key, nodes)
        if special is not None:
            return special, None
        name = nodes[0].name.value
        definition = type_.fields[name]
        root = RootPlan(key, f"{type_.name}.{name}", is_nullable(definition.type))
        binder = Binder(prefix, inline=inline)
        compiler = Compiler(
            self.catalog, self._predicate, caller, collector, values, binder, partition=self._partition
        )
        root.broken = compiler.broken
        try:
            return root, RootValue(root_value(compiler, definition, nodes), binder.parameters)
        except InputError as error:
            root.failure = input_error(error, key, nodes)
            return root, None

    def _special(self, type_: GraphQLObjectType, key: str, nodes: list[FieldNode]) -> RootPlan | None:
        name = nodes[0].name.value
        if name == "__typename":
            return RootPlan(key, name, nullable=False, constant=f'"{type_.name}"')
        if not name.startswith("__"):
            return None
        if not self._introspection:
            raise refuse("Introspection is switched off here.", "INTROSPECTION_DISABLED")
        return RootPlan(key, name, nullable=True, introspection=nodes)

    def _calls(
        self, type_: GraphQLObjectType, collected: Collected, caller: VisibilityClass
    ) -> tuple[CallPlan | RootPlan, ...]:
        calls: list[CallPlan | RootPlan] = []
        for key, nodes in collected.items():
            special = self._special(type_, key, nodes)
            calls.append(special if special is not None else self.call(type_, key, nodes, caller))
        return tuple(calls)

    def call(
        self, type_: GraphQLObjectType, key: str, nodes: list[FieldNode], caller: VisibilityClass
    ) -> CallPlan:
        name = nodes[0].name.value
        definition = type_.fields[name]
        read = self.catalog.read(definition)
        if not isinstance(read, Call):
            raise TypeError(f"{type_.name}.{name} is not declared as a function to call")
        if read.scope is not None and read.scope not in caller.scopes:
            raise refuse(f"{name} needs the scope {read.scope.value}.", "FORBIDDEN")
        return CallPlan(key, f"{type_.name}.{name}", definition, nodes, read)

    def converted(self, call: CallPlan, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments as the declared function takes them: input classes, enums, Python names."""
        definition = cast("StrawberryField", definition_of(call.field))
        return self._converters.converted(definition.arguments, arguments)

    def values_of(self, principal: Principal) -> Mapping[str, Any]:
        return self.principal_values(principal)


def _has_failure(plan: Plan) -> bool:
    """A plan with a refused argument is this request's alone: its shape says nothing of the value."""
    return isinstance(plan, QueryPlan) and any(root.failure is not None for root in plan.roots)


def input_error(error: InputError, key: str, nodes: list[FieldNode] | None = None) -> GraphQLError:
    return GraphQLError(str(error), nodes=nodes, path=[key], extensions={"code": "BAD_USER_INPUT"})
