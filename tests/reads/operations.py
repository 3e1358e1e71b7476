"""Operations made at random from the schema and from what is stored: the same for the same seed."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field, replace
from typing import Any, cast

from graphql import (
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLObjectType,
    get_named_type,
    is_leaf_type,
)

from domain.access import Scope
from schema.plan.catalog import Catalog
from schema.plan.reading import (
    ReadConnection,
    ReadMany,
    ReadNode,
    ReadRootExpression,
    ReadRootMany,
    ReadRootOne,
)
from tests.reads.facts import Facts
from tests.reads.oracle import cursor

DEPTH = 4


@dataclass(frozen=True, slots=True)
class Variable:
    name: str
    type: str
    value: Any


@dataclass(frozen=True, slots=True)
class Selected:
    """A field, or with a type an inline fragment (`spread`: a named one)."""

    text: str  # `alias: name(arguments) @directives`, or "" for a fragment
    children: tuple[Selected, ...] | None = None
    type: str | None = None
    spread: bool = False
    variables: tuple[Variable, ...] = ()


@dataclass(frozen=True, slots=True)
class Operation:
    roots: tuple[Selected, ...]

    def text_and_variables(self) -> tuple[str, dict[str, Any]]:
        fragments: list[str] = []
        used: list[Variable] = []
        body = _written(self.roots, fragments, used)
        variables = {each.name: each for each in used}.values()  # what is merged is written twice
        declared = ", ".join(f"${each.name}: {each.type}" for each in variables)
        head = f"query({declared})" if declared else "query"
        text = "\n".join([f"{head} {{ {body} }}", *fragments])
        return text, {each.name: each.value for each in variables}

    def smaller(self) -> list[Operation]:
        """The same with one thing left out, the largest first."""
        return [Operation(roots) for roots in _without_one(self.roots)]


def _written(selected: tuple[Selected, ...], fragments: list[str], variables: list[Variable]) -> str:
    parts = []
    for each in selected:
        variables.extend(each.variables)
        inner = "" if each.children is None else f" {{ {_written(each.children, fragments, variables)} }}"
        if each.type is None:
            parts.append(each.text + inner)
        elif each.spread:
            name = f"F{len(fragments)}"
            fragments.append(f"fragment {name} on {each.type}{inner}")
            parts.append(f"...{name}{each.text}")
        else:
            parts.append(f"... on {each.type}{each.text}{inner}")
    return " ".join(parts)


def _without_one(selected: tuple[Selected, ...]) -> list[tuple[Selected, ...]]:
    found = []
    if len(selected) > 1:
        found += [selected[:place] + selected[place + 1 :] for place in range(len(selected))]
    for place, each in enumerate(selected):
        for children in _without_one(each.children or ()):
            found.append((*selected[:place], replace(each, children=children), *selected[place + 1 :]))
    return found


@dataclass(slots=True)
class Generator:
    catalog: Catalog
    facts: Facts
    scopes: frozenset[Scope]
    chance: random.Random
    _count: int = field(default=0, init=False)

    def operation(self) -> Operation:
        query = self.catalog.schema.query_type
        assert query is not None
        names = [name for name, root in query.fields.items() if self._permitted(root)]
        roots: list[Selected] = []
        for _ in range(self.chance.choice((1, 1, 1, 2, 3))):
            roots.append(self._root(self.chance.choice(names)))
        if self.chance.random() < 0.1:
            roots.append(Selected("__typename"))
        return Operation(tuple(roots))

    def _permitted(self, declared: GraphQLField) -> bool:
        read = self.catalog.read(declared)
        return read is None or read.scope is None or read.scope in self.scopes

    def _name(self, prefix: str = "a") -> str:
        self._count += 1
        return f"{prefix}{self._count}"

    def _root(self, name: str) -> Selected:
        query = self.catalog.schema.query_type
        assert query is not None
        declared = query.fields[name]
        read = self.catalog.read(declared)
        variables: list[Variable] = []
        arguments = ""
        match read:
            case ReadNode(many=False):
                arguments = self._arguments([("id", "ID!", self._id(None))], variables)
            case ReadNode():
                ids = [self._id(None) for _ in range(self.chance.randrange(5))]
                arguments = self._arguments([("ids", "[ID!]!", ids)], variables)
            case ReadRootOne():
                arguments = self._arguments([("id", "ID!", self._id(read.target))], variables)
            case ReadConnection():
                return self._connection(f"Query.{name}", name, declared, read, DEPTH, aliased=True)
            case ReadRootMany() if name == "availability":
                skus = [row["sku"] for row in self.chance.sample(self.facts.tables["product"], 3)]
                channel = f"chn_{self.chance.choice(self.facts.tables['channel'])['id']}"
                sent = [("skus", "[String!]!", skus), ("channel", "ID!", channel)]
                arguments = self._arguments(sent, variables)
            case ReadRootMany():
                first = self.chance.choice([0, 1, 7])
                arguments = self._arguments([("first", "Int", first)], variables)
            case ReadRootExpression():
                return Selected(f"{self._name()}: {name}")
        children = self._selection(get_named_type(declared.type), DEPTH)
        return Selected(f"{self._name()}: {name}{arguments}", children, variables=tuple(variables))

    def _id(self, python_name: str | None) -> str:
        if python_name is None:
            permitted = [name for prefix, name in self.catalog.nodes.items() if self._readable(name)]
            python_name = self.chance.choice(permitted)
        prefix = self.catalog.types[python_name][1].node
        keys = list(self.facts.entities[python_name])
        if not keys or self.chance.random() < 0.05:
            return f"{prefix}_00000000-0000-7000-8000-000000000000"
        return f"{prefix}_{self.chance.choice(keys)}"

    def _readable(self, python_name: str) -> bool:
        return self.catalog.node_scopes[python_name] in self.scopes

    def _arguments(self, sent: list[tuple[str, str, Any]], variables: list[Variable]) -> str:
        shown = []
        for name, type_, value in sent:
            if self.chance.random() < 0.4:
                variable = Variable(self._name("v"), type_, value)
                variables.append(variable)
                shown.append(f"{name}: ${variable.name}")
            else:
                shown.append(f"{name}: {json.dumps(value)}")
        return f"({', '.join(shown)})" if shown else ""

    def _selection(self, type_: Any, depth: int, *, aliased: bool = False) -> tuple[Selected, ...]:
        if isinstance(type_, GraphQLInterfaceType):
            return self._of_interface(type_, depth)
        assert isinstance(type_, GraphQLObjectType)
        names = [name for name, declared in type_.fields.items() if self._permitted(declared)]
        chosen = self.chance.sample(names, min(len(names), self.chance.randint(1, 6)))
        fields = [self._field(type_, name, depth, aliased=aliased) for name in chosen]
        found = [each for each in fields if each is not None]
        if self.chance.random() < 0.15 or not found:
            found.append(Selected(f"{self._name()}: __typename" if aliased else "__typename"))
        if self.chance.random() < 0.15 and found:
            place = self.chance.randrange(len(found))
            inner = tuple(found[place:])
            spread = self.chance.random() < 0.5
            on = type_.name
            if "id" in type_.fields and all(each.text == "id" for each in inner):
                on = "Node"
            found[place:] = [Selected("", inner, on, spread)]
        if self.chance.random() < 0.1 and found:
            found.append(self.chance.choice(found))  # merged with its equal
        return tuple(found)

    def _of_interface(self, type_: GraphQLInterfaceType, depth: int) -> tuple[Selected, ...]:
        found = [Selected("__typename"), Selected("id")]
        possible = [
            each
            for each in self.catalog.schema.get_possible_types(type_)
            if self._readable(self.catalog.by_graphql[each.name].name)
        ]
        for each in self.chance.sample(possible, min(len(possible), self.chance.randint(1, 6))):
            found.append(Selected("", self._selection(each, depth - 1, aliased=True), each.name))
        return tuple(found)

    def _field(self, type_: GraphQLObjectType, name: str, depth: int, *, aliased: bool) -> Selected | None:
        declared = type_.fields[name]
        named = get_named_type(declared.type)
        read = self.catalog.read(declared)
        directive, variables = self._directive_parts()
        shown = f"{self._name()}: {name}" if aliased or directive or self.chance.random() < 0.2 else name
        if is_leaf_type(named):
            return Selected(f"{shown}{directive}", variables=variables)
        if depth <= 0 and isinstance(named, GraphQLObjectType) and named.name != "Money":
            return None
        if isinstance(read, ReadConnection):
            return self._connection(f"{type_.name}.{name}", name, declared, read, depth - 1, aliased=True)
        if isinstance(read, ReadMany) and depth <= 1:
            return None
        children = self._selection(named, depth - 1, aliased=aliased)
        # Equal names merge: what is below an unaliased field must then not differ in arguments, and does not.
        return Selected(f"{shown}{directive}", children, variables=variables)

    def _directive_parts(self) -> tuple[str, tuple[Variable, ...]]:
        if self.chance.random() > 0.06:
            return "", ()
        name = self.chance.choice(("skip", "include"))
        value = self.chance.random() < 0.5
        if self.chance.random() < 0.5:
            return f" @{name}(if: {json.dumps(value)})", ()
        variable = Variable(self._name("v"), "Boolean!", value)
        return f" @{name}(if: ${variable.name})", (variable,)

    def _connection(
        self,
        place: str,
        name: str,
        declared: GraphQLField,
        read: ReadConnection,
        depth: int,
        *,
        aliased: bool,
    ) -> Selected:
        variables: list[Variable] = []
        sent: list[tuple[str, str, Any]] = [
            (self.chance.choice(("first", "first", "last")), "Int", self.chance.choice((0, 1, 2, 3, 5)))
        ]
        literals = []
        sort = read.sort.default
        if "sort" in declared.args and self.chance.random() < 0.6:
            sort = self.chance.choice(list(read.sort.keys))
            literals.append(f"sort: {sort}")
        if "direction" in declared.args and self.chance.random() < 0.4:
            literals.append(f"direction: {self.chance.choice(('ASC', 'DESC'))}")
        if "filter" in declared.args and self.chance.random() < 0.6:
            literals.append(self._filter(declared, variables))
        ranks = self.facts.ranks[place, read.target, sort]
        if ranks and self.chance.random() < 0.3:
            at = cursor(sort, self.chance.choice(list(ranks.values()))[1])
            sent.append((self.chance.choice(("after", "before")), "String", at))
        arguments = ", ".join([self._arguments(sent, variables)[1:-1], *literals])
        page = cast("GraphQLObjectType", get_named_type(declared.type))
        node = get_named_type(page.fields["nodes"].type)
        children: list[Selected] = []
        for part in self.chance.sample(
            ("nodes", "edges", "pageInfo", "totalCount"), self.chance.randint(1, 4)
        ):
            match part:
                case "nodes":
                    children.append(Selected("nodes", self._selection(node, depth - 1)))
                case "edges":
                    inner = Selected("node", self._selection(node, depth - 1))
                    children.append(Selected("edges", (Selected("cursor"), inner)))
                case "pageInfo":
                    shown = ("hasNextPage", "hasPreviousPage", "startCursor", "endCursor")
                    children.append(Selected("pageInfo", tuple(Selected(each) for each in shown)))
                case _:
                    children.append(Selected("totalCount"))
        shown_name = f"{self._name()}: {name}"
        return Selected(f"{shown_name}({arguments})", tuple(children), variables=tuple(variables))

    def _filter(self, declared: GraphQLField, variables: list[Variable]) -> str:
        type_ = cast("GraphQLInputObjectType", get_named_type(declared.args["filter"].type))
        names = [name for name in type_.fields if self.facts.choices[type_.name, name]]
        parts = []
        for name in self.chance.sample(names, self.chance.choice((1, 1, 2))):
            choice = self.chance.choice(self.facts.choices[type_.name, name])
            if self.chance.random() < 0.4:
                variable = Variable(self._name("v"), str(type_.fields[name].type), choice.value)
                variables.append(variable)
                parts.append(f"{name}: ${variable.name}")
            else:
                parts.append(f"{name}: {choice.literal}")
        return f"filter: {{{', '.join(parts)}}}"
