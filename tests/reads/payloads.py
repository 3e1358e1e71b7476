"""Mutations and subscriptions as a reader sees them: what their functions gave, shown through random selections.

The functions do not run. What they would return is made up here, of entities that are stored: as the compiler
gets it, and as the oracle does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

from graphql import (
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    get_named_type,
    is_leaf_type,
    is_required_argument,
)

from domain.access import VisibilityClass
from schema.plan.declare import Ref
from schema.plan.limits import definition_of
from schema.plan.operation import Operation as Parsed
from schema.plan.planner import Plan, Planned, Planner
from schema.plan.plans import CallPlan, MutationPlan
from tests.plan.test_whole_schema import literal_of
from tests.reads.facts import Entity
from tests.reads.operations import DEPTH, Generator, Operation, Selected

LEAVES: dict[str, Any] = {
    "Int": -2147483648,
    "Boolean": True,
    "String": '"ü\\\t\u2028',
    "ID": "x",
    "BigInt": 2**63 - 1,
}


@dataclass(slots=True)
class Given:
    """What a root field's function gives: `payload` to the planner; to the oracle `shown`, with entities in it."""

    payload: Any
    shown: Any


class Answering(Planner):
    """Plans whose functions return what a test has put here instead."""

    given: Mapping[str, Given]

    def plan(
        self, operation: Parsed, raw: Mapping[str, Any], caller: VisibilityClass, made: Plan | None = None
    ) -> Planned:
        planned = super().plan(operation, raw, caller, made)
        if isinstance(planned.plan, MutationPlan):
            calls = tuple(
                self._answering(call) if isinstance(call, CallPlan) else call for call in planned.plan.calls
            )
            planned = replace(planned, plan=replace(planned.plan, calls=calls))
        return planned

    def _answering(self, call: CallPlan) -> CallPlan:
        given = self.given[call.nodes[0].name.value]

        async def function(*arguments: Any, **named: Any) -> Any:
            return given.payload

        return replace(call, call=replace(call.call, function=function))


@dataclass(slots=True)
class PayloadGenerator:
    """Mutations and subscriptions for one caller; `entities` does the selections of what they show."""

    entities: Generator
    _given: dict[str, Given] = field(default_factory=dict)

    def mutation(self) -> Operation:
        """Two root fields at most, each with a payload of some entities, whether the caller sees them or not."""
        mutations = self._permitted(self.entities.catalog.schema.mutation_type)
        names = self.entities.chance.sample(list(mutations), self.entities.chance.choice((1, 1, 2)))
        given, roots = {}, []
        for name in names:
            declared = mutations[name]
            payload = get_named_type(declared.type)
            assert isinstance(payload, GraphQLObjectType)
            given[name] = self._object(payload)
            children = self._selection(payload)
            roots.append(Selected(f"{name}{_arguments(declared)}", children))
        return Operation(tuple(roots), "mutation", given)

    def subscription(self) -> Operation:
        """What one event, or one order, is shown as."""
        subscriptions = self._permitted(self.entities.catalog.schema.subscription_type)
        name = self.entities.chance.choice(list(subscriptions))
        declared = subscriptions[name]
        item = get_named_type(declared.type)
        planned = self.entities.catalog.by_graphql[item.name]
        keyed = [
            entity
            for entity in self.entities.facts.entities[planned.name].values()
            if entity.row[planned.stream_key or planned.key] is not None
        ]
        shown = self.entities.chance.choice(keyed)
        key = shown.row[planned.stream_key or planned.key]
        children = self.entities._selection(item, DEPTH)
        root = Selected(f"{name}{_arguments(declared)}", children)
        return Operation((root,), "subscription", {name: Given(key, shown)})

    def _permitted(self, root: GraphQLObjectType | None) -> dict[str, GraphQLField]:
        assert root is not None
        return {
            name: declared for name, declared in root.fields.items() if self.entities._permitted(declared)
        }

    def _selection(self, type_: GraphQLObjectType) -> tuple[Selected, ...]:
        """Everything of a payload; of entities in it, some."""
        found = [Selected("__typename")]
        for name, declared in type_.fields.items():
            named = get_named_type(declared.type)
            if is_leaf_type(named):
                found.append(Selected(name))
            elif isinstance(named, GraphQLInterfaceType):
                found.append(Selected(name, (Selected("message"),)))
            elif named.name in self.entities.catalog.by_graphql:
                found.append(Selected(name, self.entities._selection(named, DEPTH)))
            else:
                assert isinstance(named, GraphQLObjectType)
                found.append(Selected(name, self._selection(named)))
        return tuple(found)

    def _object(self, type_: GraphQLObjectType) -> Given:
        payload, shown = {}, {"__typename": type_.name}
        for name, declared in type_.fields.items():
            definition = definition_of(declared)
            assert definition is not None
            given = self._value(declared.type)
            payload[definition.python_name], shown[name] = given.payload, given.shown
        return Given(SimpleNamespace(**payload), shown)

    def _value(self, type_: Any) -> Given:
        if isinstance(type_, GraphQLNonNull):
            return self._value(type_.of_type)
        if isinstance(type_, GraphQLList):
            if isinstance(get_named_type(type_), GraphQLInterfaceType):
                return Given([], [])
            items = [self._value(type_.of_type) for _ in range(self.entities.chance.randrange(4))]
            return Given([item.payload for item in items], [item.shown for item in items])
        if type_.name in self.entities.catalog.by_graphql:
            return self._entity(self.entities.catalog.by_graphql[type_.name].name)
        if isinstance(type_, GraphQLObjectType):
            return self._object(type_)
        value = LEAVES.get(type_.name)
        return Given(value, value)

    def _entity(self, python_name: str) -> Given:
        stored = list(self.entities.facts.entities[python_name].values())
        if not stored or self.entities.chance.random() < 0.1:
            return Given(None, None)
        entity: Entity = self.entities.chance.choice(stored)
        return Given(Ref(python_name, entity.key), entity)


def _arguments(declared: GraphQLField) -> str:
    """The arguments that must be there, with any values: nobody looks at them."""
    sent = [
        f"{name}: {literal_of(argument.type, None)}"
        for name, argument in declared.args.items()
        if is_required_argument(argument)
    ]
    return f"({', '.join(sent)})" if sent else ""
