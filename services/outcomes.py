"""What a use case answers, in the form its idempotency key keeps.

A repeat must get the same answer as the first call, so an outcome is ids (and,
for items of a batch, the errors of that item), never a rendered document: the
repeat then reads the current state.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from domain import errors
from domain.errors import UserError

_ERRORS: dict[str, type[UserError]] = {
    cls.__name__: cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, UserError)
}


@dataclass(frozen=True, slots=True)
class ItemOutcome:
    """The answer for one item of a batch: the entity's id, or why there is none."""

    id: UUID | None
    errors: tuple[UserError, ...] = ()


def encode(outcome: Any) -> Any:
    """JSON for an outcome: None, bool, int, str, UUID, ItemOutcome, or tuples and lists of them."""
    match outcome:
        case None | bool() | int() | str():
            return outcome
        case UUID():
            return {"$id": str(outcome)}
        case ItemOutcome():
            return {
                "$item": str(outcome.id) if outcome.id else None,
                "errors": [
                    {"$error": type(error).__name__, **dataclasses.asdict(error)} for error in outcome.errors
                ],
            }
        case tuple() | list():
            return [encode(item) for item in outcome]
    raise TypeError(f"not an outcome: {type(outcome).__name__}")


def decode(stored: Any) -> Any:
    """The outcome that `encode` stored; sequences come back as tuples."""
    if isinstance(stored, list):
        return tuple(decode(item) for item in stored)
    if isinstance(stored, dict):
        if "$id" in stored:
            return UUID(stored["$id"])
        return ItemOutcome(
            id=UUID(stored["$item"]) if stored["$item"] else None,
            errors=tuple(_decode_error(error) for error in stored["errors"]),
        )
    return stored


def _decode_error(stored: dict[str, Any]) -> UserError:
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in stored.items()
        if name != "$error"
    }
    return _ERRORS[stored["$error"]](**values)
