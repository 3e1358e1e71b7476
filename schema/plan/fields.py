"""The Strawberry field that declarations make, and how it finds the types it names."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from strawberry.annotation import StrawberryAnnotation
from strawberry.types.arguments import StrawberryArgument
from strawberry.types.field import UNRESOLVED, FieldType, StrawberryField
from strawberry.types.unset import UNSET

from domain.access import Scope
from domain.rights import needs
from schema.plan.reading import PLAN, Read

_types: dict[tuple[str, str], type] = {}


def _package(cls_or_module: Any) -> str:
    name = cls_or_module if isinstance(cls_or_module, str) else cls_or_module.__module__
    return str(name).rpartition(".")[0]


def register(cls: type) -> None:
    """Let other files name this type in annotations without importing it."""
    _types[_package(cls), cls.__name__] = cls


def namespace_for(module_name: str) -> dict[str, Any]:
    """What an annotation in this module may name: the module's own names first, then every declared type
    of its own package, then of the packages that it imports from: two schemas may share type names."""
    own = vars(sys.modules[module_name])
    package = _package(module_name)
    neighbours = {_package(getattr(value, "__module__", None) or "") for value in own.values()}
    known = {name: cls for (home, name), cls in _types.items() if home in neighbours}
    known.update({name: cls for (home, name), cls in _types.items() if home == package})
    return {**known, **own}


class PlannedField(StrawberryField):
    """A field whose annotation may name types of files that import this one.

    Types of different nouns name each other; resolving the names when the schema is
    built, from everything declared, spares each of them an import cycle.
    """

    def resolve_type(self, **options: Any) -> FieldType:
        resolved = super().resolve_type(**options)
        annotation = self.type_annotation
        if resolved is not UNRESOLVED or annotation is None or not isinstance(self.origin, type):
            return resolved
        names = {**namespace_for(self.origin.__module__), self.origin.__name__: self.origin}
        self.type_annotation = StrawberryAnnotation(annotation.raw_annotation, namespace=names)
        return super().resolve_type(**options)


def with_scope(description: str | None, read: Read | None) -> str | None:
    """The description, and what the field needs."""
    return description if read is None or read.scope is None else with_need(description, read.scope)


def with_need(description: str | None, scope: Scope) -> str:
    return needs(scope) if description is None else f"{description} {needs(scope)}"


def field(
    read: Read | None,
    description: str | None,
    *,
    arguments: list[StrawberryArgument] | None = None,
    deprecation_reason: str | None = None,
    name: str | None = None,
) -> Any:
    made = PlannedField(
        graphql_name=name,
        description=with_scope(description, read),
        deprecation_reason=deprecation_reason,
        metadata={} if read is None else {PLAN: read},
    )
    if arguments is not None:
        made.arguments = arguments
    # Strawberry itself never reads these fields; a default lets value types skip them.
    return made


def argument(
    name: str,
    annotation: Any,
    description: str | None = None,
    *,
    default: object = UNSET,
    metadata: Mapping[Any, Any] | None = None,
) -> StrawberryArgument:
    return StrawberryArgument(
        python_name=name,
        graphql_name=None,
        type_annotation=StrawberryAnnotation(annotation),
        description=description,
        default=default,
        metadata=metadata,
    )
