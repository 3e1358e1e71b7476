"""User errors in payloads: one GraphQL type for each expected failure of the domain."""

from __future__ import annotations

import dataclasses
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

import strawberry

from domain.errors import UserError as DomainError


@strawberry.interface(
    name="UserError",
    description="A failure the caller can act on. `code` is stable; `message` is for people and may change.",
)
class UserError:
    code: str
    message: str
    field: list[str] = strawberry.field(
        description='The path of the input that is wrong: ["lines", "0", "quantity"].'
    )


def no_errors() -> Any:
    """The default of a payload's `user_errors`."""
    return strawberry.field(default_factory=list, description="Why nothing was done; empty when it was done.")


def error_type(domain_class: type[DomainError], *, name: str | None = None) -> type[UserError]:
    """The GraphQL type of one domain error, with its fields and its docstring, implementing `UserError`."""
    hints = get_type_hints(domain_class)
    own = {
        declared.name: _annotation(hints[declared.name])
        for declared in dataclasses.fields(domain_class)
        if declared.name not in ("message", "field")
    }
    namespace: dict[str, Any] = {"__annotations__": own, "__module__": __name__}
    cls = type(name or domain_class.__name__, (UserError,), namespace)
    made = strawberry.type(cls, name=name or domain_class.__name__, description=domain_class.__doc__)
    made.__domain_class__ = domain_class  # type: ignore[attr-defined] # how the renderer finds it
    return made


def domain_class_of(cls: Any) -> type[DomainError] | None:
    found = vars(cls).get("__domain_class__") if isinstance(cls, type) else None
    return found if isinstance(found, type) else None


def _annotation(hint: Any) -> Any:
    """Tuples of the domain are lists in GraphQL."""
    if get_origin(hint) is tuple:
        return list[_annotation(get_args(hint)[0])]  # type: ignore[misc] # built at run time
    if NoneType in get_args(hint):
        kept = next(argument for argument in get_args(hint) if argument is not NoneType)
        return _annotation(kept) | None
    return hint
