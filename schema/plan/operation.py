"""One operation of one document: parsed and validated once, its variables understood."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLNonNull,
    GraphQLSchema,
    IntValueNode,
    OperationDefinitionNode,
    OperationType,
    Undefined,
    VariableNode,
    parse,
    type_from_ast,
    validate,
)
from graphql.execution.values import get_variable_values

from schema.plan.limits import SHAPE, Limits, measure, refusals
from schema.plan.screening import screened, too_long
from schema.plan.variables import Coerce, Shape, Slow, coercer, shapes, sort_enums, uses_of

MAX_INLINED_VARIANTS = 8
"""How many combinations of page sizes and enums one operation gets statements of its own for."""

LARGEST_PAGE = 100
DEFAULT_PAGE = 20


_UNREADABLE = "The document cannot be read: it is nested too deeply, or a number in it is too long."

TYPED = 8_192
"""Characters. Of longer documents one mistake is told, without suggestions: each compares a wrong name with all
right ones, and shows the whole value that it is in."""
MISTAKES = 5


class RequestError(Exception):
    """The request cannot be executed at all: there is no data, only these errors."""

    def __init__(self, *errors: GraphQLError) -> None:
        super().__init__("; ".join(error.message for error in errors))
        self.errors = list(errors)


def refuse(message: str, code: str) -> RequestError:
    return RequestError(GraphQLError(message, extensions={"code": code}))


class Operation:
    """A valid operation. `coerce` its variables, then `shape` tells which plan they need.

    With `suggestions` a mistake is told with the names that come near it, which tell of the schema.
    """

    def __init__(
        self, schema: GraphQLSchema, text: str, name: str | None, limits: Limits, *, suggestions: bool = True
    ) -> None:
        self.schema = schema
        self.text = text
        errors = too_long(text)
        if errors:
            raise RequestError(*errors)
        document = _parsed(text, limits)
        self.fragments = {
            node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)
        }
        self.definition = _chosen(document, name)
        self.kind: OperationType = self.definition.operation
        self.inlined_variants: set[Any] = set()
        measured = measure(schema, self.definition, self.fragments, lambda node: 1)
        self.fields = measured.fields
        errors = (
            refusals(measured, limits, SHAPE)
            or screened(document)
            or _validated(schema, document, len(text), suggestions=suggestions)
        )
        if errors:
            raise RequestError(*errors)
        self._variables = list(self.definition.variable_definitions or ())
        self._understand_variables()

    def _understand_variables(self) -> None:
        uses = uses_of(self.schema, self.definition, self.fragments)
        sorts = sort_enums(self.schema)
        self._coercers: list[tuple[str, Coerce, bool, Any]] = []
        self._fixed: list[tuple[str, Shape]] = []
        self._inlined: list[tuple[str, Shape]] = []
        for definition in self._variables:
            name = definition.variable.name.value
            type_ = type_from_ast(self.schema, definition.type)
            default: Any = Undefined
            if definition.default_value is not None:
                made = get_variable_values(self.schema, [definition], {})
                default = Undefined if isinstance(made, list) else made.coerced[name]
            required = isinstance(type_, GraphQLNonNull) and default is Undefined
            self._coercers.append((name, coercer(type_), required, default))
            fixed, inlined = shapes(type_, uses.get(name, frozenset()), sorts)
            self._fixed.append((name, fixed))
            if inlined is not None:
                self._inlined.append((name, inlined))

    def coerce(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """The variables' values; raises `RequestError` with graphql-core's own words."""
        values: dict[str, Any] = {}
        try:
            for name, coerce, required, default in self._coercers:
                if name in raw:
                    values[name] = coerce(raw[name])
                elif default is not Undefined:
                    values[name] = default
                elif required:
                    raise Slow
        except Slow:
            return self._coerce_slowly(raw)
        return values

    def _coerce_slowly(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        coerced = get_variable_values(self.schema, self._variables, dict(raw), max_errors=20)
        if isinstance(coerced, list):
            raise RequestError(*coerced)
        return coerced.coerced

    def shape(self, values: Mapping[str, Any]) -> tuple[Any, bool]:
        """What of the values decides the statement's text, and whether enums and page sizes are in it."""
        absent = Undefined
        fixed = tuple([decide(values.get(name, absent)) for name, decide in self._fixed])
        if not self._inlined:
            return fixed, True
        inlined = tuple([decide(values.get(name, absent)) for name, decide in self._inlined])
        variants = self.inlined_variants
        if inlined not in variants:
            if len(variants) >= MAX_INLINED_VARIANTS:
                return fixed, False
            variants.add(inlined)
        return (fixed, inlined), True

    def page_size(self, values: Mapping[str, Any], *, inline: bool) -> Callable[[FieldNode], int]:
        """What a connection asks for; the largest page where the plan must serve any."""

        def size(node: FieldNode) -> int:
            for argument in node.arguments or ():
                if argument.name.value not in ("first", "last"):
                    continue
                value: Any = None
                if isinstance(argument.value, IntValueNode):
                    value = int(argument.value.value)
                elif isinstance(argument.value, VariableNode):
                    value = values.get(argument.value.name.value) if inline else LARGEST_PAGE
                if value is not None:
                    return min(max(int(value), 1), LARGEST_PAGE)
            return DEFAULT_PAGE

        return size


def _parsed(text: str, limits: Limits) -> DocumentNode:
    try:
        return parse(text, max_tokens=limits.tokens)
    except GraphQLError as error:
        raise RequestError(error) from None
    except (RecursionError, ValueError):
        raise refuse(_UNREADABLE, "BAD_REQUEST") from None


def _chosen(document: DocumentNode, name: str | None) -> OperationDefinitionNode:
    operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    if not operations:
        raise refuse("Must provide an operation.", "BAD_REQUEST")
    if name is None:
        if len(operations) > 1:
            raise refuse("Must provide operation name if query contains multiple operations.", "BAD_REQUEST")
        return operations[0]
    for operation in operations:
        if operation.name is not None and operation.name.value == name:
            return operation
    raise refuse(f"Unknown operation named '{name[:100]}'.", "BAD_REQUEST")


def _validated(
    schema: GraphQLSchema, document: DocumentNode, length: int, *, suggestions: bool
) -> list[GraphQLError]:
    typed = length <= TYPED
    try:
        return validate(
            schema,
            document,
            max_errors=MISTAKES if typed else 1,
            hide_suggestions=not (typed and suggestions),
        )
    except (RecursionError, ValueError):
        return [GraphQLError(_UNREADABLE, extensions={"code": "BAD_REQUEST"})]
