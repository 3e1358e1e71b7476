"""What is refused of a document before it is validated: what validation would take too long over.

Validation goes through the whole document some thirty times and compares each field with each other of its name in
one place. Here everything is counted once, spreads of fragments expanded, up to a bound.
"""

from __future__ import annotations

from collections.abc import Mapping

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    InlineFragmentNode,
    ListValueNode,
    Node,
    ObjectValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
)

MAX_LENGTH = 65_536
"""Characters of a document: reading a text is work for each of them. What is longer goes into variables."""
MAX_VALUES = 1_000
"""Values spelt out in a document; lists of ids belong into variables."""
MAX_VARIABLES = 200
"""Of all operations together."""
MAX_FRAGMENTS = 100
MAX_REPEATED = 50
"""How often one place may name the same field, fragments expanded."""
MAX_COMPARED = 5_000
"""Pairs of fields of one name in one place."""
MAX_STEPS = 20_000
"""Fields and fragments, each spread expanded, of all operations and fragments together."""


def too_long(text: str) -> list[GraphQLError]:
    return _refusals("length", len(text), MAX_LENGTH, "is too long, in characters")


def screened(document: DocumentNode) -> list[GraphQLError]:
    """One error for what is too much, or none."""
    roots = [
        node
        for node in document.definitions
        if isinstance(node, OperationDefinitionNode | FragmentDefinitionNode)
    ]
    fragments = {node.name.value: node for node in roots if isinstance(node, FragmentDefinitionNode)}
    variables = sum(
        len(node.variable_definitions or ()) for node in roots if isinstance(node, OperationDefinitionNode)
    )
    count = _Count(fragments)
    for root in roots:
        count.values_of(root)
        count.place([root.selection_set])
    return (
        _refusals("fragments", len(fragments), MAX_FRAGMENTS, "has too many fragments")
        or _refusals("variables", variables, MAX_VARIABLES, "has too many variables")
        or _refusals("values", count.values, MAX_VALUES, "spells out too many values")
        or _refusals("steps", count.steps, MAX_STEPS, "expands to too many fields")
        or _refusals("repetitions", count.repeated, MAX_REPEATED, "repeats a field too often")
        or _refusals("comparisons", count.compared, MAX_COMPARED, "repeats fields too often, in pairs")
    )


class _Count:
    """Counts, and stops where one is beyond its bound."""

    def __init__(self, fragments: Mapping[str, FragmentDefinitionNode]) -> None:
        self._fragments = fragments
        self.values = self.steps = self.repeated = self.compared = 0

    def place(self, selected: list[SelectionSetNode]) -> None:
        """One place of the answer: the selections of all fields that share it."""
        found: dict[str, list[FieldNode]] = {}
        for each in selected:
            self._collect(each, found, ())
        for nodes in found.values():
            times = len(nodes)
            self.repeated = max(self.repeated, times)
            self.compared += times * (times - 1) // 2
        if self.repeated > MAX_REPEATED or self.compared > MAX_COMPARED:
            return
        for nodes in found.values():
            below = [node.selection_set for node in nodes if node.selection_set is not None]
            if below:
                self.place(below)

    def _collect(
        self, selected: SelectionSetNode, found: dict[str, list[FieldNode]], spread: tuple[str, ...]
    ) -> None:
        for selection in selected.selections:
            self.steps += 1
            if self.steps > MAX_STEPS:
                return
            if isinstance(selection, FieldNode):
                name = selection.alias or selection.name
                found.setdefault(name.value, []).append(selection)
            elif isinstance(selection, InlineFragmentNode):
                self._collect(selection.selection_set, found, spread)
            elif isinstance(selection, FragmentSpreadNode):
                spread_name = selection.name.value
                fragment = self._fragments.get(spread_name)
                if fragment is not None and spread_name not in spread:
                    self._collect(fragment.selection_set, found, (*spread, spread_name))

    def values_of(self, node: Node) -> None:
        """The values that stand in a definition, fragments not expanded."""
        pending: list[Node] = [node]
        while pending:
            each = pending.pop()
            if isinstance(each, ListValueNode):
                self.values += len(each.values)
                pending.extend(each.values)
            elif isinstance(each, ObjectValueNode):
                self.values += len(each.fields)
                pending.extend(member.value for member in each.fields)
            elif isinstance(each, OperationDefinitionNode):
                pending.append(each.selection_set)
                defaults = [variable.default_value for variable in each.variable_definitions or ()]
                pending.extend(value for value in defaults if value is not None)
            elif isinstance(each, SelectionSetNode):
                pending.extend(each.selections)
            else:
                arguments = getattr(each, "arguments", None) or ()
                self.values += len(arguments)
                pending.extend(argument.value for argument in arguments)
                pending.extend(getattr(each, "directives", None) or ())
                inner = getattr(each, "selection_set", None)
                if inner is not None:
                    pending.append(inner)


def _refusals(limit: str, value: int, maximum: int, what: str) -> list[GraphQLError]:
    if value <= maximum:
        return []
    extensions = {"code": "LIMIT_EXCEEDED", "limit": limit, "value": value, "maximum": maximum}
    return [GraphQLError(f"The document {what}: {value}, at most {maximum}.", extensions=extensions)]
