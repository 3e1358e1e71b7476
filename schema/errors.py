"""The user errors of the API: one GraphQL type for each expected failure of the domain."""

from __future__ import annotations

from domain import errors
from schema.plan import UserError, error_type

ERROR_TYPES: tuple[type[UserError], ...] = tuple(
    error_type(cls)
    for cls in (
        errors.InvalidInput,
        errors.NotFound,
        errors.AlreadyExists,
        errors.InsufficientStock,
        errors.InvalidTransition,
        errors.VersionConflict,
        errors.IdempotencyConflict,
        errors.IdempotencyInProgress,
        errors.Busy,
        errors.AmountExceeded,
        errors.QuantityExceeded,
    )
)
"""Given to the schema, because no field names them: payloads show them as `UserError`."""
