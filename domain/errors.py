"""Expected failures: data with a stable code, raised by rules and services,
returned to the caller as `userErrors`. Anything else that is raised is a bug.

`field` is the path of the input that is wrong, as the caller wrote it, in
camelCase and with list indexes: ("lines", "0", "quantity").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True, kw_only=True)
class UserError:
    """A failure the caller can act on. Subclasses carry what is needed to act."""

    code: ClassVar[str] = "INVALID"
    message: str
    field: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class InvalidInput(UserError):
    """A value is malformed, out of range or contradicts another."""

    code: ClassVar[str] = "INVALID_INPUT"


@dataclass(frozen=True, slots=True, kw_only=True)
class NotFound(UserError):
    """Nothing the caller may see has this id; "not there" and "not visible" are one answer."""

    code: ClassVar[str] = "NOT_FOUND"
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AlreadyExists(UserError):
    """A unique value (a code, a SKU, an external id) is taken by another entity."""

    code: ClassVar[str] = "ALREADY_EXISTS"
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InsufficientStock(UserError):
    """Fewer units can be promised than were asked for; one error per SKU."""

    code: ClassVar[str] = "INSUFFICIENT_STOCK"
    sku: str
    requested: int
    available: int


@dataclass(frozen=True, slots=True, kw_only=True)
class InvalidTransition(UserError):
    """The entity's state does not permit this; `allowed` are the states it may go to."""

    code: ClassVar[str] = "INVALID_TRANSITION"
    entity: str
    from_status: str
    to_status: str
    allowed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionConflict(UserError):
    """`expectedVersion` is not the entity's version any more: read it again."""

    code: ClassVar[str] = "VERSION_CONFLICT"
    expected: int
    actual: int


@dataclass(frozen=True, slots=True, kw_only=True)
class IdempotencyConflict(UserError):
    """This idempotency key was used for another input."""

    code: ClassVar[str] = "IDEMPOTENCY_CONFLICT"
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IdempotencyInProgress(UserError):
    """The same key is being worked on and did not finish within 5 s: try again."""

    code: ClassVar[str] = "IDEMPOTENCY_IN_PROGRESS"
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Busy(UserError):
    """Others are changing the same order or stock, and did not finish within 5 s: try again."""

    code: ClassVar[str] = "BUSY"


@dataclass(frozen=True, slots=True, kw_only=True)
class AmountExceeded(UserError):
    """More money was asked for than may be captured or refunded; amounts as decimal strings."""

    code: ClassVar[str] = "AMOUNT_EXCEEDED"
    requested: str
    limit: str
    currency: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantityExceeded(UserError):
    """More units were named than there are to pick, ship, receive, return or cancel."""

    code: ClassVar[str] = "QUANTITY_EXCEEDED"
    requested: int
    limit: int


class Refused(Exception):
    """Carries user errors out of a rule or a service; the unit of work rolls everything back."""

    def __init__(self, *errors: UserError) -> None:
        if not errors:
            raise ValueError("a refusal names at least one error")
        super().__init__("; ".join(f"{e.code}: {e.message}" for e in errors))
        self.errors = errors
