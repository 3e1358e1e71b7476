"""What is sent back: results, and errors in the words that GraphQL demands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

import asyncpg
import orjson
import structlog
from graphql import GraphQLError

from db.pool import NoConnection

log = structlog.get_logger(__name__)

REFUSED = "OMS01"
"""The SQLSTATE of `oms_refuse`: what was asked for cannot be answered, and the message says why."""


MUTATION = "mutation"
"""What `masked` is told of a mutation that was given up as a whole."""


@dataclass(frozen=True, slots=True)
class Result:
    """A finished response body; `status` is what a GraphQL response media type wants.

    `well_formed`: the request could be understood, so that under plain
    application/json the status is 200 even where the operation was refused.
    `consistency` is what a later request sends to read at least what this one wrote.
    """

    body: bytes
    status: int = 200
    well_formed: bool = True
    consistency: str | None = None
    retry_after: int | None = None
    """Seconds, of a caller that was throttled."""


def with_throttle(result: Result, status: str) -> Result:
    """The result with the caller's `throttleStatus`, JSON, in its `extensions.cost`, which end the body."""
    if not result.body.endswith(b"}}}"):
        return result
    return replace(result, body=b'%b,"throttleStatus":%b}}}' % (result.body[:-3], status.encode()))


def error_json(error: GraphQLError) -> dict[str, Any]:
    """One error, by the GraphQL specification; nothing that the error did not mean to say."""
    shown: dict[str, Any] = {"message": error.message}
    if error.locations:
        shown["locations"] = [
            {"line": location.line, "column": location.column} for location in error.locations
        ]
    if error.path is not None:
        shown["path"] = list(error.path)
    if error.extensions:
        shown["extensions"] = dict(error.extensions)
    return shown


def refused(errors: Sequence[GraphQLError], status: int = 400) -> Result:
    """Nothing was executed: errors and no data."""
    return Result(orjson.dumps({"errors": [error_json(error) for error in errors]}), status)


def refusal(message: str, code: str, status: int) -> Result:
    """The request itself will not do: not GraphQL, not authenticated, not acceptable."""
    error = GraphQLError(message, extensions={"code": code})
    return Result(orjson.dumps({"errors": [error_json(error)]}), status, well_formed=False)


def masked(error: BaseException, path: list[str | int] | None, what: str) -> GraphQLError:
    """A bug or an outage: logged under an id, and only the id is told."""
    match error:
        case asyncpg.PostgresError() if error.sqlstate == REFUSED:
            return GraphQLError(error.message, path=path, extensions={"code": error.detail})
        case asyncpg.CardinalityViolationError():
            return GraphQLError(
                "More than one fits what was given: name it more closely, for instance with its channel.",
                path=path,
                extensions={"code": "BAD_USER_INPUT"},
            )
        case asyncpg.QueryCanceledError() | TimeoutError():
            log.warning("graphql.timeout", field=what)
            return GraphQLError(
                "This took too long. Ask for less, or filter more; what was to be written may have been: ask "
                "again with the same idempotency key."
                if what == MUTATION
                else "This took too long. Ask for less, or filter more.",
                path=path,
                extensions={"code": "TIMEOUT"},
            )
        case NoConnection():
            return GraphQLError(
                "The database is busy; try again.", path=path, extensions={"code": "UNAVAILABLE"}
            )
        case asyncpg.DataError() if type(error) is asyncpg.DataError:
            # Raised by the driver before anything is sent: a value beyond its column's type.
            return GraphQLError("A value is out of range.", path=path, extensions={"code": "BAD_USER_INPUT"})
    correlation_id = uuid4().hex
    log.error("graphql.failed", field=what, correlation_id=correlation_id, exc_info=error)
    return GraphQLError(
        "Something went wrong here; it is logged under this correlation id.",
        path=path,
        extensions={"code": "INTERNAL", "correlationId": correlation_id},
    )
