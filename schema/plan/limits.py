"""What an operation may be: one walk measures depth, aliases, directives, fields and cost.

A fragment is measured once however often it is spread, so the walk is linear in the
document; Strawberry's own limiters walk every spread and take seconds for a few
hundred bytes. Sums are those of the expanded operation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLCompositeType,
    GraphQLError,
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
    get_named_type,
    is_composite_type,
    is_list_type,
)
from strawberry.types.field import StrawberryField

from schema.plan.reading import Call, Read, ReadConnection, ReadMany, ReadNode, ReadRootMany, read_of

CEILING = 10**9
"""Sums stop growing here: an expanded operation can be exponentially large."""

COUNT_COST = 10
CALL_COST = 10
VALUE_LIST_SIZE = 10


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of one operation; `fields` bounds the text of its statement."""

    tokens: int = 4_000
    depth: int = 15
    aliases: int = 50
    root_fields: int = 20
    directives: int = 50
    cost: int = 10_000
    fields: int = 2_000


@dataclass(slots=True)
class Measure:
    root_fields: int = 0
    depth: int = 0
    aliases: int = 0
    directives: int = 0
    fields: int = 0
    cost: int = 0

    def add(self, other: Measure, times: int = 1) -> None:
        """Take in what stands beside; `times` multiplies only the cost."""
        self.depth = max(self.depth, other.depth)
        self.aliases = min(CEILING, self.aliases + other.aliases)
        self.directives = min(CEILING, self.directives + other.directives)
        self.fields = min(CEILING, self.fields + other.fields)
        self.cost = min(CEILING, self.cost + times * other.cost)


PageSize = Callable[[FieldNode], int]


def definition_of(field: GraphQLField) -> StrawberryField | None:
    found = field.extensions.get("strawberry-definition")
    return found if isinstance(found, StrawberryField) else None


class _Walk:
    def __init__(
        self, schema: GraphQLSchema, fragments: Mapping[str, FragmentDefinitionNode], page_size: PageSize
    ) -> None:
        self._schema = schema
        self._fragments = fragments
        self._page_size = page_size
        self._known: dict[tuple[str, int | None], Measure] = {}
        self._open: set[str] = set()

    def selections(
        self, selected: SelectionSetNode, parent: GraphQLCompositeType | None, page: int | None
    ) -> Measure:
        """`page` is the page size when `parent` is a connection."""
        total = Measure()
        for selection in selected.selections:
            total.directives += len(selection.directives or ())
            match selection:
                case FieldNode():
                    total.add(self._field(selection, parent, page))
                case InlineFragmentNode():
                    named = selection.type_condition
                    inner = self._type(named.name.value) if named else parent
                    total.add(self.selections(selection.selection_set, inner, page))
                case FragmentSpreadNode():
                    total.add(self._fragment(selection.name.value, page))
        return total

    def root_fields(self, selected: SelectionSetNode) -> int:
        """How many fields stand at the root, those of fragments included."""
        count = 0
        for selection in selected.selections:
            match selection:
                case FieldNode():
                    count += 1
                case InlineFragmentNode():
                    count += self.root_fields(selection.selection_set)
                case FragmentSpreadNode():
                    fragment = self._fragments.get(selection.name.value)
                    if fragment is not None and selection.name.value not in self._open:
                        self._open.add(selection.name.value)
                        count += self.root_fields(fragment.selection_set)
        return count

    def _fragment(self, name: str, page: int | None) -> Measure:
        known = self._known.get((name, page))
        if known is not None:
            return known
        fragment = self._fragments.get(name)
        if fragment is None or name in self._open:
            return Measure()  # validation names the mistake
        self._open.add(name)
        measured = self.selections(
            fragment.selection_set, self._type(fragment.type_condition.name.value), page
        )
        self._open.discard(name)
        self._known[name, page] = measured
        return measured

    def _field(self, node: FieldNode, parent: GraphQLCompositeType | None, page: int | None) -> Measure:
        own = Measure(depth=1, aliases=1 if node.alias else 0, fields=1)
        field = (
            parent.fields.get(node.name.value)
            if isinstance(parent, GraphQLObjectType | GraphQLInterfaceType)
            else None
        )
        read = read_of(definition_of(field)) if field else None
        if node.selection_set is None:
            own.cost = COUNT_COST if node.name.value == "totalCount" else 0
            return own
        named = get_named_type(field.type) if field else None
        inner_page = self._page_size(node) if isinstance(read, ReadConnection) else None
        inner = self.selections(
            node.selection_set, named if named is not None and is_composite_type(named) else None, inner_page
        )
        times = self._times(field, read, page)
        own.cost = times * (0 if isinstance(read, ReadConnection) else 1)
        own.cost += CALL_COST if isinstance(read, Call) else 0
        own.add(inner, times)
        own.depth = inner.depth + 1
        return own

    def _times(self, field: GraphQLField | None, read: Read | None, page: int | None) -> int:
        match read:
            case ReadMany(size=size) | ReadRootMany(size=size):
                return size
            case ReadNode(many=True):
                return VALUE_LIST_SIZE
        if field is None or read is not None:
            return 1
        type_ = field.type.of_type if isinstance(field.type, GraphQLNonNull) else field.type
        if not is_list_type(type_):
            return 1
        return VALUE_LIST_SIZE if page is None else page

    def _type(self, name: str) -> GraphQLCompositeType | None:
        found = self._schema.type_map.get(name)
        return found if found is not None and is_composite_type(found) else None


def measure(
    schema: GraphQLSchema,
    operation: OperationDefinitionNode,
    fragments: Mapping[str, FragmentDefinitionNode],
    page_size: PageSize,
) -> Measure:
    """What the operation amounts to when it is expanded; `page_size` tells what a connection asks for."""
    walk = _Walk(schema, fragments, page_size)
    measured = walk.selections(operation.selection_set, schema.get_root_type(operation.operation), None)
    measured.directives += len(operation.directives or ())
    measured.root_fields = walk.root_fields(operation.selection_set)
    return measured


_REFUSALS = {
    "root_fields": "has too many root fields",
    "depth": "is nested too deeply",
    "aliases": "has too many aliases",
    "directives": "has too many directives",
    "fields": "selects too many fields",
    "cost": "costs too much",
}
SHAPE = ("root_fields", "depth", "aliases", "directives", "fields")
"""The bounds that do not depend on variables."""


def refusals(measured: Measure, limits: Limits, bounds: tuple[str, ...]) -> list[GraphQLError]:
    """One error for each of these bounds that the operation passes."""
    found = []
    for name in bounds:
        value, bound = getattr(measured, name), getattr(limits, name)
        if value > bound:
            message = f"The operation {_REFUSALS[name]}: {value}, at most {bound}."
            extensions = {"code": "LIMIT_EXCEEDED", "limit": name, "value": value, "maximum": bound}
            found.append(GraphQLError(message, extensions=extensions))
    return found
