"""Operations made at random from the schema and from what is stored: the same for the same seed."""

from __future__ import annotations

import json
import random
import re
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
from schema.plan.roots import GlobalId
from tests.reads.facts import HARD_TEXTS, Facts
from tests.reads.oracle import cursor

DEPTH = 4


class Name(str):
    """A value of an enum: written without quotes."""

    __slots__ = ()


def literal(value: Any) -> str:
    """A value as GraphQL writes it."""
    match value:
        case Name():
            return str(value)
        case dict():
            return "{" + ", ".join(f"{name}: {literal(member)}" for name, member in value.items()) + "}"
        case list():
            return f"[{', '.join(map(literal, value))}]"
    return json.dumps(value)


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
    """`given` is what the functions of its root fields return: an entity, or a payload with entities in it."""

    roots: tuple[Selected, ...]
    kind: str = "query"
    given: Any = None

    def text_and_variables(self) -> tuple[str, dict[str, Any]]:
        fragments: list[str] = []
        used: list[Variable] = []
        body = _written(self.roots, fragments, used)
        variables = {each.name: each for each in used}.values()  # what is merged is written twice
        declared = ", ".join(f"${each.name}: {each.type}" for each in variables)
        head = f"{self.kind}({declared})" if declared else self.kind
        text = "\n".join([f"{head} {{ {body} }}", *fragments])
        return text, {each.name: each.value for each in variables}

    def smaller(self) -> list[Operation]:
        """The same with one thing left out, the largest first."""
        return [replace(self, roots=roots) for roots in _without_one(self.roots)]


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
                arguments = self._arguments(self._one(declared, read), variables)
            case ReadConnection():
                return self._connection(f"Query.{name}", name, declared, read, DEPTH, aliased=True)
            case ReadRootMany() if name == "availability":
                skus = [row["sku"] for row in self.chance.sample(self.facts.tables["product"], 3)]
                channel = f"chn_{self.chance.choice(self.facts.tables['channel'])['id']}"
                sent = [("skus", "[String!]!", skus), ("channel", "ID!", channel)]
                arguments = self._arguments(sent, variables)
            case ReadRootMany():
                arguments = self._arguments(self._log(), variables)
            case ReadRootExpression():
                return Selected(f"{self._name()}: {name}")
        children = self._selection(get_named_type(declared.type), DEPTH)
        return Selected(f"{self._name()}: {name}{arguments}", children, variables=tuple(variables))

    def _one(self, declared: GraphQLField, read: ReadRootOne) -> list[tuple[str, str, Any]]:
        """One of the ways to find a row; now and then one that finds nothing."""
        group = self.chance.choice(list(read.by))
        entities = list(self.facts.entities[read.target].values())
        if not entities or "id" in group.arguments:
            return [("id", "ID!" if len(read.by) == 1 else "ID", self._id(read.target))]
        found, other = self.chance.choice(entities), self.chance.choice(entities)
        sent = []
        for python_name, kind in group.arguments.items():
            row = (other if self.chance.random() < 0.1 else found).row
            name = re.sub("_(.)", lambda match: match[1].upper(), python_name)
            type_ = str(declared.args[name].type)
            if isinstance(kind, GlobalId):
                sent.append((name, type_, f"{kind.prefix}_{row[python_name]}"))
            elif kind is str:
                text = self.chance.choice(HARD_TEXTS) if self.chance.random() < 0.1 else row[python_name]
                sent.append((name, type_, text))
            else:
                sent.append((name, type_, self._external_id()))
        return sent

    def _external_id(self) -> dict[str, Any]:
        row = self.chance.choice(self.facts.tables["external_id"])
        called: dict[str, Any] = {"system": row["system"], "id": row["external_id"]}
        if row["channel_id"] is not None and self.chance.random() < 0.5:
            called["channelId"] = f"chn_{row['channel_id']}"
        return called

    def _log(self) -> list[tuple[str, str, Any]]:
        """Arguments of the root field `events`."""
        sent: list[tuple[str, str, Any]] = [("first", "Int", self.chance.choice([None, 0, 1, 7, -3]))]
        events = self.facts.entities["OrderEvent"]
        if self.chance.random() < 0.6:
            at = events[self.chance.choice(self.facts.logged)].values["cursor"]
            sent.append(("after", "String", at))
        if self.chance.random() < 0.4:
            types = [Name(each.row["type"]) for each in self.chance.sample(list(events.values()), 3)]
            sent.append(("types", "[EventType!]", types))
        return sent

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
                shown.append(f"{name}: {literal(value)}")
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
            sent.append(("sort", str(declared.args["sort"].type), Name(sort)))
        if "direction" in declared.args and self.chance.random() < 0.4:
            direction = self.chance.choice((Name("ASC"), Name("DESC"), None))
            sent.append(("direction", "SortDirection", direction))
        if self.chance.random() < 0.1:
            nothing = self.chance.choice(("first", "last", "after", "before", "sort", "filter"))
            if nothing in declared.args and nothing not in (name for name, _, _ in sent):
                sort = read.sort.default if nothing == "sort" else sort
                literals.append(f"{nothing}: null")
        if "filter" in declared.args and self.chance.random() < 0.6:
            literals = [each for each in literals if not each.startswith("filter")]
            literals.append(self._filter(declared, variables))
        ranks = self.facts.ranks[place, read.target, sort]
        if ranks and self.chance.random() < 0.3:
            at = cursor(sort, self.chance.choice(list(ranks.values()))[1])
            sent.append((self.chance.choice(("after", "before")), "String", at))
            literals = [each for each in literals if each[:5] not in ("after", "befor")]
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
        if self.chance.random() < 0.25:
            chosen = {name: self.chance.choice(self.facts.choices[type_.name, name]).value for name in
                      self.chance.sample(names, min(len(names), 2))}  # fmt: skip
            absent = self.chance.choice(list(type_.fields))
            whole = Variable(self._name("v"), type_.name, {absent: None, **chosen})
            variables.append(whole)
            return f"filter: ${whole.name}"
        parts = []
        for name in self.chance.sample(names, min(len(names), self.chance.choice((1, 1, 2)))):
            choice = self.chance.choice(self.facts.choices[type_.name, name])
            if self.chance.random() < 0.4:
                variable = Variable(self._name("v"), str(type_.fields[name].type), choice.value)
                variables.append(variable)
                parts.append(f"{name}: ${variable.name}")
            else:
                parts.append(f"{name}: {choice.literal}")
        return f"filter: {{{', '.join(parts)}}}"
