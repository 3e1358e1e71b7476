"""Variables of an operation: coerced quickly when they are ordinary, and which of them decide its plan."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLScalarType,
    GraphQLSchema,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
    Undefined,
    VariableNode,
    is_required_input_field,
)
from graphql.utilities.coerce_input_value import coerce_default_value

from schema.plan.arguments import enum_text
from schema.plan.limits import definition_of
from schema.plan.reading import ReadConnection, ReadNode, read_of

Coerce = Callable[[Any], Any]
Shape = Callable[[Any], Any]


class Slow(Exception):
    pass


def _fields(selected: SelectionSetNode, fragments: Mapping[str, FragmentDefinitionNode]) -> Iterator[Any]:
    """Every selection below, each fragment once."""
    seen: set[str] = set()
    waiting = [selected]
    while waiting:
        for selection in waiting.pop().selections:
            yield selection
            if isinstance(selection, FragmentSpreadNode):
                name = selection.name.value
                if name not in seen and name in fragments:
                    seen.add(name)
                    waiting.append(fragments[name].selection_set)
            elif isinstance(selection, FieldNode | InlineFragmentNode) and selection.selection_set:
                waiting.append(selection.selection_set)


def uses_of(
    schema: GraphQLSchema,
    operation: OperationDefinitionNode,
    fragments: Mapping[str, FragmentDefinitionNode],
) -> dict[str, frozenset[str]]:
    """For each variable, the uses in which its value, not only its presence, decides the text."""
    nodes = {
        name
        for name, field in (schema.query_type.fields.items() if schema.query_type else ())
        if isinstance(read_of(definition_of(field)), ReadNode)
    }
    found: dict[str, set[str]] = {}
    for selection in _fields(operation.selection_set, fragments):
        for directive in selection.directives or ():
            for argument in directive.arguments or ():
                if isinstance(argument.value, VariableNode):
                    found.setdefault(argument.value.name.value, set()).add("directive")
        if not isinstance(selection, FieldNode):
            continue
        for argument in selection.arguments or ():
            use = None
            if argument.name.value in ("first", "last"):
                use = "size"
            elif selection.name.value in nodes:
                use = "node"
            for name in _variables_in(argument.value):
                if use:
                    found.setdefault(name, set()).add(use)
    return {name: frozenset(uses) for name, uses in found.items()}


def _variables_in(node: Any) -> Iterator[str]:
    if isinstance(node, VariableNode):
        yield node.name.value
    for item in getattr(node, "values", ()):
        yield from _variables_in(item)
    for member in getattr(node, "fields", ()):
        yield from _variables_in(member.value)


def variables_below(node: FieldNode, fragments: Mapping[str, FragmentDefinitionNode]) -> set[str]:
    """The variables that a field and what is selected below it use."""
    found: set[str] = set()
    selections: list[Any] = [node]
    if node.selection_set is not None:
        selections.extend(_fields(node.selection_set, fragments))
    for selection in selections:
        for arguments in (
            getattr(selection, "arguments", None) or (),
            *(directive.arguments or () for directive in selection.directives or ()),
        ):
            for argument in arguments:
                found.update(_variables_in(argument.value))
    return found


def sort_enums(schema: GraphQLSchema) -> frozenset[str]:
    found = {"SortDirection"}
    for type_ in schema.type_map.values():
        for field in getattr(type_, "fields", {}).values():
            if isinstance(read_of(definition_of(field)), ReadConnection) and "sort" in field.args:
                found.add(field.args["sort"].type.name)
    return frozenset(found)


def _presence(value: Any) -> Any:
    """0 absent, 1 null, 2 there."""
    return 0 if value is Undefined else 1 if value is None else 2


def _value(value: Any) -> Any:
    value = enum_text(value)
    if isinstance(value, list):
        return tuple(enum_text(item) for item in value)
    return None if value is Undefined else value


def _node_prefixes(value: Any) -> Any:
    """Which types a list of ids names decides which tables the statement reads."""
    values = value if isinstance(value, list) else [value]
    prefixes = {item.partition("_")[0][:12] for item in values if isinstance(item, str)}
    return tuple(sorted(prefixes))


def shapes(type_: Any, uses: frozenset[str], sorts: frozenset[str]) -> tuple[Shape, Shape | None]:
    """How a variable's value takes part in the plan's key: always, and while there are few variants."""
    inner = type_.of_type if isinstance(type_, GraphQLNonNull) else type_
    if isinstance(inner, GraphQLInputObjectType):
        return _object_shapes(inner, sorts)
    if "directive" in uses:
        return _value, None
    if "node" in uses:
        return _node_prefixes, None
    item = inner.of_type if isinstance(inner, GraphQLList) else inner
    item = item.of_type if isinstance(item, GraphQLNonNull) else item
    if isinstance(item, GraphQLEnumType):
        return (_value, None) if item.name in sorts else (_presence, _value)
    if "size" in uses:
        return _presence, _value
    return _presence, None


def _object_shapes(type_: GraphQLInputObjectType, sorts: frozenset[str]) -> tuple[Shape, Shape | None]:
    members = {
        name: shapes(field.type, frozenset(), sorts)
        for name, field in type_.fields.items()
        if not _names(field.type, type_)
    }
    inlined = {name: shape for name, (_, shape) in members.items() if shape is not None}

    def fixed_shape(value: Any) -> Any:
        if not isinstance(value, dict):
            return _presence(value)
        return tuple(
            [
                name if given is None else (name, members[name][0](given))
                for name, given in value.items()
                if name in members
            ]
        )

    def inlined_shape(value: Any) -> Any:
        if not isinstance(value, dict):
            return None
        return tuple([(name, inlined[name](value[name])) for name in value if name in inlined])

    return fixed_shape, inlined_shape if inlined else None


def _names(type_: Any, other: Any) -> bool:
    while isinstance(type_, GraphQLNonNull | GraphQLList):
        type_ = type_.of_type
    return type_ is other


INT_MIN, INT_MAX = -(2**31), 2**31 - 1


def coercer(type_: Any) -> Coerce:
    """The usual values of a type, checked by hand; whatever is unusual is left to graphql-core."""
    if isinstance(type_, GraphQLNonNull):
        inner = coercer(type_.of_type)

        def not_null(value: Any) -> Any:
            if value is None:
                raise Slow
            return inner(value)

        return not_null
    coerce = _nullable_coercer(type_)
    return lambda value: None if value is None else coerce(value)


def _nullable_coercer(type_: Any) -> Coerce:
    if isinstance(type_, GraphQLList):
        item = coercer(type_.of_type)

        def items(value: Any) -> Any:
            if type(value) is not list:
                raise Slow
            return [item(entry) for entry in value]

        return items
    if isinstance(type_, GraphQLEnumType):
        return _enum_coercer(type_)
    if isinstance(type_, GraphQLInputObjectType):
        return _always_slow if type_.is_one_of else _Object(type_)
    plain = _PLAIN.get(type_.name)
    return _scalar_coercer(type_) if plain is None else plain


class _Object:
    """Coerces the fields of an input object, worked out at the first use: a type may hold itself."""

    def __init__(self, type_: GraphQLInputObjectType) -> None:
        self._type = type_
        self._fields: dict[str, tuple[str, Coerce]] = {}
        self._required: set[str] = set()
        self._without: dict[str, Any] = {}
        """What comes of an object without fields, and places for those that it must have."""

    def _understand(self) -> None:
        """A thread that makes a plan may come at the same time: `_fields`, which tells that it is done, comes last."""
        fields: dict[str, tuple[str, Coerce]] = {}
        required: set[str] = set()
        without: dict[str, Any] = {}
        for name, field in self._type.fields.items():
            out_name = field.out_name or name
            fields[name] = out_name, coercer(field.type)
            default = coerce_default_value(field)
            if is_required_input_field(field):
                required.add(name)
            if default is not Undefined or name in required:
                without[out_name] = default
        self._required, self._without, self._fields = required, without, fields

    def __call__(self, value: Any) -> Any:
        if type(value) is not dict:
            raise Slow
        if not self._fields:
            self._understand()
        if not self._required <= value.keys():
            raise Slow
        coerced = self._without.copy()
        for name, given in value.items():
            field = self._fields.get(name)
            if field is None:
                raise Slow
            coerced[field[0]] = field[1](given)
        if len(coerced) > len(self._without):
            # In the type's order, whatever the caller's: it is part of a plan's key.
            coerced = {name: coerced[name] for name, _ in self._fields.values() if name in coerced}
        return self._type.out_type(coerced)


def _scalar_coercer(type_: GraphQLScalarType) -> Coerce:
    def scalar(value: Any) -> Any:
        try:
            return type_.coerce_input_value(value)
        except Exception as error:
            raise Slow from error

    return scalar


def _enum_coercer(type_: GraphQLEnumType) -> Coerce:
    def member(value: Any) -> Any:
        if type(value) is not str or value not in type_.values:
            raise Slow
        return type_.coerce_input_value(value)

    return member


def _always_slow(value: Any) -> Any:
    raise Slow


def _int(value: Any) -> int:
    if type(value) is int and INT_MIN <= value <= INT_MAX:
        return value
    raise Slow


def _str(value: Any) -> str:
    if type(value) is str:
        return value
    raise Slow


def _bool(value: Any) -> bool:
    if type(value) is bool:
        return value
    raise Slow


_PLAIN: dict[str, Coerce] = {"Int": _int, "String": _str, "ID": _str, "Boolean": _bool}
