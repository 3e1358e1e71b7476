"""Which fields a selection amounts to: GraphQL's CollectFields, with directives decided while planning."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from graphql import (
    BooleanValueNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLObjectType,
    GraphQLSchema,
    InlineFragmentNode,
    SelectionSetNode,
    VariableNode,
    is_abstract_type,
)

Collected = dict[str, list[FieldNode]]
"""Response name to the field nodes that are merged under it, in the order of the response."""


class Collector:
    """Collects fields of one operation for one set of directive values."""

    def __init__(
        self,
        schema: GraphQLSchema,
        fragments: Mapping[str, FragmentDefinitionNode],
        variables: Mapping[str, Any],
    ) -> None:
        self._schema = schema
        self._fragments = fragments
        self._variables = variables

    def fields(self, type_: GraphQLObjectType, selected: Iterable[SelectionSetNode]) -> Collected:
        found: Collected = {}
        visited: set[str] = set()
        for selection_set in selected:
            self._collect(type_, selection_set, found, visited)
        return found

    def below(self, type_: GraphQLObjectType, nodes: list[FieldNode]) -> Collected:
        """The merged sub-selections of the field nodes that share a response name."""
        return self.fields(type_, selection_sets(nodes))

    def _collect(
        self, type_: GraphQLObjectType, selected: SelectionSetNode, found: Collected, visited: set[str]
    ) -> None:
        for selection in selected.selections:
            if not self._included(selection):
                continue
            match selection:
                case FieldNode():
                    name = selection.alias.value if selection.alias else selection.name.value
                    found.setdefault(name, []).append(selection)
                case InlineFragmentNode():
                    condition = selection.type_condition
                    if condition is None or self._applies(condition.name.value, type_):
                        self._collect(type_, selection.selection_set, found, visited)
                case FragmentSpreadNode():
                    name = selection.name.value
                    if name in visited:
                        continue
                    visited.add(name)
                    fragment = self._fragments[name]
                    if self._applies(fragment.type_condition.name.value, type_):
                        self._collect(type_, fragment.selection_set, found, visited)

    def _applies(self, condition: str, type_: GraphQLObjectType) -> bool:
        if condition == type_.name:
            return True
        named = self._schema.type_map.get(condition)
        return named is not None and is_abstract_type(named) and self._schema.is_sub_type(named, type_)

    def _included(self, selection: Any) -> bool:
        for directive in selection.directives or ():
            if directive.name.value not in ("skip", "include"):
                continue
            node = directive.arguments[0].value
            if isinstance(node, BooleanValueNode):
                value = node.value
            elif isinstance(node, VariableNode):
                value = self._variables.get(node.name.value, False)
            else:
                continue  # validation lets nothing else through
            if value == (directive.name.value == "skip"):
                return False
        return True


def selection_sets(nodes: list[FieldNode]) -> list[SelectionSetNode]:
    return [node.selection_set for node in nodes if node.selection_set is not None]
